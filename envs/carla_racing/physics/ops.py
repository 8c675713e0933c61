"""The operations in which physics and task are written, and their two executors.

``ScalarOps`` runs on Python floats: for one car about twenty times faster than tensors of one element. ``TorchOps`` runs
on tensors ``[...]``. Values per opponent are a list in ``ScalarOps``, a tensor ``[opponent, ...]`` in ``TorchOps``. Tables
over the track's periodic cells repeat the first cell at the end: a position that rounds up to a full lap indexes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor

Value = Any  # a float or a tensor: everything written over `ops` accepts either
Ops = Any  # ScalarOps or TorchOps


class ScalarOps:
    """Python floats: one car."""

    sin, cos, tan, sqrt, atan = math.sin, math.cos, math.tan, math.sqrt, math.atan
    asinh, sinh, exp, floor = math.asinh, math.sinh, math.exp, math.floor
    abs, minimum, maximum, round = abs, min, max, round

    @staticmethod
    def clamp(value: float, low: float, high: float) -> float:
        """The value within ``[low, high]``."""
        return low if value < low else high if value > high else value

    @staticmethod
    def where(condition: bool, yes: float, no: float) -> float:
        """``yes`` if the condition holds, else ``no``."""
        return yes if condition else no

    @staticmethod
    def remainder(value: float, period: float) -> float:
        """In [0, period)."""
        return value % period

    @staticmethod
    def plus(value: float, other: float, scale: float) -> float:
        """``value + scale * other``."""
        return value + scale * other

    @staticmethod
    def plus_product(value: float, left: float, right: float, scale: float = 1.0) -> float:
        """``value + scale * left * right``."""
        return value + scale * left * right

    @staticmethod
    def plus_quotient(value: float, top: float, bottom: float, scale: float) -> float:
        """``value + scale * top / bottom``."""
        return value + scale * top / bottom

    @staticmethod
    def lerp(start: float, end: float, weight: float) -> float:
        """``start`` at weight 0, ``end`` at 1."""
        return start + weight * (end - start)

    @staticmethod
    def constant(value: float) -> float:
        """Make a constant for the first argument of ``plus`` and its kind."""
        return value

    @staticmethod
    def logical_or(left: bool, right: bool) -> bool:
        """Whether at least one of both holds."""
        return left or right

    @staticmethod
    def logical_and(left: bool, right: bool) -> bool:
        """Whether both hold."""
        return left and right

    @staticmethod
    def number(condition: bool) -> float:
        """1 if the condition holds, else 0."""
        return 1.0 if condition else 0.0

    @staticmethod
    def cell(value: float) -> int:
        """A non-negative value rounded down to a table index."""
        return int(value)

    @staticmethod
    def table(array: np.ndarray) -> list:
        """``[cells, column]`` (or ``[cells]``) with its first cell repeated at the end."""
        return np.concatenate([array, array[:1]]).tolist()

    columns_table = table

    @staticmethod
    def columns(table: list, index: int) -> Sequence[float]:
        """The columns at a cell."""
        return table[index]

    entries = columns

    @staticmethod
    def each(function: Callable, lists: Sequence[list], *common: float) -> list:
        """``function`` of every opponent's values and the ego's (``common``)."""
        return [function(*values, *common) for values in zip(*lists, strict=True)]

    @staticmethod
    def gather(kind: Callable, values: list[tuple]) -> Any:
        """One tuple per opponent -> ``kind`` of one list per entry."""
        return kind(*(map(list, zip(*values, strict=True)) if values else [[] for _ in kind._fields]))

    @staticmethod
    def any(conditions: list) -> bool:
        """Whether a condition holds for one of the opponents."""
        return any(conditions)

    @staticmethod
    def pack(values: Sequence[float], entries: Sequence[float], lists: Sequence[list]) -> np.ndarray:
        """Join values, the entries of a table's cell and the opponents' values into one float32 vector."""
        return np.array([*values, *entries, *(value for values in lists for value in values)], dtype=np.float32)


class TorchOps:
    """Tensors ``[...]`` on one device, float32.

    Args:
        device: of the tables.
    """

    sin, cos, tan, sqrt, atan = torch.sin, torch.cos, torch.tan, torch.sqrt, torch.atan
    asinh, sinh, exp, floor = torch.asinh, torch.sinh, torch.exp, torch.floor
    abs, clamp, where, round, lerp = torch.abs, torch.clamp, torch.where, torch.round, torch.lerp
    logical_or, logical_and = torch.logical_or, torch.logical_and

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    @staticmethod
    def minimum(value: Tensor, other: Tensor | float) -> Tensor:
        """The lesser of both ``[...]``."""
        return torch.minimum(value, other) if isinstance(other, Tensor) else value.clamp(max=other)

    @staticmethod
    def maximum(value: Tensor, other: Tensor | float) -> Tensor:
        """The greater of both ``[...]``."""
        return torch.maximum(value, other) if isinstance(other, Tensor) else value.clamp(min=other)

    @staticmethod
    def remainder(value: Tensor, period: float) -> Tensor:
        """In [0, period], up to rounding; several times faster than ``torch.remainder``."""
        return torch.add(value, (value * (1.0 / period)).floor(), alpha=-period)

    # One kernel each: calls and passes over memory limit the speed on the planner's batches.

    @staticmethod
    def plus(value: Tensor, other: Tensor, scale: float) -> Tensor:
        """``value + scale * other`` ``[...]``."""
        return torch.add(value, other, alpha=scale)

    @staticmethod
    def plus_product(value: Tensor, left: Tensor, right: Tensor, scale: float = 1.0) -> Tensor:
        """``value + scale * left * right`` ``[...]``."""
        return torch.addcmul(value, left, right, value=scale)

    @staticmethod
    def plus_quotient(value: Tensor, top: Tensor, bottom: Tensor, scale: float) -> Tensor:
        """``value + scale * top / bottom`` ``[...]``."""
        return torch.addcdiv(value, top, bottom, value=scale)

    def constant(self, value: float) -> Tensor:
        """Make a constant ``[]`` for the first argument of ``plus`` and its kind."""
        return torch.tensor(value, device=self.device)

    @staticmethod
    def number(condition: Tensor) -> Tensor:
        """1 if the condition holds, else 0: ``[...]``."""
        return condition.float()

    @staticmethod
    def cell(value: Tensor) -> Tensor:
        """Non-negative values rounded down to table indices ``[...]``."""
        return value.int()

    def table(self, array: np.ndarray) -> Tensor:
        """``[cells, column]`` (or ``[cells]``) with its first cell repeated at the end."""
        padded = np.concatenate([array, array[:1]])
        return torch.as_tensor(padded, dtype=torch.float32, device=self.device)

    def columns_table(self, array: np.ndarray) -> Tensor:
        """The same for ``columns``: ``[column, cells]``."""
        return self.table(array).T.contiguous()

    @staticmethod
    def columns(table: Tensor, index: Tensor) -> Sequence[Tensor]:
        """The columns at cells ``[...]``, each ``[...]`` in the memory order of ``index``: mixed orders are slow."""
        if index.is_contiguous():
            return table.index_select(1, index.view(-1)).view(len(table), *index.shape).unbind(0)
        order = sorted(range(index.ndim), key=index.stride, reverse=True)
        laid = index.permute(order)
        picked = table.index_select(1, laid.reshape(-1)).view(len(table), *laid.shape)
        return picked.permute(0, *(1 + order.index(dim) for dim in range(index.ndim))).unbind(0)

    @staticmethod
    def entries(table: Tensor, index: Tensor) -> Tensor:
        """The entries at cells ``[...]``: ``[..., column]``, or ``[...]`` of a table ``[cells]``."""
        return table.index_select(0, index.reshape(-1)).view((*index.shape, *table.shape[1:]))

    @staticmethod
    def each(function: Callable, lists: Sequence[Tensor], *common: Tensor) -> Any:
        """``function`` of every opponent's values ``[opponent, ...]`` and the ego's ``[...]`` (``common``)."""
        return function(*lists, *common)

    @staticmethod
    def gather(kind: Callable, values: Sequence[Tensor]) -> Any:
        """``kind`` of one tensor ``[opponent, ...]`` per entry."""
        return kind(*values)

    @staticmethod
    def any(conditions: Tensor) -> Tensor:
        """Whether a condition ``[opponent, ...]`` holds for one of the opponents ``[...]``."""
        # One by one: several times faster than a reduction over so few.
        return reduce(torch.logical_or, conditions.unbind(0)) if len(conditions) else conditions.any(0)

    @staticmethod
    def pack(values: Sequence[Tensor], entries: Tensor, lists: Sequence[Tensor]) -> Tensor:
        """Join values ``[...]``, entries ``[..., column]`` and the opponents' ``[opponent, ...]`` into ``[..., all]``."""
        opponents = torch.cat(tuple(lists), 0).movedim(0, -1)
        return torch.cat((torch.stack(tuple(values), -1), entries, opponents), -1)
