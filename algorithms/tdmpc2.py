"""TD-MPC2 (Hansen, Su, Wang, ICLR 2024, arXiv 2310.16828): the point lambda = 0, rho = 0, off policy.

The policy maximises the value and ignores the planner. The planner takes the policy's rollouts among its samples, and the
value at the end of its horizon. The algorithm is :class:`pompc.offpolicy.agent.OffPolicyAgent` with its defaults: a world
model with consistency, reward and value losses, five value heads, targets from the lesser of two, and a squashed Gaussian
policy. docs/tdmpc2.md has the equations and the deviations.
"""

from __future__ import annotations

from dataclasses import dataclass

from pompc.offpolicy.agent import OffPolicyAgent
from pompc.offpolicy.config import OffPolicyConfig


@dataclass(frozen=True, kw_only=True)
class TDMPC2Config(OffPolicyConfig):
    """Options of :class:`TDMPC2`: those of off-policy learning, whose defaults are the published ones."""


class TDMPC2(OffPolicyAgent):
    """TD-MPC2; ``kl_weight`` and ``virtual_ratio`` above zero lead to its neighbours in the plane of the two dials.

    Args:
        config: options.
        problem: the environment.
    """

    Config = TDMPC2Config
