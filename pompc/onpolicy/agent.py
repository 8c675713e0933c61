"""PPO: clipped policy loss, a value ensemble, and hooks for virtual data and for the planner's pull."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.modules import IndependentNormal
from torchrl.objectives.value.functional import vec_generalized_advantage_estimate

from pompc.agent import MPPIRL
from pompc.data.broken import cut, intact
from pompc.data.statistics import ReturnScale, RunningMoments
from pompc.dial import Evidence
from pompc.dials import make_signals
from pompc.metrics import mean_metrics
from pompc.networks.actor_critic import Actor, GaussianActor, ValueEnsemble
from pompc.networks.clipped_loss import make_clipped_loss
from pompc.networks.ensembles import bootstrap_mask, fit_metrics, masked_huber
from pompc.networks.optimizer_step import optimizer_step
from pompc.onpolicy import losses
from pompc.onpolicy.config import OnPolicyConfig
from pompc.onpolicy.mixing import Groups, Mix, mixed
from pompc.problem import Problem


class OnPolicyAgent(MPPIRL):
    """PPO (Schulman et al. 2017) on the policy's output, with a value ensemble that may also learn from virtual data.

    A subclass turns the policy's output into an action in ``act``. It writes the output as ``policy_action`` and its
    log-density as ``log_prob``. :meth:`learn` makes one update and calls the hooks below it.

    Args:
        config: options.
        problem: the environment.
        policy_dim: size of the policy's output.
        initial_mean: policy mean at the start ``[policy_dim]``.
        input_dim: size of what the networks see; ``None`` for the observation.
        actor: the policy; ``None`` makes a Gaussian of these sizes.

    Attributes:
        mix: how real and virtual transitions share a gradient step on the values,
            ``(virtual_ratio, minibatch size) -> Mix``; ``None`` for an agent without virtual data.
    """

    mix: Callable[[float, int], Mix] | None = None

    def __init__(
        self,
        config: OnPolicyConfig,
        problem: Problem,
        policy_dim: int,
        *,
        initial_mean: Tensor | None = None,
        input_dim: int | None = None,
        actor: Actor | None = None,
    ) -> None:
        super().__init__(config, problem)
        input_dim = problem.observation_dim if input_dim is None else input_dim
        start = {"initial_std": config.initial_std, "initial_mean": initial_mean}
        self.actor: Actor = actor or GaussianActor(input_dim, policy_dim, config.hidden_sizes, **start)
        self.values = ValueEnsemble(config.ensemble_size, input_dim, config.hidden_sizes)
        self.normaliser = RunningMoments(input_dim)
        self.return_scale = ReturnScale(problem.num_envs, config.discount)
        self.to(problem.device)
        self.clipped_loss = make_clipped_loss(self.actor, config.clip_epsilon, config.entropy_coef)
        adam = {"lr": config.learning_rate, "eps": 1e-5, "fused": True}
        self.optimizers = {
            "actor": torch.optim.Adam(self.actor.parameters(), **adam),
            "values": torch.optim.Adam(self.values.parameters(), **adam),
        }

    @property
    def learns_from_virtual(self) -> bool:
        """Whether rho is large enough for a virtual transition in a minibatch, or follows what they would teach."""
        if self.config.follows_bias:
            return True
        return self.mix is not None and self.mix(self.virtual_ratio.value, self.config.minibatch_size).virtual > 0

    def sample_policy(self, observation: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Draw ``count`` policy actions per raw observation ``[batch, observation]``.

        Returns:
            The draws ``[batch, count, policy]`` and their log-densities ``[batch, count]``.
        """
        mean, std = self.actor(self.normaliser(observation))
        distribution = IndependentNormal(mean.unsqueeze(1), std.unsqueeze(1))
        action = distribution.rsample((count,)).squeeze(2).transpose(0, 1)
        return action, distribution.log_prob(action)

    def mean_value(self, observation: Tensor) -> Tensor:
        """Value raw observations ``[..., observation]`` by the ensemble mean ``[...]``, in scaled units."""
        return self.values(self.normaliser(observation)).mean(0)

    def diagnose(self, stepped: TensorDictBase) -> dict[str, Tensor]:
        """Value the observation in units of the reward. See :meth:`MPPIRL.diagnose`."""
        reward = stepped["next", "reward"].squeeze(-1)
        value = self.mean_value(stepped["observation"]) / self.return_scale.factor
        return {"value": value, "reward": reward, "discount": torch.full_like(reward, self.config.discount)}

    def learn(self, data: TensorDictBase) -> dict[str, float]:
        """Make one update: statistics, targets, minibatch epochs, then the dials (arXiv 2512.17091, algorithm, step 5).

        Nothing is learned from broken transitions. A virtual rollout may begin at one, since its observation is real.

        Args:
            data: transitions ``[num_envs, time]``.

        Raises:
            NonFiniteError: a loss, a gradient or the uncertainty is not finite.
        """
        self.count_steps(data)
        data = cut(data)
        good = intact(data)
        if self.config.normalise_reward:
            self.return_scale.update(data["next", "reward"].squeeze(-1), data["next", "done"].squeeze(-1), good)
        real = self.real_batch(data)
        # Drawn before any virtual data, so that the policy's minibatches do not depend on rho.
        epochs = [torch.randperm(len(real), device=self.problem.device) for _ in range(self.config.epochs)]
        virtual = self.virtual_batch(data) if self.learns_from_virtual else None
        evidence = self.evidence(data, virtual) if self.config.follows_bias else None
        settings = {"learning_rate": self._set_learning_rate(), "virtual_ratio": self.virtual_ratio.value}
        steps = [self.step(batch, groups) for batch, groups in self.minibatches(real, virtual, epochs)]
        with torch.no_grad():
            values = self.values(real["observation"])
        signals = make_signals(values, real["reward"], self.steps, evidence)
        self.dials.update(signals)
        self.updates += 1
        data = data if good is None else data[good]
        if self.config.normalise_observation:
            # The update comes last: learning must standardise as acting did.
            self.normaliser.update(data["observation"])
        return {
            **mean_metrics(steps),
            **fit_metrics(values, real["value_target"]),
            "policy_std": self.actor.log_std.exp().mean().item(),
            "reward": data["next", "reward"].mean().item(),
            "terminated": data["next", "terminated"].float().mean().item(),
            "gradient_steps": float(len(steps)),
            **settings,
            "kl_weight": self.kl_weight.value,
            **signals.metrics(),
            "virtual_transitions": float(0 if virtual is None else len(virtual)),
            "model_steps": float(self.model_steps),
            **self.diagnostics(data, real, virtual),
        }

    @torch.no_grad()
    def real_batch(self, data: TensorDictBase) -> TensorDict:
        """Collect the entries of real transitions that learning reads; advantages are standardised over the batch.

        Args:
            data: transitions ``[num_envs, time]``, after :func:`~pompc.data.broken.cut`.

        Returns:
            The intact transitions ``[transition]``.
        """
        target, advantage = self.value_target(data)
        value, good = target - advantage, intact(data)
        known = advantage if good is None else advantage[good]
        entries = {
            "observation": self.normaliser(data["observation"]),
            "advantage": (advantage - known.mean()) / (known.std() + 1e-8),
            "value": value.squeeze(-1),
            "value_target": target.squeeze(-1),
            "reward": data["next", "reward"].squeeze(-1) * self.return_scale.factor,
        }
        entries |= {key: data[key] for key in self.policy_keys()}
        batch = TensorDict(entries, batch_size=data.batch_size)
        return self._with_mask(batch.flatten(0, 1) if good is None else batch[good])

    def minibatches(
        self, real: TensorDict, virtual: TensorDictBase | None, epochs: Iterable[Tensor]
    ) -> Iterator[tuple[TensorDict, Groups]]:
        """Yield minibatches of nearly equal size: real transitions for the policy, groups of both kinds for the values.

        Their number and the policy's part do not depend on rho.

        Args:
            real: ``[transition]``.
            virtual: ``[transition]``; ``None`` without virtual data.
            epochs: the order of the real transitions in every epoch, each ``[transition]``.
        """
        ratio = self.virtual_ratio.value
        if virtual is not None:
            virtual = None if len(virtual) == 0 or ratio == 0 else self._with_mask(virtual)
        for order in epochs:
            for index in order.tensor_split(-(-len(real) // self.config.minibatch_size)):
                batch = real[index]
                yield batch, [(1.0, batch)] if virtual is None else self._mixed(batch, virtual)

    def step(self, batch: TensorDict, groups: Groups) -> dict[str, float]:
        """Take one gradient step on the policy and one on the values.

        Args:
            batch: real transitions for the policy ``[sample]``.
            groups: weights and samples for the values.

        Raises:
            NonFiniteError: a loss or a gradient norm is not finite.
        """
        policy_loss, metrics = self.policy_loss(batch)
        value_loss = torch.stack([weight * self.value_loss(samples) for weight, samples in groups]).sum()
        for name, loss in (("actor", policy_loss), ("values", value_loss)):
            optimizer_step(self.optimizers[name], loss, max_grad_norm=self.config.max_grad_norm, name=name)
        return {"policy_loss": policy_loss.item(), "value_loss": value_loss.item(), **metrics}

    def value_loss(self, samples: TensorDictBase) -> Tensor:
        """Compute the masked Huber loss of the ensemble on real or virtual samples ``[sample]``."""
        values = self.values(samples["observation"])
        return masked_huber(values, samples["value_target"], samples["mask"].T, samples.get("weight"))

    # -- hooks -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def value_target(self, data: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Compute lambda-returns and generalised advantages (Schulman et al. 2016); called by :meth:`real_batch`.

        Args:
            data: transitions ``[num_envs, time]``.

        Returns:
            Value targets and advantages, in the units of the values: both ``[num_envs, time, 1]``.
        """
        value, next_value = self.mean_value(data["observation"]), self.mean_value(data["next", "observation"])
        reward = data["next", "reward"] * self.return_scale.factor
        ends = (data["next", "done"], data["next", "terminated"])
        advantage, target = vec_generalized_advantage_estimate(
            self.config.discount, self.config.gae_lambda, value.unsqueeze(-1), next_value.unsqueeze(-1), reward, *ends
        )
        return target, advantage

    def policy_loss(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, float]]:
        """Compute the clipped surrogate plus lambda times the planner's pull; called by :meth:`step`.

        See :func:`pompc.onpolicy.losses.policy_loss`.

        Args:
            batch: real transitions ``[sample]``; may be empty.

        Returns:
            The loss, and the metrics of this batch.
        """
        return losses.policy_loss(self, batch)

    def planner_kl(self, batch: TensorDictBase) -> Tensor:
        """Compute the policy's divergence from the planner ``[sample]``; called by :meth:`policy_loss` if lambda > 0."""
        raise NotImplementedError(f"{type(self).__name__} has kl_weight > 0 and no planner_kl")

    def policy_keys(self) -> tuple[str, ...]:
        """Name the collected entries that the policy loss reads; called by :meth:`real_batch`."""
        return ("policy_action", "log_prob")

    def virtual_batch(self, data: TensorDictBase) -> TensorDictBase | None:
        """Make value targets of the planner's rollouts; called by :meth:`learn` if :attr:`learns_from_virtual`.

        Args:
            data: transitions ``[num_envs, time]``, the broken ones included.

        Returns:
            ``observation`` (standardised), ``value_target`` and optionally ``weight``, all ``[transition, ...]``; ``None``
            without virtual data.
        """
        return None

    def evidence(self, data: TensorDictBase, virtual: TensorDictBase | None) -> Evidence | None:
        """Measure the bias of virtual targets, for dials that ask: of ``[num_envs, time]`` and :meth:`virtual_batch`."""
        return None

    def diagnostics(
        self, data: TensorDictBase, real: TensorDictBase, virtual: TensorDictBase | None
    ) -> dict[str, float]:
        """Measure further metrics; called at the end of :meth:`learn`.

        Args:
            data: the intact transitions ``[num_envs, time]`` or ``[transition]``.
            real: result of :meth:`real_batch`.
            virtual: result of :meth:`virtual_batch`.
        """
        return {}

    def _set_learning_rate(self) -> float:
        """Set and return the learning rate of this update."""
        rate = self.config.learning_rate_at(self.updates)
        for group in (group for optimizer in self.optimizers.values() for group in optimizer.param_groups):
            group["lr"] = rate
        return rate

    def _mixed(self, batch: TensorDict, virtual: TensorDictBase) -> Groups:
        """Make the groups of a gradient step from real transitions ``[sample]`` and virtual ones ``[transition]``."""
        assert self.mix is not None
        return mixed(self.mix(self.virtual_ratio.value, len(batch)), batch, virtual, self.problem.device)

    def _with_mask(self, samples: TensorDictBase) -> TensorDict:
        """Draw the samples each member of the ensemble learns from: ``mask [sample, member]``."""
        mask = bootstrap_mask(len(samples), self.config.ensemble_size, self.config.bootstrap, self.problem.device)
        return samples.set("mask", mask.T)  # pyright: ignore[reportReturnType]
