"""GEM-MPC (the authors of PO-MPC, arXiv 2609.21735): planner clone and regularised policy both propose to the planner.

PO-MPC with a learned prior. The prior clones the planner and seeds it too, beside the policy that the prior regularises.
It learns from a stored plan only if the plan beats what the prior would do (gated prior distillation). Written from the
abstract alone: docs/gem_mpc.md says which choices are this project's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.networks.policies import LatentPolicy
from pompc.offpolicy.agent import OffPolicyAgent
from pompc.offpolicy.priors import Divergence, LearnedPrior
from pompc.offpolicy.proposals import PolicyRollouts
from pompc.problem import Problem
from pompc.system.waiting import may_hold

from .pompc import POMPC, POMPCConfig


@dataclass(frozen=True, kw_only=True)
class GEMMPCConfig(POMPCConfig):
    """Options of :class:`GEMMPC`: those of PO-MPC, and the gate of its prior.

    Attributes:
        gate_margin: the prior learns from a plan whose value is above that of the prior's own action by more than this, in
            units of the returns' running scale; ``-.inf`` learns from all plans, ``.inf`` from none.
        prior: the prior that clones the planner, fitted by ``forward`` or ``reverse`` KL.
    """

    gate_margin: float = 0.0
    prior: Literal["forward", "reverse"] = "forward"


class GatedPrior(LearnedPrior):
    """A learned prior that follows only plans that are better than its own action.

    Args:
        network: see :class:`LearnedPrior`.
        kl: see :class:`LearnedPrior`.
        margin: see :class:`GEMMPCConfig`.
    """

    def __init__(self, network: LatentPolicy, kl: Divergence, margin: float) -> None:
        super().__init__(network, kl)
        self.margin = margin

    @torch.no_grad()
    def gate(self, agent: OffPolicyAgent, batch: TensorDictBase) -> Tensor:
        """Say which plans beat the prior's mean action, by two slow heads: 0 or 1 ``[horizon, batch]``."""
        state, critic = batch["state"][:-1], agent.critic
        own = self.network.action(self.network(state)[0])
        chosen = critic.draw()
        values = [
            critic.target_values(agent.values.inputs(state, action), chosen).mean(0)
            for action in (batch["plan_mean"][:-1], own)
        ]
        return (agent.return_scale(values[0] - values[1]) > self.margin).float()

    def learn(self, agent: OffPolicyAgent, batch: TensorDictBase) -> dict[str, Tensor]:
        """Take one gradient step towards the plans that pass the gate; none if no plan does."""
        gate = self.gate(agent, batch)
        share = gate.mean()
        metrics = {"gate_open": share}
        if not may_hold(gate > 0):
            return metrics
        loss = agent.temporal_mean(gate * self.distance(batch)) / share
        agent.optimizer_step("prior", loss, batch)
        return {**metrics, "prior_loss": torch.where(share > 0, loss.detach(), 0.0)}


class BothPropose(PolicyRollouts):
    """Rollouts of the prior, half of them, and of the policy."""

    def __call__(
        self, agent: OffPolicyAgent, state: Tensor, log_std_range: tuple[float, float] | None = None
    ) -> Tensor | None:
        """See :meth:`PolicyRollouts.__call__`; the prior's rollouts come first."""
        if self.count == 0 or agent.updates < self.after:
            return None
        assert isinstance(agent.prior, GatedPrior)
        half = self.count // 2
        parts = ((agent.prior.network, half), (agent.policy, self.count - half))
        return torch.cat([self.rollouts(agent, policy, state, n, log_std_range) for policy, n in parts if n], dim=2)


class GEMMPC(POMPC):
    """GEM-MPC.

    Args:
        config: options.
        problem: the environment.
    """

    Config = GEMMPCConfig

    def __init__(self, config: GEMMPCConfig, problem: Problem) -> None:
        super().__init__(config, problem)
        self.proposer = BothPropose(config.num_proposals, config.proposal_noise, config.proposals_after)

    def make_prior(self, network: LatentPolicy, kl: Divergence) -> LearnedPrior:
        """Gate the learning of the prior. See :meth:`POMPC.make_prior`."""
        return GatedPrior(network, kl, self.config.gate_margin)
