"""The losses of an off-policy agent on a batch of sequences, time first (TD-MPC2, section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torch.nn import functional

from pompc.metrics import term_metrics
from pompc.models.heads import dealt, disagreement, mean_of
from pompc.models.world_model import WorldModel

if TYPE_CHECKING:
    from pompc.offpolicy.agent import OffPolicyAgent


def temporal_mean(terms: Tensor, decay: float) -> Tensor:
    """Average ``terms [time, ...]``; every step into the future weighs less by the factor ``decay``."""
    weights = decay ** torch.arange(len(terms), device=terms.device)
    return (terms.flatten(1).mean(1) * weights).mean()


def world_model_loss(agent: OffPolicyAgent, batch: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum latent consistency, reward, value and termination losses along an open-loop rollout (TD-MPC2, equation 3).

    Args:
        agent: the agent whose model and critic learn.
        batch: the batch of :meth:`OffPolicyAgent.update`. It gains ``encoded``, the encoded observations, and ``state``,
            the states of the rollout, both ``[horizon + 1, batch, state]`` and without gradient.

    Returns:
        The weighted sum, and every loss by name.
    """
    config, model = agent.config, cast(WorldModel, agent.model)
    action, state = batch["action"][:-1], model.encode(batch["observation"][0])
    target = encoded_target(agent, batch, state)
    agent.ranges.note(rewards=batch["reward"][:-1], values=target)
    rolled = [model.roll_out(head, state, action) for head in range(model.dynamics_heads)]
    states = dealt(rolled)  # what follows learns from the states of all heads, each sequence from one
    error = mean_of([(model.latent(each[1:]) - model.latent(batch["encoded"][1:])).square() for each in rolled])
    reward = model.two_hot.cross_entropy(model.reward_logits(states[:-1], action), batch["reward"][:-1].squeeze(-1))
    losses = {"consistency_loss": agent.temporal_mean(error), "reward_loss": agent.temporal_mean(reward)}
    mixed = mixed_value_loss(agent, batch, states[:-1], target, losses)
    total = (
        config.consistency_coef * losses["consistency_loss"]
        + config.reward_coef * losses["reward_loss"]
        + config.value_coef * mixed
    )
    if model.terminates:
        ended = batch["terminated"][:-1].squeeze(-1)
        logits = model.termination_logits(states[1:])
        losses["termination_loss"] = functional.binary_cross_entropy_with_logits(logits, ended)
        total = total + config.termination_coef * losses["termination_loss"]
    if len(rolled) > 1:
        losses["dynamics_disagreement"] = disagreement([model.latent(each[1:]) for each in rolled])
    batch["state"] = states.detach()
    return total, {name: loss.detach() for name, loss in losses.items()}


def known_model_loss(agent: OffPolicyAgent, batch: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
    """Learn the values alone, of the observed states: an explicit model has nothing to learn.

    Arguments and result as of :func:`world_model_loss`; ``batch["state"]`` is ``batch["encoded"]``.
    """
    target = encoded_target(agent, batch, agent.model.encode(batch["observation"][0]))
    agent.ranges.note(values=target)
    losses: dict[str, Tensor] = {}
    total = agent.config.value_coef * mixed_value_loss(agent, batch, batch["encoded"][:-1], target, losses)
    batch["state"] = batch["encoded"]
    return total, {name: loss.detach() for name, loss in losses.items()}


@torch.no_grad()
def encoded_target(agent: OffPolicyAgent, batch: TensorDictBase, first: Tensor) -> Tensor:
    """Encode a batch of sequences and make its value targets.

    Args:
        agent: encodes, and says what the target is.
        batch: gains ``encoded [horizon + 1, batch, state]``.
        first: its encoded first observations ``[batch, state]``.

    Returns:
        Targets ``[horizon, batch]``.
    """
    batch["encoded"] = torch.cat([first.detach().unsqueeze(0), agent.model.encode(batch["observation"][1:])])
    return agent.value_target(batch)


def mixed_value_loss(
    agent: OffPolicyAgent, batch: TensorDictBase, states: Tensor, target: Tensor, losses: dict[str, Tensor]
) -> Tensor:
    """Mix the value losses on real and on virtual targets by rho.

    Args:
        agent: its critic learns.
        batch: with ``encoded``.
        states: of the real targets ``[horizon, batch, state]``.
        target: real targets ``[horizon, batch]``.
        losses: gains ``value_loss``, with virtual data ``virtual_loss``, and with optimism its scale.
    """
    mixed = losses["value_loss"] = value_loss(agent, states, batch["action"][:-1], target)
    if (virtual := agent.virtual_batch(batch)) is not None:
        losses["virtual_loss"] = value_loss(agent, virtual["state"], virtual["action"], virtual["target"])
        mixed = torch.lerp(mixed, losses["virtual_loss"], agent.virtual_ratio.value)
    losses |= agent.optimism.learn(target)
    return mixed


def value_loss(agent: OffPolicyAgent, state: Tensor, action: Tensor, target: Tensor) -> Tensor:
    """Compare all value heads with ``target [time, batch]``: their mean cross-entropy, weighted over time."""
    return agent.temporal_mean(agent.critic.loss(agent.values.inputs(state, action), target).transpose(0, 1))


def policy_loss(agent: OffPolicyAgent, batch: TensorDictBase) -> tuple[Tensor, dict[str, Any]]:
    """Compute ``-w_Q Q / S_Q - entropy + w_KL KL / S_KL``.

    The KL term covers the states that have a plan, the other terms all states of the rollout. S_Q and S_KL are running
    scales of the return and of the divergence. At infinite lambda only the divergence is left.

    Args:
        agent: its policy learns.
        batch: after the loss of the model, with ``state``.

    Returns:
        The loss, and metrics of its terms.
    """
    return_weight, kl_weight = agent.loss_weights()
    states = batch["state"] if return_weight > 0 else batch["state"][:-1]
    sample = agent.policy.sample(states)
    # As published: without the change of variables of tanh.
    entropy = -sample.num_actions * sample.gaussian_log_prob
    gain, metrics = agent.config.entropy_coef * entropy, {"entropy": entropy.detach().mean()}
    terms = {}
    if return_weight > 0:
        value = agent.values.of_action(states, sample.action)
        agent.return_scale.update(value[0])
        scaled = agent.return_scale(value)
        gain, terms["return"] = gain + return_weight * scaled, agent.temporal_mean(scaled)
        metrics["return_scale"] = agent.return_scale.value.clone()
    loss = -agent.temporal_mean(gain)
    if kl_weight > 0:
        divergence = agent.planner_kl(batch, sample)
        terms["kl"] = agent.temporal_mean(agent.imitation(divergence))
        loss = loss + kl_weight * terms["kl"]
        metrics |= {"kl": divergence.detach().mean(), "kl_scale": agent.imitation.scale.value.clone()}
        metrics |= weighed_terms(agent, terms)
    return loss, metrics


def weighed_terms(agent: OffPolicyAgent, terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return metrics of the ``return`` and ``kl`` terms of the policy loss, before lambda weighs them.

    The norms of their gradients are measured in one update per row of metrics.csv, and when lambda follows them.
    """
    per_row = max(round(agent.config.log_every * agent.config.update_to_data), 1)
    measured = agent.updates % per_row == 0 or agent.kl_weight.wants_gradients(agent.updates)
    return term_metrics(terms, agent.policy.parameters(), gradients=measured)
