"""Options of the networks in which the published codes differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pompc.config.options import PositiveInt
from pompc.dials import AgentConfig
from pompc.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ArchitectureConfig(AgentConfig):
    """Options of the world model's layers and of the value that a policy climbs; the defaults are TD-MPC2's.

    Attributes:
        simnorm: normalise latent states to simplices (SimNorm); null follows the algorithm's rule for the size of the
            action, which is to do so, unless the algorithm's page says otherwise.
        simnorm_group: entries per simplex of the latent state.
        reward_layers: hidden layers of the reward head.
        reward_init: the reward head's last weights at the start.
        dynamics_heads: heads of the latent dynamics, which start from other weights and learn from the same data. A plan
            rolls every sample out through each and takes the mean of the returns, or what ``optimism`` makes of them.
        policy_value: the value that the policy maximises, of two heads that are drawn in every call.
    """

    simnorm_follows_action: ClassVar[bool] = False
    """Whether a ``simnorm`` of null depends on the size of the action."""

    simnorm: bool | None = None
    simnorm_group: PositiveInt = 8
    reward_layers: PositiveInt = 2
    reward_init: Literal["zeros", "orthogonal"] = "zeros"
    dynamics_heads: PositiveInt = 1
    policy_value: Literal["mean", "least"] = "mean"

    def simnorm_for(self, action_dim: int) -> bool:
        """Decide whether latent states are normalised, for an action of ``action_dim`` entries: as given, or always."""
        return self.simnorm is not False

    def check_simplices(self, latent_dim: int) -> None:
        """Refuse latent states that cannot be split into groups.

        Args:
            latent_dim: size of the latent state.

        Raises:
            UserError: it is no multiple of the group.
        """
        if latent_dim % self.simnorm_group:
            raise UserError(f"algo.latent_dim={latent_dim} is no multiple of simnorm_group={self.simnorm_group}")

    def check_dynamics(self, model: str) -> None:
        """Refuse heads of dynamics that nothing learns.

        Args:
            model: the kind of model.

        Raises:
            UserError: there are several heads, and the model is explicit.
        """
        if self.dynamics_heads > 1 and model != "learned":
            raise UserError(
                f"algo.dynamics_heads={self.dynamics_heads} are heads of learned dynamics, and algo.model={model} is "
                "explicit: take algo.model=learned, or one head"
            )
