"""Gaussian policies over latent states: squashed by tanh, or with a bounded mean and clamped actions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pompc.models.tasks import TaskEmbedding
from pompc.networks.layers import initialise, mlp

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
GRID_END, GRID_POINTS = 6.0, 121  # of standard normal draws; finer than tanh turns at the largest std, e^2
OPEN = 1e-3  # distance from +-1 of actions to imitate, because tanh never reaches +-1


def gaussian_kl(mean: Tensor, std: Tensor, other_mean: Tensor, other_std: Tensor) -> Tensor:
    """Compute ``KL(N(mean, std) || N(other_mean, other_std))`` of every action entry ``[..., action]``, not summed."""
    ratio = (std / other_std).square()
    return 0.5 * (ratio - 1 - ratio.log() + ((mean - other_mean) / other_std).square())


@dataclass(frozen=True)
class PolicySample:
    """A reparameterised draw of a policy.

    Attributes:
        action: ``[..., action]`` in [-1, 1].
        mean: mean of the Gaussian ``[..., action]``, before squashing.
        log_std: log-std of the Gaussian ``[..., action]``.
        noise: standard normal draw ``[..., action]``.
        mask: 1 for the entries that the task has ``[..., action]``; ``None`` means all.
    """

    action: Tensor
    mean: Tensor
    log_std: Tensor
    noise: Tensor
    mask: Tensor | None = None

    def __getitem__(self, index: slice) -> PolicySample:
        """Select entries of the leading dimension."""
        mask = None if self.mask is None else self.mask[index]
        return PolicySample(self.action[index], self.mean[index], self.log_std[index], self.noise[index], mask)

    @property
    def num_actions(self) -> Tensor | int:
        """Number of action entries that the task has: an int, or ``[...]`` with several tasks."""
        return self.action.shape[-1] if self.mask is None else self.mask.sum(-1)

    @property
    def gaussian_log_prob(self) -> Tensor:
        """Log-density ``[...]`` of the draw before squashing or clamping."""
        return self.sum_over_actions(-0.5 * self.noise.square() - self.log_std - LOG_SQRT_2PI)

    def gaussian_kl(self, mean: Tensor, log_std: Tensor) -> Tensor:
        """Compute the KL of this sample's Gaussian to another, averaged over the action: ``[...]``.

        Both belong to the same policy class. Squashing both does not change the KL; clamping both only lowers it.
        """
        terms = gaussian_kl(self.mean, self.log_std.exp(), mean, log_std.exp())
        return self.mean_over_actions(terms)

    def mean_over_actions(self, terms: Tensor) -> Tensor:
        """Average ``terms [..., action]`` over the entries that the task has: ``[...]``."""
        return self.sum_over_actions(terms) / self.num_actions

    def sum_over_actions(self, terms: Tensor) -> Tensor:
        """Sum ``terms [..., action]`` over the entries that the task has: ``[...]``."""
        return (terms if self.mask is None else terms * self.mask).sum(-1)


class LatentPolicy(nn.Module, ABC):
    """A network from states to the mean and the log-std of a Gaussian (TD-MPC2, section 3.1).

    Args:
        input_dim: size of a state as the networks see it.
        hidden: width of the two hidden layers.
        action_dim: size of an action.
        log_std_min: smallest log-std.
        log_std_max: largest log-std.
        tasks: the tasks of a multi-task policy; ``None`` for one task.
        inputs: gives what the network sees of a state, ``[..., state] -> [..., input]``. By default that is the state, and
            with several tasks the latent and the vector of its task.
        net: network from ``[..., input]`` to ``[..., 2 * action]``; ``None`` makes TD-MPC2's, ``hidden`` wide.
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
        net: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.net = mlp([input_dim, hidden, hidden, 2 * action_dim]) if net is None else net
        self.log_std_range = (log_std_min, log_std_max)
        # Lists hide the parameters from this module: they belong to the world model.
        self._tasks, self._inputs = [tasks], [inputs or tasks or nn.Identity()]
        if net is None:
            initialise(self.net)

    def forward(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``[..., state]`` to the mean (see :meth:`mean_of`) and the log-std, both ``[..., action]``."""
        raw, squeezed = self.net(self._inputs[0](state)).chunk(2, dim=-1)
        low, high = self.log_std_range
        log_std = low + 0.5 * (high - low) * (torch.tanh(squeezed) + 1)
        mask = self._mask(state)
        return (self.mean_of(raw), log_std) if mask is None else (self.mean_of(raw) * mask, log_std * mask)

    def sample(self, state: Tensor, log_std_range: tuple[float, float] | None = None) -> PolicySample:
        """Draw from the policy with the reparameterisation trick.

        Args:
            state: states ``[..., state]``.
            log_std_range: maps the log-std to this range, for proposals of a reanalysis (BMPC).
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
        """Convert the network's output ``[..., action]`` to the mean of the Gaussian."""

    @abstractmethod
    def action(self, x: Tensor) -> Tensor:
        """Convert a draw of the Gaussian ``[..., action]`` to an action in [-1, 1]."""

    @abstractmethod
    def volume_change(self, sample: PolicySample) -> Tensor:
        """Compute the log of the volume change ``[...]`` from the Gaussian's draw to the action."""

    @abstractmethod
    def log_prob(self, sample: PolicySample) -> Tensor:
        """Compute the log-density of a sample's action ``[...]``."""

    @abstractmethod
    def drawn(self, sample: PolicySample, action: Tensor) -> PolicySample:
        """Make the sample of the same Gaussian whose draw is ``action [..., action]``."""

    def log_prob_of(self, sample: PolicySample, action: Tensor) -> Tensor:
        """Compute the log-density of ``action [..., action]`` in the states of a sample ``[...]``."""
        return self.log_prob(self.drawn(sample, action))

    @abstractmethod
    def divergence(self, sample: PolicySample, mean: Tensor, std: Tensor) -> Tensor:
        """Compute ``KL(policy || N(mean, std))`` of actions, averaged over their entries: ``[...]``.

        Args:
            sample: a draw of the policy.
            mean: mean of the other Gaussian ``[..., action]``.
            std: standard deviation of the other Gaussian ``[..., action]``.
        """

    def mean_divergence(self, state: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Average :meth:`divergence` over the policy's draw, without drawing: ``KL(policy || N(mean, std))``.

        The average is a sum over a grid of standard normal draws. One grid serves all entries of the action, because the
        divergence is a sum over them.

        Args:
            state: ``[..., state]``.
            mean: mean of the other Gaussian ``[..., action]``.
            std: standard deviation of the other Gaussian ``[..., action]``.

        Returns:
            The divergence averaged over the action ``[...]``.
        """
        own, log_std = self(state)
        grid = torch.linspace(-GRID_END, GRID_END, GRID_POINTS, device=own.device)
        weights = torch.softmax(-0.5 * grid.square(), 0).view(-1, *[1] * (own.dim() - 1))
        mask = self._mask(state)
        noise = grid.view(-1, *[1] * own.dim()) * (torch.ones_like(own) if mask is None else mask)
        own, log_std = own.expand_as(noise), log_std.expand_as(noise)
        sample = PolicySample(self.action(own + noise * log_std.exp()), own, log_std, noise, mask)
        return (weights * self.divergence(sample, mean, std)).sum(0)

    @abstractmethod
    def imitation(self, state: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Compute ``KL(N(mean, std) || policy)`` up to a constant, averaged over the entries: ``[...]``.

        Args:
            state: ``[..., state]``.
            mean: mean of the Gaussian to imitate ``[..., action]``.
            std: standard deviation of the Gaussian to imitate ``[..., action]``.
        """


class SquashedGaussian(LatentPolicy):
    """``tanh`` of a Gaussian draw (Haarnoja et al. 2018; TD-MPC2). Its KL to a Gaussian is estimated from one draw."""

    def mean_of(self, raw: Tensor) -> Tensor:
        """Return the network's output."""
        return raw

    def action(self, x: Tensor) -> Tensor:
        """Squash by ``tanh``."""
        return torch.tanh(x)

    def volume_change(self, sample: PolicySample) -> Tensor:
        """Compute the log of the volume change of ``tanh``, kept finite by 1e-6."""
        return sample.sum_over_actions(torch.log(1 - sample.action.square() + 1e-6))

    def log_prob(self, sample: PolicySample) -> Tensor:
        """Correct the log-density of the Gaussian by the volume change of ``tanh``."""
        return sample.gaussian_log_prob - self.volume_change(sample)

    def drawn(self, sample: PolicySample, action: Tensor) -> PolicySample:
        """See :meth:`LatentPolicy.drawn`; the action is moved inside (-1, 1)."""
        inside = action.clamp(-1 + OPEN, 1 - OPEN)
        noise = (torch.atanh(inside) - sample.mean) / sample.log_std.exp()
        return PolicySample(inside, sample.mean, sample.log_std, noise, sample.mask)

    def divergence(self, sample: PolicySample, mean: Tensor, std: Tensor) -> Tensor:
        """Estimate the KL from one draw: ``log pi(a) - log N(a)`` at the drawn action."""
        terms = -0.5 * ((sample.action - mean) / std).square() - std.log() - LOG_SQRT_2PI
        return self.log_prob(sample) / sample.num_actions - sample.mean_over_actions(terms)

    def imitation(self, state: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Estimate the KL from one draw of the Gaussian, moved inside (-1, 1): minus its log-density."""
        action = mean + torch.randn_like(mean) * std
        sample = self.sample(state)
        return -self.log_prob_of(sample, action) / sample.num_actions


class ClampedGaussian(LatentPolicy):
    """A Gaussian with a squashed mean and clamped draws (BMPC). Its KL to a Gaussian has a closed form."""

    def mean_of(self, raw: Tensor) -> Tensor:
        """Squash the network's output by ``tanh``."""
        return torch.tanh(raw)

    def action(self, x: Tensor) -> Tensor:
        """Clamp to [-1, 1]."""
        return x.clamp(-1.0, 1.0)

    def volume_change(self, sample: PolicySample) -> Tensor:
        """Return zero: the density leaves clamping out."""
        return torch.zeros_like(sample.action[..., 0])

    def log_prob(self, sample: PolicySample) -> Tensor:
        """Return the log-density of the Gaussian before clamping."""
        return sample.gaussian_log_prob

    def drawn(self, sample: PolicySample, action: Tensor) -> PolicySample:
        """See :meth:`LatentPolicy.drawn`."""
        noise = (action - sample.mean) / sample.log_std.exp()
        return PolicySample(action, sample.mean, sample.log_std, noise, sample.mask)

    def divergence(self, sample: PolicySample, mean: Tensor, std: Tensor) -> Tensor:
        """Compute the KL of the Gaussians before clamping."""
        terms = gaussian_kl(sample.mean, sample.log_std.exp(), mean, std)
        return sample.mean_over_actions(terms)

    def imitation(self, state: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Compute the KL of the Gaussians before clamping, the constant included."""
        sample = self.sample(state)
        return sample.mean_over_actions(gaussian_kl(mean, std, sample.mean, sample.log_std.exp()))


POLICIES: dict[str, type[LatentPolicy]] = {"squashed": SquashedGaussian, "clamped": ClampedGaussian}
"""Policy parameterisations by the name that ``algo.policy`` takes."""
