"""Options shared by the algorithms that use PPO."""

from __future__ import annotations

from dataclasses import dataclass

from pompc.config.options import Finite, Options, PositiveFloat, PositiveInt, PositiveShare


@dataclass(frozen=True, kw_only=True)
class OnPolicyConfig(Options):
    """Options of :class:`OnPolicy` (Schulman et al. 2017).

    The defaults differ from the common ones (2048 steps, minibatches of 256, 3e-4, 0.99, 0.95): on the racing task, where
    a mistake shows after seconds and is rare, ``ppo`` too does much better with these.

    Attributes:
        batch_size: environment steps per update (``N_upd``), over all environments. Repeated actions count, as in
            ``steps``.
        epochs: passes over a batch.
        minibatch: transitions per gradient step.
        learning_rate: of Adam at the start, for actor and values.
        learning_rate_decay: factor on the learning rate per update. It depends on no total, so that a longer run continues
            a shorter one.
        learning_rate_floor: smallest share of ``learning_rate`` that the decay leaves, so that a longer run still learns.
        discount: gamma per agent step.
        gae_lambda: decay of the generalised advantage estimate.
        clip: largest change of the probability ratio.
        entropy_coef: weight of the entropy bonus.
        max_grad_norm: largest gradient norm, of actor and values separately.
        hidden: widths of the hidden layers.
        initial_std: standard deviation of the policy at the start.
        normalise_observation: standardise observations with running moments.
        normalise_reward: scale rewards by the running standard deviation of returns.
        ensemble_size: value functions ``D``.
        bootstrap: probability that a member of the ensemble sees a transition.
    """

    section = "algo"

    batch_size: PositiveInt = 8192
    epochs: PositiveInt = 10
    minibatch: PositiveInt = 1024
    learning_rate: PositiveFloat = 7e-4
    learning_rate_decay: PositiveShare = 0.97
    learning_rate_floor: PositiveShare = 0.15
    discount: PositiveShare = 0.998
    gae_lambda: PositiveShare = 0.97
    clip: PositiveShare = 0.2
    entropy_coef: Finite = 0.0
    max_grad_norm: PositiveFloat = 0.5
    hidden: tuple[PositiveInt, ...] = (64, 64)
    initial_std: PositiveFloat = 0.6
    normalise_observation: bool = True
    normalise_reward: bool = True
    ensemble_size: PositiveInt = 1
    bootstrap: PositiveShare = 1.0

    def learning_rate_at(self, update: int) -> float:
        """The learning rate of an update, counted from 0: ``learning_rate * max(decay^update, floor)``."""
        return self.learning_rate * max(self.learning_rate_decay**update, self.learning_rate_floor)
