"""TD-MPC2 written plainly: eager, every layer one product, nothing saved. Latent agents are timed beside it.

It computes what :class:`pompc.offpolicy.agent.OffPolicyAgent` does at its defaults, with torch's own layers: every
iteration rolls all samples out from the first latent, and all value heads are evaluated before two are read. So does the
released code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from pompc.networks.layers import EnsembleMLP, NormedLinear, SimNorm
from pompc.networks.scale import RunningScale
from pompc.networks.twohot import symexp, symlog

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Softmax(nn.Module):
    """A softmax in every group of ``group`` entries."""

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[..., n]``."""
        return functional.softmax(x.view(*x.shape[:-1], -1, self.group), dim=-1).view(x.shape)


class Heads(nn.Module):
    """An ensemble of networks of one shape, evaluated by ``torch.vmap`` over their stacked parameters.

    Args:
        heads: the ensemble whose weights are copied.
    """

    def __init__(self, heads: EnsembleMLP) -> None:
        super().__init__()
        self._stacked: dict[str, Tensor] = {}
        layers: list[nn.Module] = []
        for linear, norm in zip(heads.linears, [*heads.norms, None], strict=True):
            _, out, into = dict(linear.named_parameters())["weight"].shape
            self._stack(layers, nn.Linear(into, out, device="meta"), linear)
            if norm is not None:
                layers += [nn.Dropout(heads.dropout)] if heads.dropout and len(layers) == 1 else []
                self._stack(layers, nn.LayerNorm(out, device="meta"), norm)
                layers.append(nn.Mish())
        self._network = [nn.Sequential(*layers)]  # a list hides it: its parameters are placeholders

    def _stack(self, layers: list[nn.Module], placeholder: nn.Module, layer: nn.Module) -> None:
        """Add a placeholder, and the parameters of all members that take its place."""
        for name, value in layer.named_parameters():
            stacked = nn.Parameter(value.detach().clone())
            self._stacked[f"{len(layers)}.{name}"] = stacked
            self.register_parameter(f"{name}_{len(layers)}", stacked)
        layers.append(placeholder)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., in]`` to ``[member, ..., out]``."""
        network = self._network[0].train(self.training)
        return torch.vmap(lambda own: functional_call(network, own, x), randomness="different")(self._stacked)


class PlainTDMPC2:
    """Plan and update with copies of an agent's weights, one environment and one task.

    Args:
        agent: an off-policy agent at the defaults of TD-MPC2, with a learned model of flat observations.
    """

    def __init__(self, agent: Any) -> None:
        self.config, self.discount, self.action_dim = agent.config, agent.discount, agent.problem.action_dim
        model = agent.model
        self.encoder, self.dynamics = _layers(model.encoder.net), _layers(model.dynamics)
        self.reward, self.policy = _layers(model.reward_head), _layers(agent.policy.net)
        self.heads, self.bins = Heads(agent.critic.heads), model.two_hot.bins
        self.slow = deepcopy(self.heads).requires_grad_(False).eval()
        self.scale = RunningScale(self.config.scale_rate)
        rate = self.config.learning_rate
        others = [p for part in (self.dynamics, self.reward, self.heads) for p in part.parameters()]
        slowly = {"params": [*self.encoder.parameters()], "lr": rate * self.config.encoder_lr_scale}
        self.optimizer = torch.optim.Adam([slowly, {"params": others}], lr=rate)
        self.policy_optimizer = torch.optim.Adam(self.policy.parameters(), lr=rate, eps=1e-5)

    # -- networks ----------------------------------------------------------------------------------------------------

    def draw(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Draw an action in ``state [..., latent]``: the action ``[..., action]`` and its entropy ``[...]``."""
        mean, log_std = self.policy(state).chunk(2, dim=-1)
        low, high = self.config.log_std_min, self.config.log_std_max
        log_std = low + 0.5 * (high - low) * (torch.tanh(log_std) + 1)
        noise = torch.randn_like(mean)
        log_prob = (-0.5 * noise.pow(2) - log_std - HALF_LOG_2PI).sum(-1)
        return torch.tanh(mean + noise * log_std.exp()), -self.action_dim * log_prob

    def number(self, logits: Tensor) -> Tensor:
        """Convert logits ``[..., bin]`` to a number ``[...]``."""
        return symexp((functional.softmax(logits, dim=-1) * self.bins).sum(-1))

    def two_values(self, heads: Heads, state: Tensor, action: Tensor) -> Tensor:
        """Value a state and an action by all heads, and return two of them ``[2, ...]``."""
        logits = heads(torch.cat([state, action], dim=-1))
        return self.number(logits[torch.randperm(len(logits))[:2]])

    # -- planning ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def plan(self, observation: Tensor) -> Tensor:
        """Plan from ``observation [1, observation]``; return the mean first action ``[action]``."""
        options = self.config.planner
        horizon, samples, count = options.horizon, options.num_samples, self.config.num_proposals
        state = self.encoder(observation)
        actions = torch.empty(horizon, samples, self.action_dim)
        actions[:, :count] = self.proposals(state.repeat(count, 1), horizon)
        state = state.repeat(samples, 1)
        mean = torch.zeros(horizon, 1, self.action_dim)
        std = torch.full_like(mean, options.max_std)
        for _ in range(options.num_iterations):
            noise = torch.randn(horizon, samples - count, self.action_dim)
            actions[:, count:] = (mean + std * noise).clamp(-1, 1)
            value = self.value(state, actions)
            best = value.topk(options.num_elites)
            elite = actions[:, best.indices]
            score = ((best.values - best.values.max()) / options.temperature).exp().view(1, -1, 1)
            score = score / score.sum()
            mean = (score * elite).sum(1, keepdim=True)
            std = (score * (elite - mean).square()).sum(1, keepdim=True).sqrt().clamp(options.min_std, options.max_std)
        return mean[0, 0]

    def proposals(self, state: Tensor, horizon: int) -> Tensor:
        """Roll the policy out from ``state [proposal, latent]``: ``[horizon, proposal, action]``."""
        actions = [self.draw(state)[0]]
        while len(actions) < horizon:
            state = self.dynamics(torch.cat([state, actions[-1]], dim=-1))
            actions.append(self.draw(state)[0])
        return torch.stack(actions)

    def value(self, state: Tensor, actions: Tensor) -> Tensor:
        """Value ``actions [horizon, sample, action]`` from ``state [sample, latent]``: ``[sample]``."""
        total, factor = torch.zeros(len(state)), 1.0
        for action in actions:
            joined = torch.cat([state, action], dim=-1)
            total = total + factor * self.number(self.reward(joined))
            state = self.dynamics(torch.cat([state, action], dim=-1))
            factor *= self.discount
        action, _ = self.draw(state)
        return total + factor * self.two_values(self.heads, state, action).mean(0)

    # -- learning ----------------------------------------------------------------------------------------------------

    def update(self, batch: TensorDictBase) -> dict[str, Tensor]:
        """Update everything once on ``batch [horizon + 1, batch]``; return the losses."""
        observation, action, reward = batch["observation"], batch["action"][:-1], batch["reward"][:-1].squeeze(-1)
        with torch.no_grad():
            encoded = self.encoder(observation[1:])
            after = self.two_values(self.slow, encoded, self.draw(encoded)[0]).amin(0)
            target = reward + self.discount * after
        self.heads.train()
        states = [self.encoder(observation[0])]
        for now in action:
            states.append(self.dynamics(torch.cat([states[-1], now], dim=-1)))
        rolled = torch.stack(states)
        consistency = self.mean((rolled[1:] - encoded).square())
        reward_logits = self.reward(torch.cat([rolled[:-1], action], dim=-1))
        reward_loss = self.mean(self.cross_entropy(reward_logits, reward))
        logits = self.heads(torch.cat([rolled[:-1], action], dim=-1))
        value_loss = torch.stack([self.mean(self.cross_entropy(own, target)) for own in logits]).mean()
        config = self.config
        total = (
            config.consistency_coef * consistency + config.reward_coef * reward_loss + config.value_coef * value_loss
        )
        self._step(self.optimizer, total)
        policy_loss = self.policy_loss(rolled.detach())
        self._step(self.policy_optimizer, policy_loss)
        with torch.no_grad():
            for slow, fast in zip(self.slow.parameters(), self.heads.parameters(), strict=True):
                slow.lerp_(fast, config.target_rate)
        self.heads.eval()
        found = {"consistency_loss": consistency, "reward_loss": reward_loss, "value_loss": value_loss}
        return {name: value.detach() for name, value in {**found, "policy_loss": policy_loss}.items()}

    def policy_loss(self, states: Tensor) -> Tensor:
        """Compute the loss of the policy in ``states [horizon + 1, batch, latent]``; values get no gradient."""
        action, entropy = self.draw(states)
        with _frozen(self.heads):
            value = self.two_values(self.heads, states, action).mean(0)
        self.scale.update(value[0])
        return -self.mean(self.config.entropy_coef * entropy + self.scale(value))

    def mean(self, terms: Tensor) -> Tensor:
        """Average ``terms [time, ...]``; every step into the future weighs less."""
        weights = self.config.temporal_decay ** torch.arange(len(terms))
        return (terms.flatten(1).mean(1) * weights).mean()

    def cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compare logits ``[..., bin]`` with the two-hot encoding of ``target [...]``: ``[...]``."""
        low, high = self.config.bin_low, self.config.bin_high
        position = (symlog(target).clamp(low, high) - low) / (self.bins[1] - self.bins[0])
        below = position.floor().clamp_max(len(self.bins) - 2)
        above = (position - below).unsqueeze(-1)
        index = below.long().unsqueeze(-1)
        encoded = torch.zeros_like(logits).scatter(-1, index, 1 - above).scatter(-1, index + 1, above)
        return -(encoded * functional.log_softmax(logits, dim=-1)).sum(-1)

    def _step(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        """Take one clipped gradient step."""
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm)
        optimizer.step()


def _layers(net: Iterable[nn.Module]) -> nn.Sequential:
    """Copy a network of normalised layers into layers of torch."""
    layers: list[nn.Module] = []
    for part in net:
        if isinstance(part, NormedLinear):
            last = part.activation
            layers += [deepcopy(part.linear), deepcopy(part.norm)]
            layers.append(Softmax(last.group) if isinstance(last, SimNorm) else nn.Mish())
        else:
            layers.append(deepcopy(part))
    return nn.Sequential(*layers)


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Compute no gradients for the parameters of a module in the block."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
