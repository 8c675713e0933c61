"""Transitions that an environment could not make, and of which nothing is learned.

An environment on an outside simulator may lose it in the middle of an episode. Instead of an error it then gives a broken
transition: the last observation again, reward 0, truncated, and 1 in ``("next", "broken")``, a column of every step of such
an environment and of no other. The episode has ended with the transition before.
"""

from __future__ import annotations

from typing import cast

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.errors import Unavailable

BROKEN = "broken"


def intact(data: TensorDictBase) -> Tensor | None:
    """Which transitions ``[num_envs, time]`` can be learned from; none where all of them can."""
    lost = _lost(data["next"])
    return None if lost is None or not bool(lost.any()) else ~lost


def broken_rows(after: TensorDictBase) -> list[int]:
    """The environments whose step ``after [num_envs]`` (what follows ``next``) is broken."""
    lost = _lost(after)
    return [] if lost is None else lost.nonzero().flatten().tolist()


def count(data: TensorDictBase) -> dict[str, float]:
    """The metric ``broken``, how many transitions are; nothing where the environment never has any."""
    lost = _lost(data["next"])
    return {} if lost is None else {BROKEN: float(lost.sum())}


def _lost(after: TensorDictBase) -> Tensor | None:
    """Which steps ``after [...]`` (what follows ``next``) are broken; none where the environment never breaks any."""
    column = after.get(BROKEN)
    return None if column is None else column.squeeze(-1) > 0.5


def cut(data: TensorDictBase, rows: Tensor) -> TensorDictBase:
    """Transitions in which episodes end, truncated, before a broken one; nothing is copied that does not change.

    Args:
        data: transitions ``[num_envs, time]`` in order.
        rows: :func:`intact` of them.

    Raises:
        Unavailable: none of them is.
    """
    if not bool(rows.any()):
        raise Unavailable(
            f"all {rows.numel()} transitions of a batch are broken: see to what the environment depends on"
        )
    ends = torch.zeros_like(rows)
    ends[:, :-1] = ~rows[:, 1:]
    after = cast(TensorDictBase, data["next"]).copy()
    for name in ("done", "truncated"):
        if name in after:
            after[name] = after[name] | ends.unsqueeze(-1)
    return data.copy().set("next", after)
