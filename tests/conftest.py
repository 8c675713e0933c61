"""Every test starts from the same random state and the same registries, and runs on one thread."""

import gc
import random
import sys

import absl.logging
import numpy as np
import pytest
import torch

from pompc.config import compose
from pompc.registry import ALGORITHMS, ENVIRONMENTS

torch.set_num_threads(1)
# absl would keep the stream that pytest captures, and close it when submitit configures logging.
absl.logging.get_absl_handler().python_handler.setStream(sys.__stderr__)


def pytest_collection_modifyitems(items):
    """Begin with the long tests, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("learning") is None)


def pytest_collection_finish():
    """Spare the garbage collector the modules and the tests, which live to the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _composed_once():
    """Let Hydra compose each pair of an algorithm and an environment once: it takes most of the time of a configuration."""
    found, compose_groups = {}, compose._compose_groups

    def once(options, algo, family, preset):
        key = repr((algo, family, preset, options.defaults(), ALGORITHMS[algo]))
        if key not in found:
            found[key] = compose_groups(options, algo, family, preset)
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compose, "_compose_groups", once)
        yield


@pytest.fixture(autouse=True)
def _seeded():
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global state is what third-party code draws from
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _as_installed():
    """Remove the names that a test registered."""
    yield
    for registry in (ALGORITHMS, ENVIRONMENTS):
        vars(registry).pop("external", None)
