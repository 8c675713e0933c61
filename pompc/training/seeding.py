"""Seed, save, restore and isolate random states."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed python, numpy's global generator and torch (CPU and every CUDA device)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - third-party environments draw from the global generator
    torch.manual_seed(seed)


def random_state(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Copy every global random state of a run on ``device``, as tensors and primitives; not of other CUDA devices."""
    legacy: Any = np.random.get_state()  # noqa: NPY002
    kind, keys, position, has_gauss, cached = legacy
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if torch.device(device).type == "cuda" else [],
    }


def load_random_state(state: dict[str, Any], device: torch.device | str = "cpu") -> None:
    """Restore a :func:`random_state`; the state of a CUDA device goes to ``device``, whatever its number was.

    A run that continues on another kind of device keeps the seeded generator of that device.
    """
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if torch.device(device).type == "cuda" and len(state["cuda"]):
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


@contextmanager
def isolated(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed the block with ``seed`` and leave every global random state of a run on ``device`` as it was."""
    before = random_state(device)
    try:
        seed_everything(seed)
        yield
    finally:
        load_random_state(before, device)


class Stream:
    """A stream of random numbers apart from the global ones: every block goes on where the last one stopped.

    Args:
        seed: of the stream.
        device: of the agent that draws.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self._device = device
        with isolated(seed, device):
            self._state = random_state(device)

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Let the block draw from this stream, and leave every global random state as it was."""
        before = random_state(self._device)
        load_random_state(self._state, self._device)
        try:
            yield
        finally:
            self._state = random_state(self._device)
            load_random_state(before, self._device)
