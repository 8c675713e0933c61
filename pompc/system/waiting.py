"""Ask a device about numbers only if nothing has to wait for the answer."""

from __future__ import annotations

import torch
from torch import Tensor


def waits(device: torch.device) -> bool:
    """Say whether reading a number makes the program wait for a device: everywhere but on the CPU."""
    return device.type != "cpu"


def may_hold(conditions: Tensor) -> bool:
    """Say whether a condition may hold for one of the entries.

    On the CPU it is looked up. On other devices the answer is yes, so whoever asks must get the same result with none.
    """
    return waits(conditions.device) or bool(conditions.any())
