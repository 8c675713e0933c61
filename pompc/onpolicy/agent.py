"""On-policy learning shared by the algorithms that use PPO: clipped policy loss, value ensemble, virtual rows."""

from __future__ import annotations

import math
from collections.abc import Iterator

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
from pompc.dials import relative_variance
from pompc.errors import NonFiniteError
from pompc.networks.actor_critic import GaussianActor, ValueEnsemble
from pompc.networks.ensembles import bootstrap_mask, masked_huber
from pompc.onpolicy.config import OnPolicyConfig
from pompc.onpolicy.virtual import MIXES, virtual_metrics
from pompc.terms import TERM_METRICS, term_metrics


class OnPolicy(MPPIRL):
    """PPO on whatever the policy outputs, with a value ensemble that may also learn from virtual data.

    The policy's output is ``policy_action``; a subclass says what becomes of it. ``log_prob`` is its log-density.

    Args:
        config: an :class:`OnPolicyConfig` or more.
        problem: the environment.
        policy_dim: size of the policy's output.
        initial_mean: policy mean at the start ``[policy_dim]``.
    """

    mix: str = "loss"

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
        self.optimizers = {
            "actor": torch.optim.Adam(self.actor.parameters(), lr=config.learning_rate, eps=1e-5, fused=True),
            "values": torch.optim.Adam(self.values.parameters(), lr=config.learning_rate, eps=1e-5, fused=True),
        }

    @property
    def learns_from_virtual(self) -> bool:
        """Whether rho is large enough for a virtual row in a minibatch."""
        return MIXES[self.mix](self.virtual_ratio.value, self.config.minibatch).virtual > 0

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
        # Drawn before anything virtual, so that the policy's minibatches are the same whatever rho is.
        epochs = [torch.randperm(len(real), device=self.problem.device) for _ in range(self.config.epochs)]
        virtual = self.virtual_batch(data) if self.learns_from_virtual else None
        ratio = self.virtual_ratio.value
        rate = self.config.learning_rate_at(self.updates)
        for group in (group for optimizer in self.optimizers.values() for group in optimizer.param_groups):
            group["lr"] = rate
        losses = [self.step(batch, rows) for batch, rows in self.minibatches(real, virtual, epochs)]
        metrics = {
            key: torch.tensor([loss[key] for loss in losses], dtype=torch.float64).nanmean().item() for key in losses[0]
        }
        with torch.no_grad():
            values = self.values(real["observation"])
        uncertainty = relative_variance(values, real["reward"])
        self.steps += data.numel() * self.problem.action_repeat
        self.dials.update(uncertainty, self.steps)
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
            "learning_rate": rate,
            "gradient_steps": float(len(losses)),
            "virtual_ratio": ratio,
            "kl_weight": self.kl_weight.value,
            "uncertainty": uncertainty,
            "virtual_rows": float(0 if virtual is None else len(virtual)),
            **virtual_metrics(virtual, real["value_target"]),
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
        self, real: TensorDict, virtual: TensorDictBase | None, epochs: list[Tensor]
    ) -> Iterator[tuple[TensorDict, list[tuple[float, TensorDictBase]]]]:
        """Minibatches of nearly equal size: real rows for the policy, weighted groups of rows for the values.

        Their number and the policy's rows do not depend on rho.

        Args:
            real: rows ``[row]``.
            virtual: virtual rows; none without virtual data.
            epochs: the order of the real rows in every epoch, each ``[row]``.
        """
        ratio = 0.0 if virtual is None or len(virtual) == 0 else self.virtual_ratio.value
        virtual = None if virtual is None or ratio == 0 else self._with_mask(virtual)
        for order in epochs:
            for index in order.tensor_split(-(-len(real) // self.config.minibatch)):
                batch, mix = real[index], MIXES[self.mix](ratio, len(index))
                groups: list[tuple[float, TensorDictBase]] = []
                if mix.real > 0:
                    groups.append((mix.real_weight, batch[: mix.real]))
                if virtual is not None and mix.virtual > 0:
                    drawn = torch.randint(len(virtual), (mix.virtual,), device=self.problem.device)
                    groups.append((mix.virtual_weight, virtual[drawn]))
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
            self.optimizers[name].zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), self.config.max_grad_norm)
            self.optimizers[name].step()
        return {"policy_loss": policy_loss.item(), "value_loss": value_loss.item(), **metrics}

    def value_loss(self, rows: TensorDictBase) -> Tensor:
        """Masked Huber loss of the ensemble on rows of either kind."""
        values = self.values(rows["observation"])
        return masked_huber(values, rows["value_target"], rows["mask"].T, rows.get("weight"))

    def policy_loss(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, float]]:
        """Clipped surrogate plus lambda times the divergence from the planner."""
        names = {"clip_fraction": "clip_fraction", "kl_approx": "policy_kl", "entropy": "entropy"}
        weighed = dict.fromkeys(TERM_METRICS if self.kl_weight.config.initial > 0 else (), math.nan)
        if len(batch) == 0:
            return 0.0 * self.actor.log_std.sum(), dict.fromkeys(names.values(), 0.0) | weighed
        losses = self.ppo(batch)
        loss = losses["loss_objective"] + losses["loss_entropy"]
        if self.kl_weight.value > 0:
            terms = {"return": -losses["loss_objective"], "kl": self.planner_kl(batch).mean()}
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
            entropy_coeff=self.config.entropy_coef,
            functional=False,
        )
        loss.set_keys(action="policy_action", sample_log_prob="log_prob")
        return loss
