"""Options of how a policy and values enter a plan, and of how far value targets look ahead."""

from __future__ import annotations

from dataclasses import dataclass

from pompc.config.options import NonNegativeFloat, NonNegativeInt, PositiveInt
from pompc.dials import AgentConfig
from pompc.errors import UserError


@dataclass(frozen=True, kw_only=True)
class LookaheadConfig(AgentConfig):
    """Options of proposals, of the value at the end of a plan, and of value targets; the defaults are TD-MPC2's.

    Attributes:
        optimism: kappa in the planner's value ``log(mean(exp(kappa * value))) / kappa`` over all heads, in units of the
            return's running scale. 0 is the mean of two heads, ``.inf`` the largest value; a negative one is caution. With
            several ``dynamics_heads`` it weighs the returns through them in the same way.
        target_steps: stored steps whose rewards make up a value target, at most those of a training sequence. Null takes
            one step: a stored one for values of actions, one of the model for values of states.
        proposal_noise: factor on the policy's standard deviation in its proposals; 0 proposes the rollout of its mean.
        proposals_after: updates before the policy proposes to the planner, which starts from its own last plan until then.
    """

    optimism: float = 0.0
    target_steps: PositiveInt | None = None
    proposal_noise: NonNegativeFloat = 1.0
    proposals_after: NonNegativeInt = 0

    def check_lookahead(self, *, heads: int, sequence: int, proposals: int) -> None:
        """Refuse options that would have no effect.

        Args:
            heads: heads of the values, or of the dynamics if these are more.
            sequence: transitions of a training sequence.
            proposals: policy rollouts per plan.

        Raises:
            UserError: there is one head to be optimistic about, sequences are shorter than the steps of a target, or
                all proposals would be the same.
        """
        if self.optimism:
            self.require_heads(heads, "algo.optimism, which weighs value heads against each other,")
        if self.target_steps is not None and self.target_steps > sequence:
            raise UserError(
                f"algo.target_steps={self.target_steps} is more than the {sequence} steps of a training sequence: set "
                f"algo.sequence to at least {self.target_steps}"
            )
        if self.proposals_after and proposals == 0:
            raise UserError("algo.proposals_after has no effect with algo.num_proposals=0")
        if self.proposal_noise == 0 and proposals > 1:
            raise UserError(
                f"algo.num_proposals={proposals} rollouts of the policy's mean are all the same: set algo.num_proposals=1, "
                "or algo.proposal_noise above 0"
            )
