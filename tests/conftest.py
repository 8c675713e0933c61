"""Every test starts from the same random state and runs on one thread."""

import random

import numpy as np
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded():
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global state is what third-party code draws from
    torch.manual_seed(0)
