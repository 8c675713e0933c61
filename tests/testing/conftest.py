"""One stand-in for all tests of this folder; every test finds a fresh episode and no faults."""

from dataclasses import asdict

import pytest

from pompc.testing.carla_standin import control, running
from pompc.testing.carla_standin.faults import Faults

DEFAULT_MAP = "Town10HD_Opt"


@pytest.fixture(scope="session")
def shared_server():
    with running() as server:
        yield server


@pytest.fixture
def server(shared_server):
    for name, value in asdict(Faults()).items():
        shared_server.fault(name, value)
    control.call(shared_server.host, shared_server.port, "load_new_episode", DEFAULT_MAP, True, 0)
    return shared_server
