"""Warnings about data that the options do not fit."""

from __future__ import annotations

import math
import warnings

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.networks.twohot import TwoHot, symexp, symlog

CHECK_EVERY = 100  # updates between two looks at what was noted: a look waits for the device


class RangeWatch:
    """Warns once per end that rewards or values lie beyond the bins of a two-hot encoding.

    All of them are learned as the last bin. The watch notes the extremes on their device.

    Args:
        two_hot: the encoding.
    """

    def __init__(self, two_hot: TwoHot) -> None:
        low, high = two_hot.low, two_hot.high
        self._ends = {"bin_low": (-1.0, low), "bin_high": (1.0, high)}
        self._extremes: dict[str, Tensor] = {}
        self._said: set[str] = set()

    def note(self, **quantities: Tensor) -> None:
        """Remember the extremes of quantities ``[...]`` by their names; nothing waits for the device."""
        for name, values in quantities.items():
            extremes = torch.stack(values.detach().aminmax())
            if (known := self._extremes.get(name)) is not None:
                extremes = torch.stack([torch.minimum(known[0], extremes[0]), torch.maximum(known[1], extremes[1])])
            self._extremes[name] = extremes

    def look(self, updates: int) -> None:
        """Warn of what was noted, after the first update and then every ``CHECK_EVERY``.

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
    """Warns once that an episode has terminated although the model learns no terminations.

    Args:
        learned: whether it learns them.
    """

    def __init__(self, learned: bool) -> None:
        self._silent = learned

    def note(self, data: TensorDictBase) -> None:
        """Look at transitions ``[num_envs, time]``."""
        if self._silent or not bool(data["next", "terminated"].any()):
            return
        self._silent = True
        warnings.warn(
            "an episode has terminated, and algo.episodic=false: plans and the targets that the model makes go on beyond "
            "the end of an episode; set algo.episodic=true",
            stacklevel=3,
        )


def _warn(name: str, value: float, key: str, end: float) -> None:
    needed = math.copysign(math.ceil(math.log1p(abs(value))) + 1, value)
    warnings.warn(
        f"{name} reach {value:.4g}, beyond the last bin of their two-hot encoding, {symexp(torch.tensor(end)).item():.4g} "
        f"(algo.{key}={end:g}): all beyond are learned as that; set algo.{key}={needed:g}, or scale the rewards"
    )
