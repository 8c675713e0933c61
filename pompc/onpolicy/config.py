"""Options of on-policy learning."""

from __future__ import annotations

from dataclasses import dataclass

from pompc.config.options import Finite, PositiveFloat, PositiveInt, PositiveShare
from pompc.dials import AgentConfig


@dataclass(frozen=True, kw_only=True)
class OnPolicyConfig(AgentConfig):
    """Options of :class:`~pompc.onpolicy.agent.OnPolicyAgent` (Schulman et al. 2017).

    The defaults differ from the common ones (2048 steps, minibatches of 256, 3e-4, 0.99, 0.95). On the racing task a
    mistake is rare and shows after seconds, and these defaults make ``ppo`` much better too.

    Attributes:
        batch_size: environment steps per update (``N_upd``), over all environments. Repeated actions count, as in
            ``steps``: equally long runs make equally many updates in every environment.
        epochs: passes over a batch.
        minibatch_size: transitions per gradient step.
        learning_rate: of Adam at the start, for actor and values.
        learning_rate_decay: factor on the learning rate per update. It does not depend on the run's length: a longer run
            continues a shorter one.
        learning_rate_floor: smallest share of ``learning_rate`` that the decay leaves.
        discount: gamma per agent step.
        gae_lambda: lambda of the generalised advantage estimate.
        clip_epsilon: largest change of the probability ratio that the policy gains from.
        entropy_coef: weight of the entropy bonus.
        max_grad_norm: largest gradient norm, of actor and values separately.
        hidden_sizes: widths of the hidden layers.
        initial_std: standard deviation of the policy at the start.
        normalise_observation: standardise observations with running moments.
        normalise_reward: scale rewards by the running standard deviation of returns.
        ensemble_size: value functions ``D``.
        bootstrap: probability that a member of the ensemble sees a transition.
    """

    section = "algo"

    batch_size: PositiveInt = 8192
    epochs: PositiveInt = 10
    minibatch_size: PositiveInt = 1024
    learning_rate: PositiveFloat = 7e-4
    learning_rate_decay: PositiveShare = 0.97
    learning_rate_floor: PositiveShare = 0.15
    discount: PositiveShare = 0.998
    gae_lambda: PositiveShare = 0.97
    clip_epsilon: PositiveShare = 0.2
    entropy_coef: Finite = 0.0
    max_grad_norm: PositiveFloat = 0.5
    hidden_sizes: tuple[PositiveInt, ...] = (64, 64)
    initial_std: PositiveFloat = 0.6
    normalise_observation: bool = True
    normalise_reward: bool = True
    ensemble_size: PositiveInt = 1
    bootstrap: PositiveShare = 1.0

    def learning_rate_at(self, update: int) -> float:
        """Compute the learning rate of an update, counted from 0: ``learning_rate * max(decay^update, floor)``."""
        return self.learning_rate * max(self.learning_rate_decay**update, self.learning_rate_floor)
