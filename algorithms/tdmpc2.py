"""TD-MPC2 (Hansen, Su, Wang, ICLR 2024, arXiv 2310.16828): the point lambda = 0, rho = 0, off policy.

The policy maximises the value and ignores the planner, which in turn takes the policy's rollouts among its samples and
the value at the end of its horizon. Everything is the shared base, :class:`pompc.offpolicy.agent.OffPolicyAgent`, at its
defaults: a world model trained by consistency, reward and value losses, five value heads of which two are read, targets
from the lesser of two, a squashed Gaussian policy. docs/tdmpc2.md has the equations and the deviations.
"""

from __future__ import annotations

from dataclasses import dataclass

from pompc.offpolicy.agent import OffPolicyAgent
from pompc.offpolicy.config import OffPolicyConfig


@dataclass(frozen=True, kw_only=True)
class TDMPC2Config(OffPolicyConfig):
    """The published hyperparameters are the defaults of :class:`OffPolicyConfig`."""


class TDMPC2(OffPolicyAgent):
    """TD-MPC2; with ``kl_weight`` or ``virtual_ratio`` above zero its neighbours in the plane of the two dials.

    Args:
        config: options.
        problem: the environment.
    """

    Config = TDMPC2Config
