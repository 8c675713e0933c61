"""On-policy learning shared by the algorithms that use PPO: clipped policy loss, value ensemble, virtual rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor
from torchrl.modules import IndependentNormal, ProbabilisticActor
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value.functional import vec_generalized_advantage_estimate

from pompc.agent import MPPIRL, Problem
from pompc.data.broken import cut, intact
from pompc.data.statistics import ReturnScale, RunningMoments
from pompc.dynamics.networks import GaussianActor, ValueEnsemble
from pompc.errors import NonFiniteError, UserError
from pompc.learning.ensemble import bootstrap_mask, masked_huber, relative_variance
from pompc.learning.terms import TERM_METRICS, term_metrics
from pompc.learning.virtual import MIXES


@dataclass(frozen=True, kw_only=True)
class OnPolicyConfig:
    """Options of :class:`OnPolicy` (Schulman et al. 2017).

    The defaults differ from the common ones (2048 steps, minibatches of 256, 3e-4, 0.99, 0.95): on the racing task, where
    a mistake shows after seconds and is rare, ``ppo`` too does much better with these.

    Attributes:
        batch_size: agent steps per learning update (``N_upd``), over all environments; ``steps`` of a run also counts
            repeated actions.
        epochs: passes over a batch.
        minibatch: rows per gradient step.
        learning_rate: of Adam, actor and values, at the start.
        learning_rate_decay: its factor per update; depends on no total, so that a run can be continued.
        discount: gamma per agent step.
        gae_lambda: of the generalised advantage estimate.
        clip: of the probability ratio.
        entropy: weight of the entropy bonus.
        max_grad_norm: gradient clipping, actor and values separately.
        hidden: widths of the hidden layers.
        initial_std: spread of the policy at the start.
        normalise_observation: standardise observations with running moments.
        normalise_reward: scale rewards by the running spread of returns.
        ensemble_size: value functions ``D``.
        bootstrap: probability that a row is shown to a member of the ensemble.
    """

    batch_size: int = 8192
    epochs: int = 10
    minibatch: int = 1024
    learning_rate: float = 7e-4
    learning_rate_decay: float = 0.97
    discount: float = 0.998
    gae_lambda: float = 0.97
    clip: float = 0.2
    entropy: float = 0.0
    max_grad_norm: float = 0.5
    hidden: tuple[int, ...] = (64, 64)
    initial_std: float = 0.6
    normalise_observation: bool = True
    normalise_reward: bool = True
    ensemble_size: int = 1
    bootstrap: float = 1.0

    def __post_init__(self) -> None:
        for name in (
            "batch_size",
            "epochs",
            "minibatch",
            "learning_rate",
            "max_grad_norm",
            "initial_std",
            "ensemble_size",
        ):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"algo.{name} must be positive, not {getattr(self, name)}")
        if not all(width > 0 for width in self.hidden):
            raise UserError(f"algo.hidden must be positive widths, not {list(self.hidden)}")
        if not math.isfinite(self.entropy):
            raise UserError(f"algo.entropy must be a finite number, not {self.entropy}")
        for name in ("discount", "gae_lambda", "learning_rate_decay", "bootstrap", "clip"):
            if not 0 < getattr(self, name) <= 1:
                raise UserError(f"algo.{name} must be in (0, 1], not {getattr(self, name)}")


class OnPolicy(MPPIRL):
    """PPO on whatever the policy outputs, with a value ensemble that may also learn from virtual data.

    The policy's output is ``policy_action``; a subclass says what becomes of it. ``log_prob`` is its log-density.

    Args:
        config: an :class:`OnPolicyConfig` or more.
        problem: the environment.
        policy_dim: size of the policy's output.
        initial_mean: policy mean at the start ``[policy_dim]``.
    """

    mix: str = "sampling"

    def __init__(
        self, config: OnPolicyConfig, problem: Problem, policy_dim: int, initial_mean: Tensor | None = None
    ) -> None:
        super().__init__(config, problem)
        sizes = {"hidden": config.hidden, "initial_std": config.initial_std, "initial_mean": initial_mean}
        self.actor = GaussianActor(problem.observation_dim, policy_dim, **sizes)
        self.values = ValueEnsemble(config.ensemble_size, problem.observation_dim, config.hidden)
        self.normaliser = RunningMoments(problem.observation_dim)
        self.return_scale = ReturnScale(problem.num_envs, config.discount)
        self.to(problem.device)
        self.ppo = self._clipped_loss()
        self.optimisers = {
            "actor": torch.optim.Adam(self.actor.parameters(), lr=config.learning_rate, eps=1e-5, fused=True),
            "values": torch.optim.Adam(self.values.parameters(), lr=config.learning_rate, eps=1e-5, fused=True),
        }

    @property
    def learns_from_virtual(self) -> bool:
        """Whether rho is large enough for a virtual row in a minibatch."""
        return MIXES[self.mix](self.virtual_ratio.value, self.config.minibatch)[1] > 0

    def sample_policy(self, observation: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Draw ``count`` policy actions per row ``[batch, count, policy]`` and their log-densities ``[batch, count]``."""
        mean, std = self.actor(self.normaliser(observation))
        distribution = IndependentNormal(mean.unsqueeze(1), std.unsqueeze(1))
        action = distribution.rsample((count,)).squeeze(2).transpose(0, 1)
        return action, distribution.log_prob(action)

    def mean_value(self, observation: Tensor) -> Tensor:
        """Ensemble mean ``[...]`` in scaled units, of raw observations ``[..., observation]``."""
        return self.values(self.normaliser(observation)).mean(0)

    def learn(self, data: TensorDictBase) -> dict[str, float]:
        """One update: statistics, targets, minibatch epochs, then the dials (Algorithm as in arXiv 2512.17091, step 5).

        Nothing is learned from broken transitions; virtual rollouts may begin where one did, at a real observation.
        """
        good = intact(data)
        data = data if good is None else cut(data, good)
        if self.config.normalise_reward:
            self.return_scale.update(data["next", "reward"].squeeze(-1), data["next", "done"].squeeze(-1), good)
        real = self.real_batch(data)
        virtual = self.virtual_batch(data) if self.learns_from_virtual else None
        ratio = self.virtual_ratio.value
        rate = self.config.learning_rate * self.config.learning_rate_decay**self.updates
        for group in (group for optimiser in self.optimisers.values() for group in optimiser.param_groups):
            group["lr"] = rate
        losses = [self.step(batch, rows) for batch, rows in self.minibatches(real, virtual)]
        metrics = {key: sum(loss[key] for loss in losses) / len(losses) for key in losses[0]}
        with torch.no_grad():
            values = self.values(real["observation"])
        uncertainty = relative_variance(values, real["reward"])
        self.schedule(uncertainty)
        self.updates += 1
        data = data if good is None else data[good]
        if self.config.normalise_observation:
            # Only now: the policy that is improved must be the one that acted.
            self.normaliser.update(data["observation"])
        residual = real["value_target"] - values.mean(0)
        metrics |= {
            "explained_variance": (1 - residual.var() / (real["value_target"].var() + 1e-8)).item(),
            "value": values.mean().item(),
            "policy_std": self.actor.log_std.exp().mean().item(),
            "reward": data["next", "reward"].mean().item(),
            "terminated": data["next", "terminated"].float().mean().item(),
            "virtual_ratio": ratio,
            "kl_weight": self.kl_weight.value,
            "uncertainty": uncertainty,
            "virtual_rows": float(0 if virtual is None else len(virtual)),
            "model_steps": float(self.model_steps),
        }
        return metrics | self.diagnostics(data)

    @torch.no_grad()
    def value_target(self, data: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Lambda-returns and generalised advantages (Schulman et al. 2016) of transitions: both ``[num_envs, time, 1]``."""
        value, next_value = self.mean_value(data["observation"]), self.mean_value(data["next", "observation"])
        reward = data["next", "reward"] * self.return_scale.factor
        ends = (data["next", "done"], data["next", "terminated"])
        advantage, target = vec_generalized_advantage_estimate(
            self.config.discount, self.config.gae_lambda, value.unsqueeze(-1), next_value.unsqueeze(-1), reward, *ends
        )
        return target, advantage

    @torch.no_grad()
    def real_batch(self, data: TensorDictBase) -> TensorDict:
        """Rows of real transitions with advantages (standardised over the batch) and value targets."""
        target, advantage = self.value_target(data)
        value, good = target - advantage, intact(data)
        known = advantage if good is None else advantage[good]
        advantage = (advantage - known.mean()) / (known.std() + 1e-8)
        rows = {
            "observation": self.normaliser(data["observation"]),
            "advantage": advantage,
            "value": value.squeeze(-1),
            "value_target": target.squeeze(-1),
            "reward": data["next", "reward"].squeeze(-1) * self.return_scale.factor,
        }
        kept = {key: data[key] for key in self.policy_keys()}
        batch = TensorDict({**rows, **kept}, batch_size=data.batch_size)
        return self._with_mask(batch.flatten(0, 1) if good is None else batch[good])

    def policy_keys(self) -> tuple[str, ...]:
        """Collected entries that the policy loss reads."""
        return ("policy_action", "log_prob")

    def minibatches(
        self, real: TensorDict, virtual: TensorDictBase | None
    ) -> Iterator[tuple[TensorDict, list[tuple[float, TensorDictBase]]]]:
        """Shuffled minibatches of nearly equal size: real rows for the policy, weighted groups of rows for the values.

        Where the mix leaves fewer real rows in a minibatch, an epoch has more of them.
        """
        ratio = 0.0 if virtual is None or len(virtual) == 0 else self.virtual_ratio.value
        num_real, num_virtual, real_weight, virtual_weight = MIXES[self.mix](ratio, self.config.minibatch)
        virtual = None if virtual is None or num_virtual == 0 else self._with_mask(virtual)
        for _ in range(self.config.epochs):
            for index in torch.randperm(len(real), device=self.problem.device).tensor_split(-(-len(real) // num_real)):
                batch = real[index]
                groups: list[tuple[float, TensorDictBase]] = [(real_weight, batch)]
                if virtual is not None:
                    drawn = torch.randint(len(virtual), (num_virtual,), device=self.problem.device)
                    groups.append((virtual_weight, virtual[drawn]))
                yield batch, groups

    def step(self, batch: TensorDict, groups: list[tuple[float, TensorDictBase]]) -> dict[str, float]:
        """One gradient step on the policy and on the values.

        Args:
            batch: real rows.
            groups: weighted groups of rows with ``observation``, ``value_target`` and ``mask``.
        """
        policy_loss, metrics = self.policy_loss(batch)
        value_loss = torch.stack([weight * self.value_loss(rows) for weight, rows in groups]).sum()
        for name, loss, module in (("actor", policy_loss, self.actor), ("values", value_loss, self.values)):
            if not torch.isfinite(loss):
                raise NonFiniteError(f"{name} loss", f"update {self.updates}")
            self.optimisers[name].zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), self.config.max_grad_norm)
            self.optimisers[name].step()
        return {"loss_policy": policy_loss.item(), "loss_value": value_loss.item(), **metrics}

    def value_loss(self, rows: TensorDictBase) -> Tensor:
        """Masked Huber loss of the ensemble on rows of either kind."""
        return masked_huber(self.values(rows["observation"]), rows["value_target"], rows["mask"].T)

    def policy_loss(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, float]]:
        """Clipped surrogate plus lambda times the divergence from the planner."""
        names = {"clip_fraction": "clip_fraction", "kl_approx": "policy_kl", "entropy": "entropy"}
        weighed = dict.fromkeys(TERM_METRICS if self.kl_weight.config.initial > 0 else (), math.nan)
        if len(batch) == 0:
            return 0.0 * self.actor.log_std.sum(), dict.fromkeys(names.values(), 0.0) | weighed
        losses = self.ppo(batch)
        loss = losses["loss_objective"] + losses["loss_entropy"]
        if self.kl_weight.value > 0:
            terms = {"return": -losses["loss_objective"], "kl": self.planner_prior(batch).mean()}
            loss = loss + self.kl_weight.value * terms["kl"]
            found = term_metrics(terms, self.actor.parameters(), gradients=True)
            weighed |= {name: value.item() for name, value in found.items()}
        return loss, {name: losses[key].item() for key, name in names.items()} | weighed

    def diagnostics(self, data: TensorDictBase) -> dict[str, float]:
        """Further metrics of a subclass."""
        return {}

    def _with_mask(self, rows: TensorDictBase) -> TensorDict:
        mask = bootstrap_mask(len(rows), self.config.ensemble_size, self.config.bootstrap, self.problem.device)
        return rows.set("mask", mask.T)  # pyright: ignore[reportReturnType]

    def _clipped_loss(self) -> ClipPPOLoss:
        keys = ["loc", "scale"]
        module = TensorDictModule(self.actor, in_keys=["observation"], out_keys=keys)
        actor = ProbabilisticActor(
            module, in_keys=keys, out_keys=["policy_action"], distribution_class=IndependentNormal, return_log_prob=True
        )
        loss = ClipPPOLoss(
            actor,
            clip_epsilon=self.config.clip,
            entropy_bonus=True,
            entropy_coeff=self.config.entropy,
            functional=False,
        )
        loss.set_keys(action="policy_action", sample_log_prob="log_prob")
        return loss
