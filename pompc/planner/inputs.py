"""Inputs of the planner, checked once at the door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from pompc.errors import NonFiniteError, UserError
from pompc.planner.config import MPPIConfig
from pompc.planner.once import Once

Pattern = tuple[str | int, ...]
Kind = tuple[torch.Size, torch.dtype, torch.device]
Sizes = tuple[tuple[str, int], ...]

PATTERNS: dict[str, tuple[Pattern, ...]] = {
    "state": (("batch", "state"), ("batch", "rollout", "state")),
    "parameters": (("batch", "candidate", "parameter"),),
    "mean": (("batch", "horizon", "action"),),
    "is_init": (("batch",), ("batch", 1)),
    "proposals": (
        ("batch", 1, "proposal", "horizon", "action"),
        ("batch", "candidate", "proposal", "horizon", "action"),
    ),
    "discount": (("batch",), ("batch", 1)),
    "previous": (("batch", "past", "action"),),
    "first": (("batch", "action"),),
    "noise": (("iteration", "batch", "candidate", "num_samples", "horizon", "action"),),
}
"""Shapes that each argument of a plan may have. The first argument with a size that is not known yet sets it."""


@dataclass(frozen=True)
class Inputs:
    """Checked arguments of :meth:`pompc.planner.MPPI.plan`, in the planner's dtype and in the shapes below.

    Attributes:
        state: ``[batch, state]``, or one for every rollout ``[batch, rollout, state]``.
        parameters: ``[batch, candidate, parameter]``.
        mean: ``[batch, horizon, action]``.
        is_init: bool ``[batch]``.
        proposals: ``[batch, candidate, p, horizon, action]``.
        discount: ``[batch]``.
        previous: the actions applied last, the newest at the end ``[batch, past, action]``.
        first: ``[batch, action]``.
        noise: ``[iteration, batch, candidate, num_samples, horizon, action]``.
        candidates: number of candidates.
        once: what the iterations of this plan share.
    """

    state: Tensor
    parameters: Tensor | None
    mean: Tensor | None
    is_init: Tensor | None
    proposals: Tensor | None
    discount: Tensor | None
    previous: Tensor | None
    first: Tensor | None
    noise: Tensor | None
    candidates: int
    once: Once = field(default_factory=Once)

    @property
    def num_proposals(self) -> int:
        """Number of proposals."""
        return 0 if self.proposals is None else self.proposals.shape[2]

    def noise_of(self, iteration: int) -> Tensor | None:
        """Return the noise of an iteration ``[batch, candidate, num_samples, horizon, action]``; ``None`` to draw it."""
        return None if self.noise is None else self.noise[iteration]


class Door:
    """Check the inputs of a plan: shapes, types and devices.

    Args:
        config: options of the planner.
        action_dim: size of an action.
        device: device of the plans.
        dtype: dtype of the plans.
    """

    def __init__(self, config: MPPIConfig, action_dim: int, device: torch.device, dtype: torch.dtype) -> None:
        self._device, self._dtype = device, dtype
        self._sizes = (
            ("iteration", config.num_iterations),
            ("num_samples", config.num_samples),
            ("horizon", config.horizon),
            ("action", action_dim),
            *((("rollout", config.num_rollouts),) if config.num_rollouts > 1 else ()),
        )
        self._max_proposals = config.num_samples - config.num_zero_mean - config.include_mean

    def __call__(self, **given: Tensor | None) -> Inputs:
        """Compare the arguments, then convert them; no number is read, so no plan waits for a GPU here.

        Args:
            given: all arguments by name, ``state`` and ``parameters`` first.

        Raises:
            UserError: an argument is no tensor, lies on another device, or has another shape or type than needed, or
                the proposals leave no room for the mean and the samples around zero.
        """
        kinds = tuple((name, None if value is None else _kind(name, value)) for name, value in given.items())
        candidates = _compared(self._sizes, self._device, self._max_proposals, kinds)
        found: dict[str, Any] = {
            name: value if value is None or name == "is_init" else value.to(self._dtype)
            for name, value in given.items()
        }
        if found["proposals"] is not None:
            found["proposals"] = found["proposals"].expand(-1, candidates, -1, -1, -1)
        for name in ("is_init", "discount"):
            found[name] = None if found[name] is None else found[name].flatten()
        return Inputs(**found, candidates=candidates)


class Probe:
    """Find inputs that are not finite when the plan waits for its device anyway.

    Args:
        given: checked inputs of a plan.
        mean: first mean of the plan ``[batch, candidate, horizon, action]``: the warm start, unless it is dropped.

    Attributes:
        total: sum of all inputs, on their device: finite only if all of them are.
    """

    def __init__(self, given: Inputs, mean: Tensor) -> None:
        optional = {
            "parameters": given.parameters,
            "mean": None if given.mean is None else mean,
            "proposals": given.proposals,
            "discount": given.discount,
            "previous": given.previous,
            "first": given.first,
            "noise": given.noise,
        }
        self._tensors = {"state": given.state, **{k: v for k, v in optional.items() if v is not None}}
        self.total = sum((tensor.sum() for tensor in self._tensors.values()), torch.zeros((), device=mean.device))

    def is_finite(self) -> Tensor:
        """Say whether all inputs are finite, on their device: a bool ``[]``."""
        return torch.stack([torch.isfinite(tensor).all() for tensor in self._tensors.values()]).all()

    def raise_if_nonfinite(self) -> None:
        """Name the first input that is not finite.

        Raises:
            NonFiniteError: an input is not finite.
        """
        for name, tensor in self._tensors.items():
            bad = (~torch.isfinite(tensor)).nonzero()
            if len(bad):
                raise NonFiniteError(f"planner {name}", f"first at the index {bad[0].tolist()}")


def bounds(
    low: float | Tensor, high: float | Tensor, action_dim: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Convert the bounds of the actions to ``[action]``, on their device.

    Args:
        low: lower bound, a number or ``[action]``.
        high: upper bound, a number or ``[action]``.
        action_dim: size of an action.
        dtype: dtype of the plans.

    Raises:
        UserError: a bound is neither a number nor of the action's size, is nan, or the lower one is above the upper.
    """
    found = []
    for name, value in (("low", low), ("high", high)):
        bound = torch.as_tensor(value, dtype=dtype)
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


def require_floating(dtype: torch.dtype) -> None:
    """Refuse a dtype that cannot hold an action.

    Raises:
        UserError: ``dtype`` is no floating point type.
    """
    if not dtype.is_floating_point:
        raise UserError(f"dtype={dtype} is no floating point type: give that of the model, such as torch.float64")


def rest(low: Tensor, high: Tensor) -> Tensor:
    """Choose the action that a plan without a warm start begins with, ``[action]`` like the bounds.

    It is zero if the bounds contain zero, else their middle, or the finite one of them.
    """
    middle = torch.where(low.isinf() | high.isinf(), torch.clamp(torch.zeros_like(low), low, high), (low + high) / 2)
    return torch.where((low <= 0) & (high >= 0), 0.0, middle)


def initial_std(std: float | Sequence[float], action_dim: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Convert the standard deviation at the start of a plan to a tensor, one number or ``[action]``.

    Args:
        std: one number, or one for every entry of the action.
        action_dim: size of an action.
        dtype: dtype of the plans.

    Raises:
        UserError: ``std`` is neither one number nor one for every entry of the action.
    """
    found = torch.as_tensor(std, dtype=dtype)
    if found.ndim and found.shape != (action_dim,):
        raise UserError(f"planner.init_std needs one number or {action_dim}, not {found.numel()}")
    return found


def _kind(name: str, value: Tensor) -> Kind:
    """Return shape, type and device of an argument."""
    if not isinstance(value, Tensor):
        raise UserError(f"{name} must be a torch.Tensor, not {type(value).__name__}: pass torch.as_tensor({name})")
    return value.shape, value.dtype, value.device


@lru_cache(maxsize=256)  # most plans have the shapes of the previous plan
def _compared(
    sizes: Sizes, device: torch.device, max_proposals: int, kinds: tuple[tuple[str, Kind | None], ...]
) -> int:
    """Compare all arguments and return the number of candidates."""
    known = dict(sizes)
    for name, kind in kinds:
        if kind is not None:
            _compare(name, kind, known, device)
        elif name == "parameters":
            known["candidate"] = 1
    num_proposals = known.get("proposal", 0)
    if num_proposals > max_proposals:
        num_samples = known["num_samples"]
        raise UserError(
            f"{num_proposals} proposals do not fit into planner.num_samples={num_samples}: raise num_samples"
        )
    return known["candidate"]


def _compare(name: str, kind: Kind, sizes: dict[str, int], device: torch.device) -> None:
    """Compare one argument, and add its sizes to the known ones."""
    shape, dtype, where = kind
    if where.type != device.type or device.index not in (None, where.index):
        raise UserError(f"{name} is on {where}, the planner on {device}: pass {name}.to({str(device)!r})")
    pattern = next((pattern for pattern in _patterns(name, sizes) if _fits(shape, pattern, sizes)), None)
    if pattern is None:
        raise UserError(_complaint(name, shape, sizes))
    sizes.update((size, length) for size, length in zip(pattern, shape, strict=True) if isinstance(size, str))
    if name == "is_init":
        if dtype != torch.bool:
            raise UserError(f"is_init must be of torch.bool, not {dtype}: pass is_init.bool()")
    elif dtype.is_complex or dtype == torch.bool:
        raise UserError(f"{name} must be of real numbers, not of {dtype}")


def _patterns(name: str, sizes: Mapping[str, int]) -> tuple[Pattern, ...]:
    """List the shapes that an argument may have; several states per environment need several rollouts."""
    return tuple(pattern for pattern in PATTERNS[name] if "rollout" not in pattern or "rollout" in sizes)


def _fits(shape: torch.Size, pattern: Pattern, sizes: Mapping[str, int]) -> bool:
    return len(shape) == len(pattern) and all(
        length == (sizes.get(size, length) if isinstance(size, str) else size)
        for length, size in zip(shape, pattern, strict=True)
    )


def _complaint(name: str, shape: torch.Size, sizes: Mapping[str, int]) -> str:
    patterns = _patterns(name, sizes)
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
