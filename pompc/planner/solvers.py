"""Solvers that are layers, and how an agent acts by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pompc.errors import UserError
from pompc.models.protocols import PlannerLayer
from pompc.planner.ilqr import ILQR
from pompc.planner.layer import SampledLayer
from pompc.planner.mppi import MPPI
from pompc.planner.noise import CommonNoise
from pompc.planner.plan import Plan


class SolverPlanner(MPPI):
    """Plan by a layer where an agent expects MPPI: the plan is the layer's, and its only sample.

    Args:
        planner: gives options, model, cost and bounds, and counts model steps.
        solver: a :class:`~pompc.models.protocols.PlannerLayer`.
    """

    def __init__(self, planner: MPPI, solver: PlannerLayer) -> None:
        given = (planner.config, planner.dynamics, planner.scorer.cost, planner.action_dim)
        bounds = {"low": planner.low, "high": planner.high}
        super().__init__(*given, **bounds, device=planner.device, dtype=planner.dtype, generator=planner.generator)
        self.charge = planner.charge  # one count of model steps, of the planner and of the solver on its model
        self.solver = solver

    @torch.no_grad()
    def plan(
        self,
        state: Tensor,
        *,
        parameters: Tensor | None = None,
        mean: Tensor | None = None,
        is_init: Tensor | None = None,
        first: Tensor | None = None,
        states: bool = True,
        **sampling: Any,
    ) -> Plan:
        """Solve; see :meth:`MPPI.plan`.

        Raises:
            UserError: an argument needs a planner that samples.
        """
        refused = [name for name, value in sampling.items() if value is not None and value is not False]
        if refused:
            raise UserError(
                f"{type(self.solver).__name__} plans without {', '.join(refused)}: take algo.solver=sampled"
            )
        mean, value = self.solver(state, parameters, first, mean=mean, is_init=is_init)
        actions = mean.unsqueeze(2)
        rolled = self.rollout(state, actions) if states else None
        self.model_steps += actions[..., 0].numel() * states
        return Plan(
            mean=mean,
            std=torch.zeros_like(mean),
            actions=actions,
            states=rolled,
            costs=value.unsqueeze(-1),
            weights=torch.ones_like(value).unsqueeze(-1),
            soft_value=value,
            effective_samples=torch.full_like(value, torch.nan),
            batch_size=mean.shape[:2],
        )


def sampled(planner: MPPI) -> tuple[MPPI, PlannerLayer]:
    """Act and learn by samples with common random numbers."""
    return planner, SampledLayer(planner)


def exact(planner: MPPI) -> tuple[MPPI, PlannerLayer]:
    """Act and learn by iLQR, which starts from a plan of ``planner`` with common random numbers."""
    planner.noise = CommonNoise(planner.noise)
    solver = ILQR(planner)
    return SolverPlanner(planner, solver), solver


SOLVERS: dict[str, Callable[[MPPI], tuple[MPPI, PlannerLayer]]] = {"sampled": sampled, "ilqr": exact}
"""What acts and the layer that learns, by the name that ``algo.solver`` takes."""
