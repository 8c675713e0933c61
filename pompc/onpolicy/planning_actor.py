"""A policy that plans: a network sets the cost, a planner as a layer finds the action."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pompc.data.warm_start import APPLIED
from pompc.models.protocols import PlannerLayer
from pompc.networks.actor_critic import Actor, tanh_mlp
from pompc.onpolicy.cost_maps import CostMap

OUTPUT_GAIN = 0.1
"""Of the last layer's weights: with the usual 0.01 the costs hardly depend on the observation for many updates."""


class PlanningActor(Actor):
    """A diagonal Gaussian around the first action of a plan whose cost depends on the observation.

    Args:
        layer: plans, and differentiates the plan with respect to the cost parameters.
        costs: makes cost parameters of the network's output.
        observation_dim: size of an observation.
        action_dim: size of an action.
        hidden_sizes: widths of the hidden layers.
        initial_std: standard deviation at the start.
        remembers: whether plans depend on the actions applied before them, which :meth:`forward` then takes too.
    """

    in_keys = ("observation", "state", "planner_mean", "is_init")

    def __init__(
        self,
        layer: PlannerLayer,
        costs: CostMap,
        observation_dim: int,
        action_dim: int,
        hidden_sizes: Sequence[int],
        *,
        initial_std: float,
        remembers: bool = False,
    ) -> None:
        super().__init__()
        if remembers:
            self.in_keys = (*self.in_keys, APPLIED)
        self.layer, self.costs = layer, costs
        self.net = tanh_mlp([observation_dim, *hidden_sizes, costs.dim], last_gain=OUTPUT_GAIN)
        self.log_std = nn.Parameter(torch.full((action_dim,), math.log(initial_std)))
        with torch.no_grad():
            self.net[-1].bias.copy_(costs.start)  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]

    def cost_parameters(self, observation: Tensor) -> Tensor:
        """Set the cost: standardised ``observation [..., observation]`` -> ``[..., parameter]``."""
        return self.costs.parameters(self.net(observation))

    def forward(
        self,
        observation: Tensor,
        state: Tensor,
        planner_mean: Tensor,
        is_init: Tensor,
        applied: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Plan again as in acting.

        Args:
            observation: standardised ``[batch, observation]``.
            state: model states ``[batch, state]``.
            planner_mean: warm starts that the plans had ``[batch, horizon, action]``.
            is_init: where they were dropped, bool ``[batch, 1]``.
            applied: actions applied before them ``[batch, past, action]``, if plans depend on these.

        Returns:
            Mean, the first action of the plan, and standard deviation ``[batch, action]``.
        """
        parameters = self.cost_parameters(observation).unsqueeze(1)
        given = {"mean": planner_mean, "is_init": is_init} | ({} if applied is None else {"previous": applied})
        plan, _ = self.layer(state, parameters, **given)
        mean = plan[:, 0, 0]
        return mean, self.log_std.exp().expand_as(mean)
