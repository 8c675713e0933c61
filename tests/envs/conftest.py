"""Two CARLA stand-ins for the tests of this folder that need a server: ``server`` and ``servers``.

A test finds them without faults on their first map, and must leave them as it found them.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest

FIRST_MAP = "Town10HD_Opt"


@pytest.fixture(scope="session")
def _stand_ins():
    pytest.importorskip("carla", reason="needs the CARLA client: pip install 'pompc[carla]' (Python 3.10 to 3.12)")
    pytest.importorskip("msgpack", reason="the stand-in needs msgpack: pip install 'pompc[carla]'")
    from pompc.testing.carla_standin.process import StandIn

    with ThreadPoolExecutor(2) as threads:
        pair = list(threads.map(lambda _: StandIn(), range(2)))
    yield pair
    for stand_in in pair:
        stand_in.stop()


@pytest.fixture
def servers(_stand_ins):
    from pompc.testing.carla_standin import control
    from pompc.testing.carla_standin.faults import Faults

    def ready(stand_in):
        if stand_in.exit_code is not None:
            stand_in.restart()
        for name, value in asdict(Faults()).items():
            stand_in.fault(name, value)

    for stand_in in _stand_ins:
        ready(stand_in)
        if stand_in.state()["map"] != FIRST_MAP:
            control.call(stand_in.host, stand_in.port, "load_new_episode", FIRST_MAP, True, 0)
    yield _stand_ins
    for stand_in in _stand_ins:
        ready(stand_in)
        state = stand_in.state()
        left = (state["actors"], state["synchronous"], state["settings"]["no_rendering"])
        assert left == (["spectator"], False, False), "the test has left something behind"


@pytest.fixture
def server(servers):
    return servers[0]
