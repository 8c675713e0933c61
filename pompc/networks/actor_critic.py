"""Small networks for policies and values over observations."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn


def tanh_mlp(sizes: list[int], last_gain: float) -> nn.Sequential:
    """Make a tanh network with orthogonal weights and zero biases (the usual start of PPO's networks).

    Args:
        sizes: of the input, the hidden layers and the output.
        last_gain: gain of the output layer's weights; the hidden layers have sqrt 2.
    """
    layers: list[nn.Module] = []
    for index, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        layer = nn.Linear(fan_in, fan_out)
        last = index == len(sizes) - 2
        nn.init.orthogonal_(layer.weight, last_gain if last else math.sqrt(2))
        nn.init.zeros_(layer.bias)
        layers += [layer] if last else [layer, nn.Tanh()]
    return nn.Sequential(*layers)


def relu_mlp(sizes: list[int]) -> nn.Sequential:
    """Make a ReLU network of these sizes with torch's initialisation: a piecewise affine function."""
    layers = [part for pair in pairwise(sizes) for part in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class Actor(nn.Module):
    """A policy that returns mean and standard deviation of a diagonal Gaussian over its output.

    Attributes:
        in_keys: names of the entries of a transition that :meth:`forward` takes, in order.
        log_std: logarithm of the standard deviation ``[action]``.
    """

    in_keys: tuple[str, ...] = ("observation",)
    log_std: nn.Parameter


class GaussianActor(Actor):
    """A diagonal Gaussian whose standard deviation does not depend on the observation (Schulman et al. 2017).

    Args:
        observation_dim: size of an observation.
        action_dim: size of an action.
        hidden_sizes: widths of the hidden layers.
        initial_std: standard deviation at the start.
        initial_mean: mean at the start ``[action]``; zeros by default.
    """

    def __init__(
        self,
        observation_dim: int,
        action_dim: int,
        hidden_sizes: tuple[int, ...],
        *,
        initial_std: float,
        initial_mean: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.net = tanh_mlp([observation_dim, *hidden_sizes, action_dim], last_gain=0.01)
        self.log_std = nn.Parameter(torch.full((action_dim,), math.log(initial_std)))
        if initial_mean is not None:
            with torch.no_grad():
                self.net[-1].bias.copy_(initial_mean)  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``observation [..., observation]`` to mean and standard deviation ``[..., action]``."""
        mean = self.net(observation)
        return mean, self.log_std.exp().expand_as(mean)


class ValueEnsemble(nn.Module):
    """Evaluate independent value networks in one batched product.

    Args:
        members: number of networks.
        observation_dim: size of an observation.
        hidden_sizes: widths of the hidden layers.
    """

    def __init__(self, members: int, observation_dim: int, hidden_sizes: tuple[int, ...]) -> None:
        super().__init__()
        nets = [tanh_mlp([observation_dim, *hidden_sizes, 1], last_gain=1.0) for _ in range(members)]
        layers = [[layer for layer in net if isinstance(layer, nn.Linear)] for net in nets]
        stacked = [list(same) for same in zip(*layers, strict=True)]
        self.weights = nn.ParameterList(torch.stack([layer.weight.detach().T for layer in same]) for same in stacked)
        self.biases = nn.ParameterList(torch.stack([layer.bias.detach()[None] for layer in same]) for same in stacked)

    def forward(self, observation: Tensor) -> Tensor:
        """Map ``observation [..., observation]`` to values ``[member, ...]``."""
        x = observation.reshape(1, -1, observation.shape[-1]).expand(self.weights[0].shape[0], -1, -1)
        last = len(self.weights) - 1
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            x = x if index == last else torch.tanh(x)
        return x.view(-1, *observation.shape[:-1])
