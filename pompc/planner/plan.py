"""The result of a planner."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from tensordict import TensorClass
from torch import Tensor


class Plan(TensorClass["shadow"]):  # "shadow": mean and std are fields here, not reductions
    """A plan for every environment and candidate; batch size ``[batch, candidate]``.

    Index it like a tensor: ``plan[environments, chosen]`` picks one candidate per environment.

    Attributes:
        mean: weighted mean of the action sequences ``[..., horizon, action]``.
        std: standard deviation of the sampling distribution after the last update ``[..., horizon, action]``.
        actions: sampled action sequences ``[..., sample, horizon, action]``.
        states: model trajectories of the samples, the first state included ``[..., sample, horizon + 1, state]``.
        costs: cost of each sample ``[..., sample]``, without the importance term; infinite for a dropped sample.
        weights: weights ``[..., sample]`` that sum to one; with a control cost they include the importance ratios.
        soft_value: free energy of the samples ``[...]``, in units of cost; with a control cost, of the base density.
        effective_samples: effective sample size ``[...]``.
        margin: least margin of each sample over steps and constraints, until its episode ends ``[..., sample]``; ``None``
            unless the planner heeds constraints or was asked for margins.
    """

    mean: Tensor
    std: Tensor
    actions: Tensor
    states: Tensor
    costs: Tensor
    weights: Tensor
    soft_value: Tensor
    effective_samples: Tensor
    margin: Tensor | None = None


class Iteration(NamedTuple):
    """One iteration of a plan, as a :class:`Callback` sees it.

    Attributes:
        index: number of the iteration, from 0.
        mean: the plan so far ``[batch, candidate, horizon, action]``.
        std: standard deviation of the next samples, same shape.
        actions: samples ``[batch, candidate, sample, horizon, action]``.
        states: their trajectories ``[batch, candidate, sample, horizon + 1, state]``.
        costs: ``[batch, candidate, sample]``; infinite for a dropped sample.
        weights: ``[batch, candidate, sample]``.
    """

    index: int
    mean: Tensor
    std: Tensor
    actions: Tensor
    states: Tensor
    costs: Tensor
    weights: Tensor


class Callback(Protocol):
    """See every iteration of a plan: for live views, logs and deadlines."""

    def __call__(self, iteration: Iteration) -> bool | None:
        """Look at an iteration, and change nothing; ``True`` ends the plan with it."""
        ...
