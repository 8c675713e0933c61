"""Two CARLA stand-ins for the tests of this folder that need a server: ``server`` and ``servers``.

A test finds them without faults on their first map, and must leave them as it found them. Four more fixtures make circuits
from their text: ``write``, ``load``, ``racing`` and ``refused``.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest

FIRST_MAP = "Town10HD_Opt"


@pytest.fixture(scope="session")
def _stand_ins():
    pytest.importorskip("carla", reason="needs the CARLA client: pip install 'pompc[carla]' (Python 3.10 to 3.12)")
    pytest.importorskip("msgpack", reason="the stand-in needs msgpack: pip install 'pompc[carla]'")
    from pompc.envs.carla_racing.standin.process import StandIn

    with ThreadPoolExecutor(2) as threads:
        pair = list(threads.map(lambda _: StandIn(), range(2)))
    yield pair
    for stand_in in pair:
        stand_in.stop()


@pytest.fixture
def servers(_stand_ins):
    from pompc.envs.carla_racing.standin import control
    from pompc.envs.carla_racing.standin.faults import Faults

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


@pytest.fixture
def write(tmp_path):
    """Write the file of a circuit from its text or its bytes."""

    def write(text):
        path = tmp_path / "circuit.xodr"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def load(write):
    """Load the track of a text."""
    from pompc.envs.carla_racing.track.track import Track

    return lambda text, **options: Track.load(write(text), **options)


@pytest.fixture
def racing(write):
    """Make the racing family on the track of a text."""
    from pompc.envs.carla_racing import CarlaRacing, CarlaRacingConfig

    return lambda text, **options: CarlaRacing(CarlaRacingConfig(track=str(write(text)), **options))


@pytest.fixture
def refused(racing):
    """Require that the family refuses a text in one line with these words."""
    from pompc.errors import UserError

    def refused(text, *words, **options):
        with pytest.raises(UserError) as caught:
            racing(text, **options).make()
        for word in words:
            assert word in str(caught.value)
        assert "\n" not in str(caught.value)

    return refused
