"""One stand-in for all tests of this folder; every test finds a fresh episode and no faults."""

import pytest
from standin_client import renew

from pompc.envs.carla_racing.standin import running


@pytest.fixture(scope="session")
def shared_server():
    with running() as server:
        yield server


@pytest.fixture
def server(shared_server):
    renew(shared_server)
    return shared_server
