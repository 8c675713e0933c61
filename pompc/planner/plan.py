"""What a planner returns."""

from __future__ import annotations

from tensordict import TensorClass
from torch import Tensor


class Plan(TensorClass["shadow"]):  # "shadow": mean and std are fields here, not reductions
    """A plan for every environment and candidate; batch size ``[batch, candidate]``.

    Index it like a tensor: ``plan[rows, chosen]`` picks one candidate per environment.

    Attributes:
        mean: weighted mean of the action sequences ``[..., horizon, action]``.
        std: spread of the sampling distribution after the last update ``[..., horizon, action]``.
        actions: sampled action sequences ``[..., sample, horizon, action]``.
        states: their model trajectories, the first state included ``[..., sample, horizon + 1, state]``.
        costs: what the task charges for each sample ``[..., sample]``; infinite for a dropped one.
        weights: weight of each sample ``[..., sample]``, rows sum to one; with a control cost the importance ratios are in
            them.
        soft_value: free energy of the samples ``[...]``, in units of cost; with a control cost that of the base density.
        effective_samples: effective sample size ``[...]``.
    """

    mean: Tensor
    std: Tensor
    actions: Tensor
    states: Tensor
    costs: Tensor
    weights: Tensor
    soft_value: Tensor
    effective_samples: Tensor
