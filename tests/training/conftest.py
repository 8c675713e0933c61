"""Processes for tests that send signals, and runs that draw nothing."""

import multiprocessing

import pytest
from small import drawing


@pytest.fixture(autouse=True)
def _no_curves():
    with drawing(False):
        yield


@pytest.fixture(scope="session")
def context():
    """Processes that start in no time: forked from a server that has loaded what takes seconds to load."""
    forked = multiprocessing.get_context("forkserver")
    forked.set_forkserver_preload(["pompc.training.run", "pompc.agent", "pytest"])
    return forked
