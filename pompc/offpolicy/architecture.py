"""Options of the networks in which the published codes differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pompc.config.options import PositiveInt
from pompc.dials import AgentConfig


@dataclass(frozen=True, kw_only=True)
class ArchitectureConfig(AgentConfig):
    """Options of the world model's layers and of the value that a policy climbs; the defaults are TD-MPC2's.

    Attributes:
        simnorm: normalise latent states to simplices (SimNorm); null follows the algorithm's rule for the size of the
            action, which is to do so, unless the algorithm's page says otherwise.
        simnorm_group: entries per simplex of the latent state.
        reward_layers: hidden layers of the reward head.
        reward_init: the reward head's last weights at the start.
        policy_value: the value that the policy maximises, of two heads that are drawn in every call.
    """

    simnorm: bool | None = None
    simnorm_group: PositiveInt = 8
    reward_layers: PositiveInt = 2
    reward_init: Literal["zeros", "orthogonal"] = "zeros"
    policy_value: Literal["mean", "least"] = "mean"

    def simnorm_for(self, action_dim: int) -> bool:
        """Decide whether latent states are normalised, for an action of ``action_dim`` entries: as given, or always."""
        return self.simnorm is not False
