"""The policy loss of the codes around TD-M(PC)^2: TD-MPC2's in its older form, plus a pull to the stored plans."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from tensordict import TensorDictBase
from torch import Tensor

from pompc.networks.policies import LOG_SQRT_2PI, PolicySample
from pompc.offpolicy.agent import OffPolicyAgent
from pompc.offpolicy.losses import weighed_terms


def summed_log_prob(noise: Tensor, log_std: Tensor, sample: PolicySample) -> Tensor:
    """Compute the released codes' log-density ``[...]``: the constant counts once, and the action size multiplies all.

    Args:
        noise: the draw in units of its standard deviation ``[..., action]``.
        log_std: log standard deviation ``[..., action]``.
        sample: says how many entries the action has.
    """
    return sample.num_actions * (sample.sum_over_actions(-0.5 * noise.square() - log_std) - LOG_SQRT_2PI)


class PulledAgent(OffPolicyAgent):
    """An agent whose policy climbs the value and is pulled to the plans, on the states that have one.

    A subclass defines :meth:`pull`.
    """

    def policy_loss(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, Any]]:
        """Compute ``w_Q (entropy_coef log pi - Q / S_Q) + w_KL pull``; see :meth:`OffPolicyAgent.loss_weights`."""
        return_weight, kl_weight = self.loss_weights()
        states = batch["state"][:-1]
        sample = self.policy.sample(states)
        log_prob = summed_log_prob(sample.noise, sample.log_std, sample) - self.policy.volume_change(sample)
        value = self.values.of_action(states, sample.action)
        self.return_scale.update(value[0])
        scaled = self.return_scale(value)
        loss = self.temporal_mean(self.config.entropy_coef * log_prob - scaled)
        pull, metrics = self.pull(batch, sample, scaled)
        metrics = {
            "entropy": -log_prob.detach().mean(),
            "return_scale": self.return_scale.value.clone(),
            **metrics,
            "kl_scale": self.return_scale.value.clone(),
        }
        terms = {"return": self.temporal_mean(scaled), "kl": pull} if return_weight > 0 else {"kl": pull}
        if kl_weight > 0:
            metrics |= weighed_terms(self, terms)
        return (return_weight * loss if return_weight > 0 else 0.0) + kl_weight * pull, metrics

    @abstractmethod
    def pull(self, batch: TensorDictBase, sample: PolicySample, scaled: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Measure how far the policy is from the plans.

        Args:
            batch: after the loss of the model, with ``state``.
            sample: the policy's draw at the states that have a plan ``[horizon, batch, action]``.
            scaled: the draw's value in units of the running scale ``[horizon, batch]``.

        Returns:
            The pull, which lambda weighs, and its metrics: ``kl`` and others.
        """
