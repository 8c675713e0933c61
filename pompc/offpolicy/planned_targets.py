"""Value targets from plans: the free energy of a plan at the next state in the place of a policy's value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensordict import TensorDictBase
from torch import Tensor

from pompc.offpolicy.targets import OneStep
from pompc.planner import MPPI

if TYPE_CHECKING:
    from pompc.offpolicy.agent import OffPolicyAgent


class SoftPlans(OneStep):
    """The stored reward and the discounted soft value ``T log mean exp(return / T)`` of a fresh plan at the next state.

    Args:
        planner: plans from the next states, one plan for every step of the batch.
    """

    def __init__(self, planner: MPPI) -> None:
        self.planner = planner

    def __call__(self, agent: OffPolicyAgent, batch: TensorDictBase) -> Tensor:
        """Make targets ``[horizon, batch]``; see :meth:`OneStep.__call__`. The plans end in the slow values.

        Args:
            agent: with the slow values.
            batch: also with ``next_plan [horizon + 1, batch, plan, action]``, the warm starts at the next states.
        """
        after = batch["encoded"][1:]
        flat = after.flatten(0, 1)
        assert agent.planner is not None
        before = self.planner.model_steps
        options = {"terminal_value": agent.values.slow, "discount": agent.discounts(flat)}
        plan = self.planner.plan(flat, mean=batch["next_plan"][:-1].flatten(0, 1), **options)
        agent.planner.model_steps += self.planner.model_steps - before
        return agent.values.bootstrapped(batch, -plan.soft_value.view(after.shape[:-1]))
