"""How real and virtual transitions share value learning."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from tensordict import TensorDictBase
from torch import Tensor

Groups = list[tuple[float, TensorDictBase]]
"""The data of a gradient step on the values: weights, and samples with ``observation``, ``value_target``, ``mask``."""


class Mix(NamedTuple):
    """The transitions of one gradient step on the values.

    Attributes:
        real: number of real transitions.
        virtual: number of virtual transitions.
        real_weight: weight of the mean loss over the real transitions.
        virtual_weight: weight of the mean loss over the virtual transitions; the two weights add up to 1.
    """

    real: int
    virtual: int
    real_weight: float
    virtual_weight: float


def mix_by_sampling(ratio: float, batch: int) -> Mix:
    """Fill a value minibatch of ``batch`` transitions with ``round(ratio * batch)`` virtual ones."""
    virtual = round(ratio * batch)
    return Mix(batch - virtual, virtual, 1 - virtual / batch, virtual / batch)


def mix_by_loss(ratio: float, batch: int) -> Mix:
    """Take full minibatches of both kinds and weigh their losses ``1 - ratio`` and ``ratio``: same mean, lower variance."""
    return Mix(batch if ratio < 1 else 0, batch if ratio > 0 else 0, 1 - ratio, ratio)


MIXES: dict[str, Callable[[float, int], Mix]] = {"sampling": mix_by_sampling, "loss": mix_by_loss}
"""Mixes by the name that ``algo.mix`` takes.

Neither changes the number of gradient steps, nor the policy's minibatches.
"""


def mixed(mix: Mix, batch: TensorDictBase, virtual: TensorDictBase, device: torch.device) -> Groups:
    """Replace or accompany real transitions ``[sample]`` by virtual ones drawn at random.

    Args:
        mix: how many of either kind, and their weights.
        batch: real transitions.
        virtual: virtual transitions to draw from ``[transition]``.
        device: of the data.
    """
    groups = []
    if mix.real > 0:
        groups.append((mix.real_weight, batch[: mix.real]))
    if mix.virtual > 0:
        drawn = torch.randint(len(virtual), (mix.virtual,), device=device)
        groups.append((mix.virtual_weight, virtual[drawn]))
    return groups


def equal_weight(bootstrapped: Tensor, real: Tensor) -> Tensor:
    """Weigh every virtual transition 1."""
    return torch.ones_like(bootstrapped)


def news_weight(bootstrapped: Tensor, real: Tensor) -> Tensor:
    """Weigh a virtual transition by what its target says beyond the value function, in units of a real target; at most 1.

    A target that is all bootstrap does not move a value. Such a transition only keeps the value at its place. The weight
    must depend on the step of the rollout and not on its outcome: a rollout that ends would outweigh those that go on from
    the same state, and the values would take on the difference.
    """
    return ((1 - bootstrapped) / (1 - real).clamp_min(1e-8)).clamp_max(1.0)


VIRTUAL_WEIGHTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"equal": equal_weight, "news": news_weight}
"""Weights of a virtual transition in the value loss, by the name that ``algo.virtual_weight`` takes.

Each maps the bootstrapped share of virtual transitions ``[transition]``, as of their step in a rollout, and the mean share
of real ones to weights ``[transition]``.
"""
