"""Limits of an action: its bounds, its change per step, and the change of that."""

from __future__ import annotations

import torch
from torch import Tensor

from pompc.errors import UserError


class Bounds:
    """Clamp action sequences to their bounds.

    Args:
        low: lower bound ``[action]``.
        high: upper bound ``[action]``.

    Attributes:
        elementwise: whether every number keeps its limits alone, so that a graph of them is small for any horizon.
    """

    elementwise = True

    def __init__(self, low: Tensor, high: Tensor) -> None:
        self._low, self._high = low, high

    def __call__(self, sequences: Tensor, previous: Tensor | None = None) -> Tensor:
        """Replace sequences by ones that keep the limits.

        Args:
            sequences: ``[batch, candidate, sample, horizon, action]``.
            previous: the actions applied last, the newest at the end ``[batch, past, action]``.

        Returns:
            The same shape.
        """
        return torch.clamp(sequences, self._low, self._high)


class RateLimits(Bounds):
    """Keep the bounds, the change per step (a rate) and the change of the change (an acceleration) of every action.

    Step by step each action is the nearest to the wanted one that the limits allow. With a limit of acceleration ``a`` an
    action may be no faster than it can brake before its bound. At the distance ``d``, a change ``v`` can still come to rest
    if ``v + (v - a) + (v - 2 a) + ...`` is at most ``d``, so

        v <= d / (k + 1) + a k / 2    with    k = floor((sqrt(1 + 8 d / a) - 1) / 2)

    The sequences that start from the same actions and keep all limits are a convex set, so their weighted mean keeps them.

    Args:
        low: lower bound ``[action]``.
        high: upper bound ``[action]``.
        rest: the action before the first one, if none is given ``[action]``.
        rate: largest change per step ``[action]``; infinite for no limit.
        acceleration: largest change of the change per step ``[action]``; infinite for no limit.
    """

    elementwise = False

    def __init__(self, low: Tensor, high: Tensor, rest: Tensor, rate: Tensor, acceleration: Tensor) -> None:
        super().__init__(low, high)
        self._rest, self._rate, self._acceleration = rest, rate, acceleration
        self._is_free = acceleration.isinf()
        self._finite = torch.where(self._is_free, 1.0, acceleration)

    def __call__(self, sequences: Tensor, previous: Tensor | None = None) -> Tensor:
        """See :class:`Bounds`. Without ``previous`` the last action was that of rest; one action means at rest there."""
        last = self._rest if previous is None else previous[:, None, None, -1]
        change = (
            torch.zeros_like(last) if previous is None or previous.shape[1] == 1 else last - previous[:, None, None, -2]
        )
        kept = []
        for wanted in sequences.unbind(-2):
            down = torch.minimum(self._rate, self._can_brake(last - self._low))
            up = torch.minimum(self._rate, self._can_brake(self._high - last))
            least = torch.clamp(change - self._acceleration, -down, up)
            most = torch.clamp(change + self._acceleration, -down, up)
            kept.append(torch.clamp(torch.clamp(wanted, last + least, last + most), self._low, self._high))
            last, change = kept[-1], kept[-1] - last
        return torch.stack(kept, dim=-2)

    def _can_brake(self, distance: Tensor) -> Tensor:
        """Compute the fastest change from which an action stops within ``distance [..., action]``."""
        distance = distance.clamp(min=0.0)
        steps = torch.floor((torch.sqrt(1 + 8 * distance / self._finite) - 1) / 2)
        braking = distance / (steps + 1) + self._finite * steps / 2
        return torch.where(self._is_free | distance.isinf(), distance, braking)


def make_limits(
    low: Tensor, high: Tensor, rest: Tensor, rate: float | Tensor | None, acceleration: float | Tensor | None
) -> Bounds:
    """Choose the limits of an action.

    Args:
        low: lower bound ``[action]``.
        high: upper bound ``[action]``.
        rest: the action before the first one ``[action]``.
        rate: largest change per step, a number or ``[action]``; ``None`` for no limit.
        acceleration: largest change of the change per step, likewise.

    Raises:
        UserError: a limit is not positive, or has another size than the action.
    """
    if rate is None and acceleration is None:
        return Bounds(low, high)
    return RateLimits(low, high, rest, _limit("max_rate", rate, rest), _limit("max_acceleration", acceleration, rest))


def _limit(name: str, value: float | Tensor | None, like: Tensor) -> Tensor:
    limit = torch.as_tensor(torch.inf if value is None else value).to(like)
    if limit.numel() != 1 and limit.shape != like.shape:
        raise UserError(f"{name} has the shape {list(limit.shape)}; it must be one number or {[len(like)]}, [action]")
    if not bool((limit > 0).all()):
        raise UserError(f"{name}={limit.tolist()} must be positive; infinite means no limit")
    return limit.flatten().expand(len(like))
