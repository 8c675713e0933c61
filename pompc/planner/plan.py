"""The result of a planner."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from tensordict import TensorClass
from torch import Tensor

from pompc.errors import UserError


class Plan(TensorClass["shadow"]):  # "shadow": mean and std are fields here, not reductions
    """A plan for every environment and candidate; batch size ``[batch, candidate]``.

    Index it like a tensor: ``plan[environments, chosen]`` picks one candidate per environment.

    Attributes:
        mean: weighted mean of the action sequences ``[..., horizon, action]``.
        std: standard deviation of the sampling distribution after the last update ``[..., horizon, action]``.
        actions: sampled action sequences ``[..., sample, horizon, action]``.
        states: model trajectories of the samples, the first state included ``[..., sample, horizon + 1, state]``; ``None``
            if they were not kept.
        costs: cost of each sample ``[..., sample]``, without the importance term; infinite for a dropped sample.
        weights: weights ``[..., sample]`` that sum to one; with a control cost they include the importance ratios.
        soft_value: free energy of the samples ``[...]``, in units of cost; with a control cost, of the base density.
        effective_samples: effective sample size ``[...]``.
        margin: least margin of each sample over steps and constraints, until its episode ends ``[..., sample]``; ``None``
            unless the planner heeds constraints or was asked for margins.
        temperature: the temperature that holds the effective sample size ``[...]``; ``None`` for a fixed one.
    """

    mean: Tensor
    std: Tensor
    actions: Tensor
    states: Tensor | None
    costs: Tensor
    weights: Tensor
    soft_value: Tensor
    effective_samples: Tensor
    margin: Tensor | None = None
    temperature: Tensor | None = None

    def trajectories(self) -> Tensor:
        """Return :attr:`states`.

        Raises:
            UserError: the planner kept none.
        """
        if self.states is None:
            raise UserError(
                "the plan has no states: leave states=False out, or let the agent's reads_states return True"
            )
        return self.states


def draw(plan: Plan, generator: torch.Generator | None, *, greedy: bool) -> Tensor:
    """Draw the first action of a sample by its weight, for every candidate ``[batch, candidate, action]``.

    Args:
        plan: the plan.
        generator: source of the draw.
        greedy: take the sample of the largest weight instead.
    """
    batch, candidates, samples = plan.weights.shape
    weights = plan.weights.view(-1, samples)
    index = weights.argmax(-1, keepdim=True) if greedy else torch.multinomial(weights, 1, generator=generator)
    first = plan.actions[..., 0, :]
    chosen = index.view(batch, candidates, 1, 1).expand(-1, -1, 1, first.shape[-1])
    return first.gather(2, chosen).squeeze(2)


class Iteration(NamedTuple):
    """One iteration of a plan, as a :class:`Callback` sees it.

    Attributes:
        index: number of the iteration, from 0.
        mean: the plan so far ``[batch, candidate, horizon, action]``.
        std: standard deviation of the next samples, same shape.
        actions: samples ``[batch, candidate, sample, horizon, action]``.
        states: their trajectories ``[batch, candidate, sample, horizon + 1, state]``; ``None`` if they are not kept.
        costs: ``[batch, candidate, sample]``; infinite for a dropped sample.
        weights: ``[batch, candidate, sample]``.
    """

    index: int
    mean: Tensor
    std: Tensor
    actions: Tensor
    states: Tensor | None
    costs: Tensor
    weights: Tensor


class Callback(Protocol):
    """See every iteration of a plan: for live views, logs and deadlines."""

    def __call__(self, iteration: Iteration) -> bool | None:
        """Look at an iteration, and change nothing; ``True`` ends the plan with it."""
        ...
