"""The latent family: learning a world model, values and a policy from replayed sequences (TD-MPC2, descendants)."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torch.nn import functional

from pompc.dynamics.policies import PolicySample
from pompc.errors import NonFiniteError
from pompc.learning.ensemble import relative_variance
from pompc.learning.latent_actor import LatentActor
from pompc.precision import matmul_precision

PATIENCE = 5  # times the seed phase that a first episode may take before a warning


class LatentMPPIRL(LatentActor):
    """An off-policy agent that plans with a learned world model; TD-MPC2 (Hansen et al. 2024) where both dials are zero.

    Subclasses override :meth:`value_target`, :meth:`policy_loss`, :meth:`planner_prior` and what they need beside.
    Batches are time first: ``observation [horizon + 1, batch, ...]``, and of every step ``action``, ``reward``,
    ``terminated``, ``prior_mean`` and ``prior_std`` (the plan the action was drawn from) ``[horizon, batch, ...]``.

    Args:
        config: options.
        problem: the environment.
    """

    learns_policy_in_pretraining = True

    @property
    def frames_per_batch(self) -> int:
        """One step of every environment."""
        return self.problem.num_envs

    @property
    def batches_per_row(self) -> int:
        """Steps of all environments to the next multiple of ``log_every`` transitions."""
        left = self.config.log_every - self.transitions % self.config.log_every
        return -(-left // self.problem.num_envs)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics of an update, in order."""
        losses = ("consistency_loss", "reward_loss", "value_loss", "termination_loss", "virtual_loss", "model_loss")
        return (
            *losses,
            "model_grad_norm",
            "policy_loss",
            "policy_grad_norm",
            "return_scale",
            "kl",
            "kl_scale",
            "entropy",
        )

    @property
    def backlog(self) -> int:
        """Updates owed, those before the first planned action first."""
        if self.replay.num_starts == 0:
            return 0
        return max(self.pretrain_left, 0) + int(self.owed)

    def learn(self, data: TensorDictBase) -> dict[str, Any]:
        """Keep the transitions, then make the updates they call for."""
        self.replay.extend(data)
        self.transitions += data.numel()
        if self.pretrain_left >= 0:
            self.owed += self.config.update_to_data * data.numel()
        elif self.transitions > self.seed_steps:
            self._begin(data.numel())
        metrics = self.catch_up()
        dials = {"kl_weight": self.kl_weight.value, "virtual_ratio": self.virtual_ratio.value}
        return {**{name: metrics.get(name, math.nan) for name in self.metric_names}, **dials, "updates": self.updates}

    def _begin(self, new: int) -> None:
        """Owe the first burst of updates, once there is a sequence to learn from; say so where none comes.

        Args:
            new: transitions that have just been added.
        """
        if self.replay.num_starts > 0:
            given = self.config.pretrain_updates
            self.pretrain_left = self.seed_steps if given is None else given
            return
        patience = PATIENCE * (self.seed_steps + self.problem.num_envs)
        if self.transitions >= patience > self.transitions - new:
            warnings.warn(f"nothing is learned yet: {self.idle_reason()}", stacklevel=2)

    def idle_reason(self) -> str | None:
        """See ``MPPIRL.idle_reason``."""
        if self.updates:
            return None
        if self.transitions <= self.seed_steps:
            return (
                f"all {self.transitions:,} transitions were of the seed phase (algo.seed_steps, here {self.seed_steps:,}); "
                "raise steps"
            )
        if self.replay.num_starts == 0:
            return (
                f"in {self.transitions:,} transitions no episode of at least {self.horizon} steps has ended; lower "
                "planner.horizon, or, where episodes do not end, give the environment a time limit"
            )
        return "the run ended before the first update was due; raise steps or algo.update_to_data"

    def catch_up(self) -> dict[str, Tensor]:
        """Make at most ``log_every`` of the updates owed; their mean metrics."""
        made: dict[str, list[Tensor]] = {}
        for _ in range(min(self.backlog, max(self.config.log_every, self.problem.num_envs))):
            pretraining = self.pretrain_left > 0
            metrics = self.update(*self.replay.sample(self.config.batch_size), pretraining=pretraining)
            self.pretrain_left -= pretraining
            self.owed -= not pretraining
            for name, value in metrics.items():
                made.setdefault(name, []).append(value)
        return {name: values[0] if len(values) == 1 else torch.stack(values).mean() for name, values in made.items()}

    def update(
        self, batch: TensorDictBase, indices: Tensor | None = None, *, pretraining: bool = False
    ) -> dict[str, Tensor]:
        """One update of everything on a batch of sequences ``[horizon + 1, batch]``.

        Args:
            batch: as the class says.
            indices: where the batch lies in the replay ``[horizon + 1, batch]``; none where it does not.
            pretraining: before the first planned action.

        Raises:
            NonFiniteError: a loss or a gradient; the batch is attached to it.
        """
        with matmul_precision(self.config.matmul_precision):
            self.refresh(batch, indices, pretraining)
            self.critic.train()
            loss, metrics = self.model_loss(batch)
            metrics |= {"model_loss": loss.detach(), "model_grad_norm": self.descend("model", loss, batch)}
            if self.model.tasks is not None:
                self.model.tasks.bound()
            if self.learns_policy_in_pretraining or not pretraining:
                loss, more = self.policy_loss(batch)
                metrics |= {
                    **more,
                    "policy_loss": loss.detach(),
                    "policy_grad_norm": self.descend("policy", loss, batch),
                }
            metrics |= self.learn_prior(batch)
            self.critic.eval()
            self.critic.follow(self.config.target_rate)
        self.updates += 1
        self.ranges.look(self.updates)
        self.move_dials(batch)
        return metrics

    def learn_prior(self, batch: TensorDictBase) -> dict[str, Tensor]:
        """One step of a learned prior, where the algorithm has one; its metrics."""
        return {}

    def refresh(self, batch: TensorDictBase, indices: Tensor | None, pretraining: bool) -> None:
        """Renew what the replay holds of old plans before learning from it; nothing by default."""

    def descend(self, name: str, loss: Tensor, batch: TensorDictBase) -> Tensor:
        """One clipped gradient step of an optimiser; the norm of the gradient before clipping."""
        optimiser = self.optimisers[name]
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        optimiser.zero_grad(set_to_none=True)
        loss.backward(inputs=parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.grad_clip)
        if not bool(torch.isfinite(loss.detach() + norm)):
            error = NonFiniteError(f"{name} loss", f"loss {loss.item():.6g}, gradient norm {norm.item():.6g}")
            error.batch = batch.detach()  # pyright: ignore[reportAttributeAccessIssue]
            raise error
        optimiser.step()
        return norm

    def temporal_mean(self, terms: Tensor) -> Tensor:
        """Mean over ``[time, ...]`` with every step into the future weighted by the temporal decay."""
        weights = self.config.temporal_decay ** torch.arange(len(terms), device=terms.device)
        return (terms.flatten(1).mean(1) * weights).mean()

    def model_loss(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """Latent consistency, reward, value and termination (TD-MPC2, equation 3), along an open-loop rollout."""
        config, model = self.config, self.model
        observation, action = batch["observation"], batch["action"][:-1]
        state = model.encode(observation[0])
        with torch.no_grad():
            batch["encoded"] = torch.cat([state.detach().unsqueeze(0), model.encode(observation[1:])])
            target = self.value_target(batch)
        self.ranges.note(rewards=batch["reward"][:-1], values=target)
        states = [state]
        for now in action:
            states.append(model.next(states[-1], now))
        states = torch.stack(states)
        error = (model.latent(states[1:]) - model.latent(batch["encoded"][1:])).square()
        reward = model.two_hot.cross_entropy(model.reward_logits(states[:-1], action), batch["reward"][:-1].squeeze(-1))
        losses = {"consistency_loss": self.temporal_mean(error), "reward_loss": self.temporal_mean(reward)}
        losses["value_loss"] = self.value_loss(states[:-1], action, target)
        value_loss = losses["value_loss"]
        if (virtual := self.virtual_batch(batch)) is not None:
            losses["virtual_loss"] = self.value_loss(virtual["state"], virtual["action"], virtual["target"])
            value_loss = torch.lerp(value_loss, losses["virtual_loss"], self.virtual_ratio.value)
        total = (
            config.consistency_weight * losses["consistency_loss"]
            + config.reward_weight * losses["reward_loss"]
            + config.value_weight * value_loss
        )
        if model.termination_head is not None:
            ended = batch["terminated"][:-1].squeeze(-1)
            logits = model.termination_logits(states[1:])
            losses["termination_loss"] = functional.binary_cross_entropy_with_logits(logits, ended)
            total = total + config.termination_weight * losses["termination_loss"]
        batch["state"] = states.detach()
        return total, {name: loss.detach() for name, loss in losses.items()}

    def value_loss(self, state: Tensor, action: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of all heads with the targets ``[time, batch]``."""
        logits = self.critic.logits(self.critic_inputs(state, action))
        return self.temporal_mean(self.critic.two_hot.cross_entropy(logits, target).transpose(0, 1))

    def loss_weights(self) -> tuple[float, float]:
        """Of the return and of the planner's prior in the policy loss, from lambda: ``(1, lambda)``, or ``(0, 1)``."""
        weight = self.kl_weight.value
        return (0.0, 1.0) if math.isinf(weight) else (1.0, weight)

    def policy_loss(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, Any]]:
        """``-w_Q Q / S_Q - entropy`` on all states of the rollout, ``+ w_KL KL / S_KL`` on those that have a plan.

        The two terms have running scales of their own; with infinite lambda only the second is left.
        """
        return_weight, kl_weight = self.loss_weights()
        states = batch["state"] if return_weight > 0 else batch["state"][:-1]
        sample = self.policy.sample(states)
        entropy = (
            -sample.num_actions * sample.gaussian_log_prob
        )  # as published, without the change of variables of tanh
        gain, metrics = self.config.entropy * entropy, {"entropy": entropy.detach().mean()}
        if return_weight > 0:
            value = self.policy_value(states, sample.action)
            self.return_scale.update(value[0])
            gain = gain + return_weight * self.return_scale(value)
            metrics["return_scale"] = self.return_scale.value.clone()
        loss = -self.temporal_mean(gain)
        if kl_weight > 0:
            divergence = self.planner_prior(batch, sample)
            self.kl_scale.update(divergence[0])
            loss = loss + kl_weight * self.temporal_mean(self.kl_scale(divergence))
            metrics |= {"kl": divergence.detach().mean(), "kl_scale": self.kl_scale.value.clone()}
        return loss, metrics

    def planner_prior(self, batch: TensorDictBase, sample: PolicySample | None = None) -> Tensor:
        """``KL(policy || stored plan)`` of the states that have one ``[horizon, batch]``, averaged over the action."""
        sample = self.policy.sample(batch["state"]) if sample is None else sample
        return self.policy.divergence(sample[: self.horizon], batch["prior_mean"][:-1], batch["prior_std"][:-1])

    def move_dials(self, batch: TensorDictBase) -> None:
        """Advance both dials' schedules by the disagreement of the value heads, where one of them moves."""
        if self.kl_weight.fixed and self.virtual_ratio.fixed:
            return
        with torch.no_grad():
            values = self.critic.values(self.critic_inputs(batch["state"][0], batch["action"][0]))
        self.schedule(relative_variance(values, batch["reward"][0]))

    # -- checkpoint --------------------------------------------------------------------------------------------------

    def training_state(self, *, replay: bool = True) -> dict[str, Any]:
        """Adds the counters of updates owed and, where asked, the replay."""
        counters = {"transitions": self.transitions, "pretrain_left": self.pretrain_left, "owed": float(self.owed)}
        kept = {"replay": self.replay.state_dict()} if replay else {}
        return {**super().training_state(replay=replay), **counters, **kept}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`training_state` returned; a state without replay is enough to act and evaluate."""
        super().load_training_state(state)
        self.transitions, self.pretrain_left, self.owed = (state[k] for k in ("transitions", "pretrain_left", "owed"))
        if "replay" in state:
            self.replay.load_state_dict(state["replay"])
