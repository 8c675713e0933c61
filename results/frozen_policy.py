"""Learn values of a policy that stays as it is: what several results share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.algorithms.adaptive_hrl import AdaptiveHRL, AdaptiveHRLConfig
from pompc.networks.optimizer_step import optimizer_step
from pompc.onpolicy.mixing import Groups
from pompc.onpolicy.virtual_targets import virtual_metrics
from pompc.problem import Problem


class ValuesOnly(AdaptiveHRL):
    """Learns values, from the update ``start`` on with virtual transitions; its policy stays.

    Args:
        config: options, with rho constant.
        problem: the environment.
        start: first update with virtual transitions.
    """

    def __init__(self, config: AdaptiveHRLConfig, problem: Problem, *, start: int = 0) -> None:
        super().__init__(config, problem)
        self.start = start

    def virtual_batch(self, data: TensorDictBase) -> TensorDictBase | None:
        """None before ``start``."""
        return super().virtual_batch(data) if self.updates >= self.start else None

    def policy_keys(self) -> tuple[str, ...]:
        """Nothing: the policy learns nothing."""
        return ()

    def diagnostics(
        self, data: TensorDictBase, real: TensorDictBase, virtual: TensorDictBase | None
    ) -> dict[str, float]:
        """Compare virtual with real targets."""
        return virtual_metrics(virtual, real["value_target"])

    def step(self, batch: TensorDictBase, groups: Groups) -> dict[str, float]:
        """Take one gradient step on the values."""
        loss = torch.stack([weight * self.value_loss(samples) for weight, samples in groups]).sum()
        optimizer_step(self.optimizers["values"], loss, max_grad_norm=self.config.max_grad_norm, name="values")
        return {"value_loss": loss.item()}


def returns_to_go(batches: Sequence[TensorDictBase], discount: float) -> list[Tensor]:
    """Discounted returns of what the batches hold, one ``[num_envs, time]`` each; nan where an episode never ended."""
    data = torch.cat([batch["next"].select("reward", "done", "terminated") for batch in batches], dim=1)
    reward, done, terminated = (data[name].squeeze(-1) for name in ("reward", "done", "terminated"))
    known, left = split_returns(reward, done, terminated, discount)
    return list((known + left.masked_fill(left > 0, math.nan)).split(batches[0].shape[1], dim=1))


def split_returns(reward: Tensor, done: Tensor, terminated: Tensor, discount: float) -> tuple[Tensor, Tensor]:
    """Sum the rewards that follow every step, and weigh what is not known after them.

    Args:
        reward: ``[num_envs, time]``.
        done: ends of episodes ``[num_envs, time]``.
        terminated: ends of episodes after which nothing is earned ``[num_envs, time]``.
        discount: per step.

    Returns:
        Both ``[num_envs, time]``: the discounted sum up to the end of the episode or of the data, and the discount of the
        value that the state there has; 0 if the episode terminated.
    """
    known, left = torch.empty_like(reward), torch.empty_like(reward)
    total, weight = torch.zeros_like(reward[:, 0]), torch.ones_like(reward[:, 0])
    for step in reversed(range(reward.shape[1])):
        total = total.masked_fill(done[:, step], 0.0)
        weight = weight.masked_fill(done[:, step], 1.0).masked_fill(terminated[:, step], 0.0)
        total, weight = reward[:, step] + discount * total, discount * weight
        known[:, step], left[:, step] = total, weight
    return known, left


def closed_returns(known: Tensor, left: Tensor) -> Tensor:
    """Complete returns by the mean return of the same states in the place of what is not known after the data.

    Args:
        known: ``[...]``, as of :func:`split_returns`.
        left: ``[...]``, likewise; its mean must be below 1.
    """
    return known + left * known.mean() / (1 - left.mean())
