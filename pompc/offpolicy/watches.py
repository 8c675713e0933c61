"""Warnings about data that do not fit the options."""

from __future__ import annotations

import math
import warnings

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.networks.twohot import TwoHot, symexp, symlog

CHECK_EVERY = 100  # updates between two looks; a look waits for the device


class RangeWatch:
    """Warn once per end that rewards or values lie beyond the bins of a two-hot encoding.

    Such numbers are learned as the last bin. The watch keeps the extremes on their device.

    Args:
        two_hot: the encoding.
    """

    def __init__(self, two_hot: TwoHot) -> None:
        low, high = two_hot.low, two_hot.high
        self._ends = {"bin_low": (-1.0, low), "bin_high": (1.0, high)}
        self._extremes: dict[str, Tensor] = {}
        self._said: set[str] = set()

    def note(self, **quantities: Tensor) -> None:
        """Remember the extremes of quantities ``[...]`` by name, without waiting for the device."""
        for name, values in quantities.items():
            extremes = torch.stack(values.detach().aminmax())
            if (known := self._extremes.get(name)) is not None:
                extremes = torch.stack([torch.minimum(known[0], extremes[0]), torch.maximum(known[1], extremes[1])])
            self._extremes[name] = extremes

    def look(self, updates: int) -> None:
        """Warn about the extremes so far, after the first update and then every ``CHECK_EVERY`` updates.

        Args:
            updates: updates made so far.
        """
        if updates % CHECK_EVERY != 1:
            return
        for name, extremes in self._extremes.items():
            reached = dict(zip(self._ends, extremes.tolist(), strict=True))
            for key, (sign, end) in self._ends.items():
                if sign * symlog(torch.tensor(reached[key])).item() > sign * end and key not in self._said:
                    self._said.add(key)
                    _warn(name, reached[key], key, end)


class TerminationWatch:
    """Warn once that an episode has terminated although the model learns no terminations.

    Args:
        learned: whether the model learns terminations.
    """

    def __init__(self, learned: bool) -> None:
        self._silent = learned

    def note(self, data: TensorDictBase) -> None:
        """Look for a termination in transitions ``[num_envs, time]``."""
        if self._silent or not bool(data["next", "terminated"].any()):
            return
        self._silent = True
        warnings.warn(
            "an episode has terminated, and algo.episodic=false: plans and model targets go on beyond the end of an "
            "episode; set algo.episodic=true",
            stacklevel=3,
        )


def _warn(name: str, value: float, key: str, end: float) -> None:
    needed = math.copysign(math.ceil(math.log1p(abs(value))) + 1, value)
    warnings.warn(
        f"{name} reach {value:.4g}, beyond the last bin of their two-hot encoding, {symexp(torch.tensor(end)).item():.4g} "
        f"(algo.{key}={end:g}), and are learned as that bin; set algo.{key}={needed:g}, or scale the rewards"
    )
