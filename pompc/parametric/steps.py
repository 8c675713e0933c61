"""Steps on phi: Q-learning, a Newton step by least squares, compatible deterministic policy gradients.

All of them go down in cost. Temporal differences are ``d = l + discount V(s') - Q(s, a)`` with the planner's own V and Q.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.data.warm_start import APPLIED
from pompc.parametric.values import PlannedValues


class Transitions(NamedTuple):
    """A batch of steps.

    Attributes:
        observation: ``[batch, observation]``.
        state: of the model ``[batch, state]``.
        action: ``[batch, action]``.
        cost: minus the reward ``[batch]``.
        going_on: 0 after a termination, otherwise 1 ``[batch]``.
        next_observation: ``[batch, observation]``.
        next_state: ``[batch, state]``.
        mean: the planner's warm start ``[batch, horizon, action]``.
        next_mean: that of the next state ``[batch, horizon, action]``.
        previous: the actions applied before ``[batch, past, action]``; ``None`` if plans do not depend on them.
    """

    observation: Tensor
    state: Tensor
    action: Tensor
    cost: Tensor
    going_on: Tensor
    next_observation: Tensor
    next_state: Tensor
    mean: Tensor
    next_mean: Tensor
    previous: Tensor | None = None

    @classmethod
    def read(cls, data: TensorDictBase, state: Callable[[Tensor], Tensor]) -> Transitions:
        """Read steps ``[batch]`` of a collector; ``state`` finds the model state behind an observation."""
        after = data["next"]
        return cls(
            observation=data["observation"],
            state=state(data["observation"]),
            action=data["action"],
            cost=-after["reward"].squeeze(-1),
            going_on=1 - after["terminated"].squeeze(-1).float(),
            next_observation=after["observation"],
            next_state=state(after["observation"]),
            mean=data["planner_mean"],
            next_mean=after["planner_mean"],
            previous=data.get(APPLIED, None),
        )


class Moved(NamedTuple):
    """A direction in phi.

    Attributes:
        direction: ``[size]``.
        metrics: by name.
    """

    direction: Tensor
    metrics: dict[str, Tensor]


class Step(ABC):
    """Finds a direction for phi.

    Attributes:
        explores: whether it learns from actions beside the planner's alone.
    """

    explores = False

    @abstractmethod
    def __call__(self, values: PlannedValues, batch: Transitions) -> Moved:
        """Find the direction from a batch of steps."""


class Difference(NamedTuple):
    """Temporal differences.

    Attributes:
        error: ``[batch]``; its mean is zero, see :func:`difference`.
        slope: of ``Q(s, a)`` with respect to phi and the offset ``[batch, size + 1]``.
        next_slope: of the discounted ``V(s')`` ``[batch, size + 1]``.
        effective_samples: of the plans behind Q ``[batch]``.
    """

    error: Tensor
    slope: Tensor
    next_slope: Tensor
    effective_samples: Tensor


def difference(values: PlannedValues, batch: Transitions) -> Difference:
    """Compute temporal differences, and set the offset to the one at which their mean is zero.

    That offset is the least-squares solution for a constant. It takes up the bias of the soft values.
    """
    now = values.value(batch.state, batch.mean, first=batch.action)
    then = values.value(batch.next_state, batch.next_mean)
    kept = values.discount * batch.going_on
    error = batch.cost + kept * then.cost - now.cost
    shift = error.mean() / (1 - kept).mean()
    values.phi.offset += shift
    return Difference(error - shift * (1 - kept), now.slope, kept.unsqueeze(-1) * then.slope, now.effective_samples)


class QLearning(Step):
    """The semi-gradient ``mean d dQ/dphi`` (Gros and Zanon 2020)."""

    def __call__(self, values: PlannedValues, batch: Transitions) -> Moved:
        """Find the direction."""
        found = difference(values, batch)
        return Moved((found.error.unsqueeze(-1) * found.slope).mean(0)[:-1], _metrics(found))


class Newton(Step):
    """The least-squares solution w of ``mean psi (psi - discount psi')' w = mean psi d`` with ``psi = dQ/dphi``.

    It is the weight of the linear correction ``Q + psi' w`` (Anand et al. 2023). Where Q is linear in phi, one step finds
    the phi without temporal differences.

    Args:
        ridge: added to the diagonal, as a share of the largest diagonal entry of ``mean psi psi'``.
    """

    def __init__(self, ridge: float) -> None:
        self.ridge = ridge

    def __call__(self, values: PlannedValues, batch: Transitions) -> Moved:
        """Find the direction."""
        found = difference(values, batch)
        slope, further = found.slope.double(), found.next_slope.double()
        weight = least_squares(slope, slope - further, found.error.double(), self.ridge)
        return Moved(weight[:-1].float(), _metrics(found))


class CompatibleDPG(Step):
    """The deterministic policy gradient with a compatible critic (Silver et al. 2014), the core of Cai et al. 2023.

    The critic is ``A(s, a) = (a - pi)' dpi/dphi w``. Its weight fits the advantage over a value function that is quadratic
    in the observation, itself a least-squares solution. The gradient of the cost is ``mean dpi/dphi' dpi/dphi w``.

    Args:
        ridge: as in :class:`Newton`, of both fits.
        natural: take ``-w``, the natural gradient, instead of the gradient.
    """

    explores = True

    def __init__(self, ridge: float, *, natural: bool) -> None:
        self.ridge, self.natural = ridge, natural

    def __call__(self, values: PlannedValues, batch: Transitions) -> Moved:
        """Find the direction."""
        policy = values.policy(batch.state, batch.mean, batch.previous)
        slope = policy.slope.double()
        advantage = self._advantages(values.discount, batch)
        features = torch.einsum("bap,ba->bp", slope, (batch.action - policy.action).double())
        weight = least_squares(features, features, advantage, self.ridge)
        gradient = torch.einsum("bap,baq,q->p", slope, slope, weight) / len(slope)
        metrics = {"advantage": advantage.square().mean().sqrt().float(), "phi_gradient": gradient.norm().float()}
        return Moved(-(weight if self.natural else gradient).float(), metrics)

    def _advantages(self, discount: float, batch: Transitions) -> Tensor:
        """Estimate the advantages of the actions ``[batch]``, in units of cost."""
        now, then = monomials(batch.observation.double()), monomials(batch.next_observation.double())
        further = discount * batch.going_on.double().unsqueeze(-1) * then
        cost = batch.cost.double()
        weight = least_squares(now, now - further, cost, self.ridge * 1e-3)
        return cost + (further - now) @ weight


def least_squares(left: Tensor, right: Tensor, target: Tensor, ridge: float) -> Tensor:
    """Solve ``(mean left right' + ridge m I) w = mean left target``; m is the largest mean square of an entry of left.

    Args:
        left: ``[batch, size]``.
        right: ``[batch, size]``.
        target: ``[batch]``.
        ridge: share of m.
    """
    count, size = left.shape
    matrix = left.mT @ right / count
    level = ridge * left.square().mean(0).max().clamp_min(torch.finfo(left.dtype).tiny)
    matrix = matrix + level * torch.eye(size, dtype=left.dtype, device=left.device)
    return torch.linalg.solve(matrix, left.mT @ target / count)


def monomials(x: Tensor) -> Tensor:
    """Write ``x [batch, n]`` as all monomials up to degree two ``[batch, 1 + n + n (n + 1) / 2]``."""
    row, column = torch.triu_indices(x.shape[-1], x.shape[-1], device=x.device)
    return torch.cat([torch.ones_like(x[:, :1]), x, x[:, row] * x[:, column]], -1)


def _metrics(found: Difference) -> dict[str, Tensor]:
    return {"td_error": found.error.square().mean().sqrt(), "effective_samples": found.effective_samples.mean()}


STEPS: dict[str, Callable[[float], Step]] = {
    "q_learning": lambda ridge: QLearning(),
    "newton": Newton,
    "dpg": lambda ridge: CompatibleDPG(ridge, natural=False),
    "natural_dpg": lambda ridge: CompatibleDPG(ridge, natural=True),
}
"""Steps by the name that ``algo.step`` takes; made of the ridge."""
