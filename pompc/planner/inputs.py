"""What a plan is made from, checked once at the door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from pompc.errors import NonFiniteError, UserError

Pattern = tuple[str | int, ...]
Kind = tuple[torch.Size, torch.dtype, torch.device]
Sizes = tuple[tuple[str, int], ...]

PATTERNS: dict[str, tuple[Pattern, ...]] = {
    "state": (("batch", "state"),),
    "parameters": (("batch", "candidate", "parameter"),),
    "mean": (("batch", "horizon", "action"),),
    "is_init": (("batch",), ("batch", 1)),
    "proposals": (
        ("batch", 1, "proposal", "horizon", "action"),
        ("batch", "candidate", "proposal", "horizon", "action"),
    ),
    "discount": (("batch",), ("batch", 1)),
    "noise": (("iteration", "batch", "candidate", "num_samples", "horizon", "action"),),
}
"""Shapes that each argument of a plan may have. A size that is not known beforehand is whatever it is there."""


@dataclass(frozen=True)
class Inputs:
    """Arguments of :meth:`pompc.planner.MPPI.plan`, of the shapes it needs and in float32.

    Attributes:
        state: ``[batch, state]``.
        parameters: ``[batch, candidate, parameter]``.
        mean: ``[batch, horizon, action]``.
        is_init: bool ``[batch]``.
        proposals: ``[batch, candidate, p, horizon, action]``.
        discount: ``[batch]``.
        noise: ``[iteration, batch, candidate, num_samples, horizon, action]``.
        candidates: how many candidates there are.
    """

    state: Tensor
    parameters: Tensor | None
    mean: Tensor | None
    is_init: Tensor | None
    proposals: Tensor | None
    discount: Tensor | None
    noise: Tensor | None
    candidates: int


def checked(sizes: Sizes, device: torch.device, given: Mapping[str, Tensor | None]) -> Inputs:
    """The arguments of a plan: their shapes and devices compared, not a number read, so that a GPU need not be waited for.

    Args:
        sizes: known sizes: ``iteration``, ``num_samples``, ``horizon`` and ``action``.
        device: where plans are made.
        given: the arguments by name, ``state`` and ``parameters`` first.

    Raises:
        UserError: an argument is no tensor, lies elsewhere, or is not of the shape or type that is needed.
    """
    kinds = [(name, None if value is None else _kind(name, value)) for name, value in given.items()]
    candidates = _compared(sizes, device, tuple(kinds))
    found: dict[str, Any] = {
        name: value if value is None or name == "is_init" else value.to(torch.float32) for name, value in given.items()
    }
    if found["proposals"] is not None:
        found["proposals"] = found["proposals"].expand(-1, candidates, -1, -1, -1)
    for name in ("is_init", "discount"):
        found[name] = None if found[name] is None else found[name].flatten()
    return Inputs(**found, candidates=candidates)


class Numbers:
    """What a plan is computed from, checked where the plan waits for its device anyway.

    Attributes:
        probe: their sum, on their device: finite only where all of them are.

    Args:
        given: arguments of a plan.
        mean: what it starts from ``[batch, candidate, horizon, action]``: the warm start where it is not dropped.
    """

    def __init__(self, given: Inputs, mean: Tensor) -> None:
        self._given, self._mean = given, mean
        self.probe = given.state.sum()
        for _, tensor in self._others():
            self.probe = self.probe + tensor.sum()

    def name_the_nonfinite(self) -> None:
        """Say which number is not finite, if one is not.

        Raises:
            NonFiniteError: one is not.
        """
        for name, tensor in (("state", self._given.state), *self._others()):
            bad = (~torch.isfinite(tensor)).nonzero()
            if len(bad):
                raise NonFiniteError(f"planner {name}", f"first at the index {bad[0].tolist()}")

    def _others(self) -> list[tuple[str, Tensor]]:
        given = self._given
        others = (
            ("parameters", given.parameters),
            ("mean", None if given.mean is None else self._mean),
            ("proposals", given.proposals),
            ("discount", given.discount),
            ("noise", given.noise),
        )
        return [(name, tensor) for name, tensor in others if tensor is not None]


def require_shape(what: str, tensor: Tensor, shape: torch.Size) -> None:
    """What a user's function returned.

    Raises:
        UserError: it is of another shape.
    """
    if tensor.shape != shape:
        raise UserError(f"{what} returned the shape {list(tensor.shape)} where {list(shape)} is needed")


def bounds(low: float | Tensor, high: float | Tensor, action_dim: int) -> tuple[Tensor, Tensor]:
    """Bounds of the actions ``[action]`` in float32, on the CPU or where they are.

    Raises:
        UserError: a bound is neither a number nor of the action's size, is nan, or the lower one is above the upper.
    """
    found = []
    for name, value in (("low", low), ("high", high)):
        bound = torch.as_tensor(value, dtype=torch.float32)
        if bound.numel() != 1 and bound.shape != (action_dim,):
            raise UserError(
                f"{name} has the shape {list(bound.shape)}; it must be one number or {[action_dim]}, [action]"
            )
        bound = bound.flatten().expand(action_dim)
        if bound.isnan().any():
            raise UserError(f"{name}={bound.tolist()} is not a number")
        found.append(bound)
    for entry, (least, most) in enumerate(zip(found[0].tolist(), found[1].tolist(), strict=True)):
        if least > most:
            raise UserError(f"low={least:g} is above high={most:g} in entry {entry} of the action: swap them")
    return found[0], found[1]


def _kind(name: str, value: Tensor) -> Kind:
    """What is compared of an argument."""
    if not isinstance(value, Tensor):
        raise UserError(f"{name} must be a torch.Tensor, not {type(value).__name__}: pass torch.as_tensor({name})")
    return value.shape, value.dtype, value.device


@lru_cache(maxsize=256)  # most plans have arguments of the shapes that the one before had
def _compared(sizes: Sizes, device: torch.device, kinds: tuple[tuple[str, Kind | None], ...]) -> int:
    """How many candidates there are, of arguments that are in order."""
    known = dict(sizes)
    for name, kind in kinds:
        if kind is not None:
            _compare(name, kind, known, device)
        elif name == "parameters":
            known["candidate"] = 1
    return known["candidate"]


def _compare(name: str, kind: Kind, sizes: dict[str, int], device: torch.device) -> None:
    """Compare one argument; the sizes it brings are added to those known."""
    shape, dtype, where = kind
    if where.type != device.type or device.index not in (None, where.index):
        raise UserError(f"{name} is on {where}, the planner on {device}: pass {name}.to({str(device)!r})")
    pattern = next((pattern for pattern in PATTERNS[name] if _fits(shape, pattern, sizes)), None)
    if pattern is None:
        raise UserError(_complaint(name, shape, sizes))
    sizes.update((size, length) for size, length in zip(pattern, shape, strict=True) if isinstance(size, str))
    if name == "is_init":
        if dtype != torch.bool:
            raise UserError(f"is_init must be of torch.bool, not {dtype}: pass is_init.bool()")
    elif dtype.is_complex or dtype == torch.bool:
        raise UserError(f"{name} must be of real numbers, not of {dtype}")


def _fits(shape: torch.Size, pattern: Pattern, sizes: Mapping[str, int]) -> bool:
    return len(shape) == len(pattern) and all(
        length == (sizes.get(size, length) if isinstance(size, str) else size)
        for length, size in zip(shape, pattern, strict=True)
    )


def _complaint(name: str, shape: torch.Size, sizes: Mapping[str, int]) -> str:
    patterns = PATTERNS[name]
    names = " or ".join(f"[{', '.join(map(str, pattern))}]" for pattern in patterns)
    known = [f"[{', '.join(str(sizes.get(str(size), size)) for size in pattern)}]" for pattern in patterns]
    needed = " or ".join(dict.fromkeys(known))
    text = f"{name} has the shape {list(shape)}; it must be {needed}" + ("" if needed == names else f", {names}")
    batch = sizes.get("batch")
    for pattern in patterns:
        without = tuple(size for size in pattern if size != "batch")
        at = pattern.index("batch")
        if _fits(shape, without, sizes):
            return f"{text}: for one environment pass {name}.unsqueeze({at})"
        if batch is not None and _fits(shape, pattern, {**sizes, "batch": 1}):
            kept = ", ".join(str(batch) if size == "batch" else "-1" for size in pattern)
            return f"{text}: for the same in all environments pass {name}.expand({kept})"
    return text
