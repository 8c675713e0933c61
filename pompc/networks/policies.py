"""Gaussian policies over latent states: squashed through tanh, or with a bounded mean and clamped actions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pompc.models.world_model import TaskEmbedding
from pompc.networks.layers import initialise, mlp

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
OPEN = 1e-3  # tanh reaches +-1 nowhere: actions to be imitated are moved inside by this


def gaussian_kl(mean: Tensor, std: Tensor, other_mean: Tensor, other_std: Tensor) -> Tensor:
    """``KL(N(mean, std) || N(other_mean, other_std))`` of every action entry ``[..., action]``, not summed."""
    ratio = (std / other_std).square()
    return 0.5 * (ratio - 1 - ratio.log() + ((mean - other_mean) / other_std).square())


@dataclass(frozen=True)
class PolicySample:
    """A reparameterised draw of a policy.

    Attributes:
        action: ``[..., action]`` in [-1, 1].
        mean: of the Gaussian behind it ``[..., action]``, before squashing where the policy squashes.
        log_std: of that Gaussian ``[..., action]``.
        noise: standard normal ``[..., action]``.
        mask: 1 for the actions the task has ``[..., action]``; none where all are there.
    """

    action: Tensor
    mean: Tensor
    log_std: Tensor
    noise: Tensor
    mask: Tensor | None = None

    def __getitem__(self, index: slice) -> PolicySample:
        """Some rows of the sample."""
        mask = None if self.mask is None else self.mask[index]
        return PolicySample(self.action[index], self.mean[index], self.log_std[index], self.noise[index], mask)

    @property
    def num_actions(self) -> Tensor | int:
        """Entries of the action that the task has: a number, or ``[...]``."""
        return self.action.shape[-1] if self.mask is None else self.mask.sum(-1)

    @property
    def gaussian_log_prob(self) -> Tensor:
        """Log-density ``[...]`` of the draw before squashing or clamping."""
        return self.sum_over_actions(-0.5 * self.noise.square() - self.log_std - LOG_SQRT_2PI)

    def gaussian_kl(self, mean: Tensor, log_std: Tensor) -> Tensor:
        """KL of this sample's Gaussian to another of the same policy class, averaged over the action: ``[...]``.

        Squashing or clamping both alike does not change it (squashing) or only lowers it (clamping).
        """
        terms = gaussian_kl(self.mean, self.log_std.exp(), mean, log_std.exp())
        return self.mean_over_actions(terms)

    def mean_over_actions(self, terms: Tensor) -> Tensor:
        """``[..., action]`` -> ``[...]``, over the entries that the task has."""
        return self.sum_over_actions(terms) / self.num_actions

    def sum_over_actions(self, terms: Tensor) -> Tensor:
        """``[..., action]`` -> ``[...]``, over the entries that the task has."""
        return (terms if self.mask is None else terms * self.mask).sum(-1)


class LatentPolicy(nn.Module, ABC):
    """A network from states to the mean and the spread of a Gaussian (TD-MPC2, section 3.1).

    Args:
        input_dim: size of a state as the networks see it.
        hidden: width of the two hidden layers.
        action_dim: size of an action.
        log_std_min: lower end of the log-spread.
        log_std_max: upper end.
        tasks: the tasks, where there are several.
        inputs: gives what the network sees of a state, ``[..., state] -> [..., input]``. By default that is the state, and
            with several tasks the latent and the vector of its task.
    """

    def __init__(
        self,
        input_dim: int,
        hidden: int,
        action_dim: int,
        *,
        log_std_min: float,
        log_std_max: float,
        tasks: TaskEmbedding | None = None,
        inputs: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.net = mlp([input_dim, hidden, hidden, 2 * action_dim])
        self.log_std_range = (log_std_min, log_std_max)
        self._tasks = [tasks]  # in a list: its parameters belong to the world model
        self._inputs = [inputs or tasks or nn.Identity()]
        initialise(self.net)

    def forward(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """``[..., state]`` -> mean (see :meth:`mean_of`) and log-spread ``[..., action]``."""
        raw, squeezed = self.net(self._inputs[0](state)).chunk(2, dim=-1)
        low, high = self.log_std_range
        log_std = low + 0.5 * (high - low) * (torch.tanh(squeezed) + 1)
        mask = self._mask(state)
        return (self.mean_of(raw), log_std) if mask is None else (self.mean_of(raw) * mask, log_std * mask)

    def sample(self, state: Tensor, log_std_range: tuple[float, float] | None = None) -> PolicySample:
        """A reparameterised draw at ``state [..., state]``.

        Args:
            state: where.
            log_std_range: draw with the log-spread mapped to this range instead (BMPC explores so when it reanalyses).
        """
        mean, log_std = self(state)
        mask = self._mask(state)
        if log_std_range is not None:
            (low, high), (new_low, new_high) = self.log_std_range, log_std_range
            log_std = new_low + (log_std - low) * (new_high - new_low) / (high - low)
        noise = torch.randn_like(mean)
        noise = noise if mask is None else noise * mask
        return PolicySample(self.action(mean + noise * log_std.exp()), mean, log_std, noise, mask)

    def _mask(self, state: Tensor) -> Tensor | None:
        tasks = self._tasks[0]
        return None if tasks is None else tasks.action_masks[tasks.index(state)]

    @abstractmethod
    def mean_of(self, raw: Tensor) -> Tensor:
        """The Gaussian's mean from the network's output ``[..., action]``."""

    @abstractmethod
    def action(self, x: Tensor) -> Tensor:
        """A draw of the Gaussian ``[..., action]`` as an action in [-1, 1]."""

    @abstractmethod
    def volume_change(self, sample: PolicySample) -> Tensor:
        """Log of the volume change ``[...]`` from the Gaussian's draw to the action."""

    @abstractmethod
    def log_prob(self, sample: PolicySample) -> Tensor:
        """Log-density of a sample's action ``[...]``."""

    @abstractmethod
    def divergence(self, sample: PolicySample, mean: Tensor, std: Tensor) -> Tensor:
        """``KL(policy || N(mean, std))`` in the space of actions, averaged over the entries: ``[...]``.

        Args:
            sample: a draw of the policy.
            mean: of the other Gaussian ``[..., action]``.
            std: its spread ``[..., action]``.
        """

    @abstractmethod
    def imitation(self, state: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """``KL(N(mean, std) || policy)`` up to a constant, averaged over the entries: ``[...]``.

        Args:
            state: ``[..., state]``.
            mean: of the Gaussian to imitate ``[..., action]``.
            std: its spread ``[..., action]``.
        """


class SquashedGaussian(LatentPolicy):
    """``tanh`` of a Gaussian draw (Haarnoja et al. 2018; TD-MPC2). Its KL to a Gaussian is estimated from one draw."""

    def mean_of(self, raw: Tensor) -> Tensor:
        """The network's output itself."""
        return raw

    def action(self, x: Tensor) -> Tensor:
        """``tanh``."""
        return torch.tanh(x)

    def volume_change(self, sample: PolicySample) -> Tensor:
        """That of ``tanh``."""
        return sample.sum_over_actions(torch.log(1 - sample.action.square() + 1e-6))

    def log_prob(self, sample: PolicySample) -> Tensor:
        """With the volume change of ``tanh``."""
        return sample.gaussian_log_prob - self.volume_change(sample)

    def divergence(self, sample: PolicySample, mean: Tensor, std: Tensor) -> Tensor:
        """``log pi(a) - log N(a)`` at the drawn action: a Monte-Carlo estimate."""
        terms = -0.5 * ((sample.action - mean) / std).square() - std.log() - LOG_SQRT_2PI
        return self.log_prob(sample) / sample.num_actions - sample.mean_over_actions(terms)

    def imitation(self, state: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Minus the log-density of one draw of the Gaussian, moved inside (-1, 1)."""
        drawn = (mean + torch.randn_like(mean) * std).clamp(-1 + OPEN, 1 - OPEN)
        sample = self.sample(state)
        noise = (torch.atanh(drawn) - sample.mean) / sample.log_std.exp()
        there = PolicySample(drawn, sample.mean, sample.log_std, noise, sample.mask)
        return -self.log_prob(there) / sample.num_actions


class ClampedGaussian(LatentPolicy):
    """A Gaussian with its mean squashed into [-1, 1] and its draws clamped (BMPC). Its KL to a Gaussian is closed form."""

    def mean_of(self, raw: Tensor) -> Tensor:
        """``tanh`` of the network's output."""
        return torch.tanh(raw)

    def action(self, x: Tensor) -> Tensor:
        """Clamped to [-1, 1]."""
        return x.clamp(-1.0, 1.0)

    def volume_change(self, sample: PolicySample) -> Tensor:
        """None: clamping is left out of the density."""
        return torch.zeros_like(sample.action[..., 0])

    def log_prob(self, sample: PolicySample) -> Tensor:
        """Of the Gaussian before clamping."""
        return sample.gaussian_log_prob

    def divergence(self, sample: PolicySample, mean: Tensor, std: Tensor) -> Tensor:
        """Closed form."""
        terms = gaussian_kl(sample.mean, sample.log_std.exp(), mean, std)
        return sample.mean_over_actions(terms)

    def imitation(self, state: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Closed form."""
        sample = self.sample(state)
        return sample.mean_over_actions(gaussian_kl(mean, std, sample.mean, sample.log_std.exp()))


POLICIES: dict[str, type[LatentPolicy]] = {"squashed": SquashedGaussian, "clamped": ClampedGaussian}
"""Policy parameterisations by the name that ``algo.policy`` takes."""
