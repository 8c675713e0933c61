"""Options shared by the algorithms that use PPO."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pompc.dials import AgentConfig
from pompc.errors import UserError


@dataclass(frozen=True, kw_only=True)
class OnPolicyConfig(AgentConfig):
    """Options of :class:`OnPolicy` (Schulman et al. 2017).

    The defaults differ from the common ones (2048 steps, minibatches of 256, 3e-4, 0.99, 0.95): on the racing task, where
    a mistake shows after seconds and is rare, ``ppo`` too does much better with these.

    Attributes:
        batch_size: environment steps per update (``N_upd``) over all environments. Repeated actions count, as in ``steps``,
            so that a run of as many steps makes as many updates in every environment.
        epochs: passes over a batch.
        minibatch: rows per gradient step.
        learning_rate: of Adam, actor and values, at the start.
        learning_rate_decay: its factor per update. It depends on no total, so that a longer run continues a shorter one.
        learning_rate_floor: smallest share of ``learning_rate`` that the decay leaves, so that a longer run still learns.
        discount: gamma per agent step.
        gae_lambda: of the generalised advantage estimate.
        clip: of the probability ratio.
        entropy_coef: weight of the entropy bonus.
        max_grad_norm: gradient clipping, actor and values separately.
        hidden: widths of the hidden layers.
        initial_std: spread of the policy at the start.
        normalise_observation: standardise observations with running moments.
        normalise_reward: scale rewards by the running spread of returns.
        ensemble_size: value functions ``D``.
        bootstrap: probability that a row is shown to a member of the ensemble.
    """

    batch_size: int = 8192
    epochs: int = 10
    minibatch: int = 1024
    learning_rate: float = 7e-4
    learning_rate_decay: float = 0.97
    learning_rate_floor: float = 0.15
    discount: float = 0.998
    gae_lambda: float = 0.97
    clip: float = 0.2
    entropy_coef: float = 0.0
    max_grad_norm: float = 0.5
    hidden: tuple[int, ...] = (64, 64)
    initial_std: float = 0.6
    normalise_observation: bool = True
    normalise_reward: bool = True
    ensemble_size: int = 1
    bootstrap: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (
            "batch_size",
            "epochs",
            "minibatch",
            "learning_rate",
            "max_grad_norm",
            "initial_std",
            "ensemble_size",
        ):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"algo.{name} must be positive, not {getattr(self, name)}")
        if not all(width > 0 for width in self.hidden):
            raise UserError(f"algo.hidden must be positive widths, not {list(self.hidden)}")
        if not math.isfinite(self.entropy_coef):
            raise UserError(f"algo.entropy_coef must be a finite number, not {self.entropy_coef}")
        for name in ("discount", "gae_lambda", "learning_rate_decay", "learning_rate_floor", "bootstrap", "clip"):
            if not 0 < getattr(self, name) <= 1:
                raise UserError(f"algo.{name} must be in (0, 1], not {getattr(self, name)}")

    def learning_rate_at(self, update: int) -> float:
        """The learning rate of an update, counted from 0: ``learning_rate * max(decay^update, floor)``."""
        return self.learning_rate * max(self.learning_rate_decay**update, self.learning_rate_floor)
