"""Broken transitions, which an environment could not make: nothing is learned from them.

An environment may lose its simulator in the middle of an episode. Instead of an error it then gives a broken transition:
the last observation again, reward 0, truncated, and 1 in ``("next", "broken")``. Such an environment has this column in
every step, any other environment in no step. The episode has ended with the transition before.

An algorithm's ``learn`` calls :func:`learnable` for single transitions, or :func:`cut` and :func:`intact` if it needs
their order.
"""

from __future__ import annotations

from typing import cast

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.errors import Unavailable

BROKEN = "broken"


def learnable(data: TensorDictBase) -> TensorDictBase:
    """Return the intact transitions, without their order.

    Args:
        data: transitions ``[num_envs, time]``.

    Returns:
        ``[transition]``, with episodes truncated before a broken transition.

    Raises:
        Unavailable: all of them are broken.
    """
    data = cut(data)
    good = intact(data)
    return data.flatten(0, 1) if good is None else data[good]


def cut(data: TensorDictBase) -> TensorDictBase:
    """Truncate episodes before a broken transition; only changed entries are copied.

    Args:
        data: transitions ``[num_envs, time]`` in order.

    Returns:
        The same transitions, the broken ones included.

    Raises:
        Unavailable: all of them are broken.
    """
    good = intact(data)
    if good is None:
        return data
    if not bool(good.any()):
        raise Unavailable(
            f"all {good.numel()} transitions of a batch are broken: check the simulator that the environment depends on"
        )
    ends = torch.zeros_like(good)
    ends[:, :-1] = ~good[:, 1:]
    after = cast(TensorDictBase, data["next"]).copy()
    for name in ("done", "truncated"):
        if name in after:
            after[name] = after[name] | ends.unsqueeze(-1)
    return data.copy().set("next", after)


def intact(data: TensorDictBase) -> Tensor | None:
    """Find the transitions that are not broken: bool ``[num_envs, time]``, or ``None`` if all are intact."""
    lost = _lost(data["next"])
    return None if lost is None or not bool(lost.any()) else ~lost


def broken_envs(after: TensorDictBase) -> list[int]:
    """List the environments whose step ``after [num_envs]`` (the entries under ``next``) is broken."""
    lost = _lost(after)
    return [] if lost is None else lost.nonzero().flatten().tolist()


def count(data: TensorDictBase) -> dict[str, float]:
    """Count the broken transitions as the metric ``broken``; empty if the environment has no such column."""
    lost = _lost(data["next"])
    return {} if lost is None else {BROKEN: float(lost.sum())}


def _lost(after: TensorDictBase) -> Tensor | None:
    """Find the broken steps ``[...]`` of ``after [...]`` (the entries under ``next``); ``None`` without the column."""
    column = after.get(BROKEN)
    return None if column is None else column.squeeze(-1) > 0.5
