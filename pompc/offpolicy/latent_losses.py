"""The latent family: what its world model, values and policy are trained on (TD-MPC2 and its descendants)."""

from __future__ import annotations

import math
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torch.nn import functional

from pompc.networks.ensembles import disagreement
from pompc.networks.policies import PolicySample
from pompc.offpolicy.latent_actor import LatentActor
from pompc.terms import term_metrics


class LatentLosses(LatentActor):
    """The losses of the latent family on a batch, time first, as :class:`~pompc.offpolicy.latent.LatentMPPIRL` says.

    Args:
        config: options.
        problem: the environment.
    """

    def temporal_mean(self, terms: Tensor) -> Tensor:
        """Mean over ``[time, ...]`` with every step into the future weighted by the temporal decay."""
        weights = self.config.temporal_decay ** torch.arange(len(terms), device=terms.device)
        return (terms.flatten(1).mean(1) * weights).mean()

    def model_loss(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """Latent consistency, reward, value and termination (TD-MPC2, equation 3), along an open-loop rollout."""
        config, model = self.config, self.model
        observation, action = batch["observation"], batch["action"][:-1]
        state = model.encode(observation[0])
        with torch.no_grad():
            batch["encoded"] = torch.cat([state.detach().unsqueeze(0), model.encode(observation[1:])])
            target = self.value_target(batch)
        self.ranges.note(rewards=batch["reward"][:-1], values=target)
        states = [state]
        for now in action:
            states.append(model.next(states[-1], now))
        states = torch.stack(states)
        error = (model.latent(states[1:]) - model.latent(batch["encoded"][1:])).square()
        reward = model.two_hot.cross_entropy(model.reward_logits(states[:-1], action), batch["reward"][:-1].squeeze(-1))
        losses = {"consistency_loss": self.temporal_mean(error), "reward_loss": self.temporal_mean(reward)}
        losses["value_loss"] = self.value_loss(states[:-1], action, target)
        value_loss = losses["value_loss"]
        if (virtual := self.virtual_batch(batch)) is not None:
            losses["virtual_loss"] = self.value_loss(virtual["state"], virtual["action"], virtual["target"])
            value_loss = torch.lerp(value_loss, losses["virtual_loss"], self.virtual_ratio.value)
        total = (
            config.consistency_coef * losses["consistency_loss"]
            + config.reward_coef * losses["reward_loss"]
            + config.value_coef * value_loss
        )
        if model.termination_head is not None:
            ended = batch["terminated"][:-1].squeeze(-1)
            logits = model.termination_logits(states[1:])
            losses["termination_loss"] = functional.binary_cross_entropy_with_logits(logits, ended)
            total = total + config.termination_coef * losses["termination_loss"]
        batch["state"] = states.detach()
        return total, {name: loss.detach() for name, loss in losses.items()}

    def value_loss(self, state: Tensor, action: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of all heads with the targets ``[time, batch]``."""
        return self.temporal_mean(self.critic.loss(self.critic_inputs(state, action), target).transpose(0, 1))

    def loss_weights(self) -> tuple[float, float]:
        """Of the return and of the planner's prior in the policy loss, from lambda: ``(1, lambda)``, or ``(0, 1)``."""
        weight = self.kl_weight.value
        return (0.0, 1.0) if math.isinf(weight) else (1.0, weight)

    def policy_loss(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, Any]]:
        """``-w_Q Q / S_Q - entropy`` on all states of the rollout, ``+ w_KL KL / S_KL`` on those that have a plan.

        The two terms have running scales of their own; with infinite lambda only the second is left.
        """
        return_weight, kl_weight = self.loss_weights()
        states = batch["state"] if return_weight > 0 else batch["state"][:-1]
        sample = self.policy.sample(states)
        entropy = (
            -sample.num_actions * sample.gaussian_log_prob
        )  # as published, without the change of variables of tanh
        gain, metrics = self.config.entropy_coef * entropy, {"entropy": entropy.detach().mean()}
        terms = {}
        if return_weight > 0:
            value = self.policy_value(states, sample.action)
            self.return_scale.update(value[0])
            scaled = self.return_scale(value)
            gain, terms["return"] = gain + return_weight * scaled, self.temporal_mean(scaled)
            metrics["return_scale"] = self.return_scale.value.clone()
        loss = -self.temporal_mean(gain)
        if kl_weight > 0:
            divergence = self.planner_kl(batch, sample)
            self.kl_scale.update(divergence[0])
            terms["kl"] = self.temporal_mean(self.kl_scale(divergence))
            loss = loss + kl_weight * terms["kl"]
            metrics |= {"kl": divergence.detach().mean(), "kl_scale": self.kl_scale.value.clone()}
            metrics |= self.weighed(terms)
        return loss, metrics

    def weighed(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """What lambda weighs, before its weights: the ``return`` and the ``kl`` term of the policy loss, as metrics.

        The norms of their gradients are measured in one update per row of metrics.
        """
        per_row = max(round(self.config.log_every * self.config.update_to_data), 1)
        return term_metrics(terms, self.policy.parameters(), gradients=self.updates % per_row == 0)

    def planner_kl(self, batch: TensorDictBase, sample: PolicySample | None = None) -> Tensor:
        """``KL(policy || stored plan)`` of the states that have one ``[horizon, batch]``, averaged over the action."""
        sample = self.policy.sample(batch["state"]) if sample is None else sample
        return self.policy.divergence(sample[: self.horizon], batch["plan_mean"][:-1], batch["plan_std"][:-1])

    @property
    def dials_move(self) -> bool:
        """Whether one of the dials has a schedule that changes it."""
        return not (self.kl_weight.fixed and self.virtual_ratio.fixed)

    def move_dials(self, batch: TensorDictBase) -> dict[str, Tensor]:
        """Advance both dials' schedules by the disagreement of the value heads, where one of them moves.

        Args:
            batch: after :meth:`model_loss`.

        Returns:
            That ``uncertainty``, as a metric; nothing where both dials are fixed.
        """
        if not self.dials_move:
            return {}
        with torch.no_grad():
            values = self.critic.values(self.critic_inputs(batch["state"][0], batch["action"][0]))
        uncertainty = disagreement(values, batch["reward"][0])
        self.schedule(uncertainty)
        return {"uncertainty": torch.tensor(uncertainty)}
