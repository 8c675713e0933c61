"""An on-policy agent whose values also learn from the rollouts of its planner on an explicit model."""

from __future__ import annotations

from typing import Any, cast

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from pompc.dial import Evidence
from pompc.errors import UserError
from pompc.models import KnownModel
from pompc.models.protocols import TaskModel
from pompc.networks.actor_critic import Actor
from pompc.onpolicy.agent import OnPolicyAgent
from pompc.onpolicy.evidence import measure_evidence
from pompc.onpolicy.mixing import MIXES, VIRTUAL_WEIGHTS
from pompc.onpolicy.model_errors import model_errors
from pompc.onpolicy.virtual_buffer import VirtualBuffer
from pompc.onpolicy.virtual_config import VirtualDataConfig
from pompc.onpolicy.virtual_sources import VirtualSource, executed
from pompc.onpolicy.virtual_targets import Scoring, bootstrapped_share, virtual_metrics, virtual_targets
from pompc.planner import Plan
from pompc.problem import Problem


class VirtualDataAgent(OnPolicyAgent):
    """PPO with a planner, whose values learn from real transitions and from the planner's rollouts.

    A subclass sets :attr:`planner`, and what its policy gives the planner.

    Args:
        config: options, with those of an explicit model.
        problem: the environment.
        task: its explicit model.
        policy_dim: size of the policy's output.
        initial_mean: policy mean at the start ``[policy_dim]``.
        actor: the policy; ``None`` makes a Gaussian one.

    Attributes:
        task: the explicit model.
        model: the same with the methods of a learned one.
        virtual_buffer: rollouts of the last updates.
        source: takes rollouts from a plan.

    Raises:
        UserError: ``schedule=auto`` has a single environment.
    """

    def __init__(
        self,
        config: VirtualDataConfig,
        problem: Problem,
        task: TaskModel,
        policy_dim: int,
        *,
        initial_mean: Tensor | None = None,
        actor: Actor | None = None,
    ) -> None:
        if config.follows_bias and problem.num_envs < 2:
            raise UserError(
                "virtual_ratio.schedule=auto compares environments with each other: give num_envs=2 or more, or another "
                "schedule"
            )
        super().__init__(config, problem, policy_dim, initial_mean=initial_mean, actor=actor)
        self.task, self.model = task, self.learned_parts.adopt(KnownModel(task))
        self.mix = MIXES[config.mix]
        self.virtual_buffer = VirtualBuffer(config.virtual_rollouts, config.virtual_window)
        self.source: VirtualSource = executed

    def encode(self, observation: Tensor) -> Tensor:
        """Find the model state behind ``[batch, observation]``: ``[batch, state]``."""
        return self.model.encode(observation)

    def reads_states(self, explore: bool) -> bool:
        """Say whether virtual data need the samples' trajectories."""
        return explore and self.learns_from_virtual

    def record(self, tensordict: TensorDictBase, plan: Plan, candidates: TensorDict | None, chosen: Tensor) -> None:
        """Write the plan's effective samples, and rollouts for the virtual buffer."""
        assert self.planner is not None
        tensordict["effective_samples"] = plan.effective_samples.mean(1, keepdim=True)
        if self.learns_from_virtual:
            states, actions = self.source(plan, chosen, self.planner, self.config.virtual_count)
            tensordict["virtual"] = TensorDict({"states": states, "actions": actions}, batch_size=[len(chosen)])

    def learn(self, data: TensorDictBase) -> dict[str, Any]:
        """Make one update, then let the learned parts of the model learn; so its errors are measured on new data."""
        return {**super().learn(data), **self.learned_parts.learn(data)}

    @torch.no_grad()
    def virtual_batch(self, data: TensorDictBase) -> TensorDictBase | None:
        """Add this batch's rollouts to the virtual buffer, and make value targets of everything in the buffer."""
        config = self.config
        states, actions = (cast(Tensor, data["virtual", name]).flatten(0, 2) for name in ("states", "actions"))
        kept = self.virtual_buffer.exchange(states, actions, self.updates)
        virtual = virtual_targets(kept["states"], kept["actions"], self.model, self.mean_value, **self._scoring())
        virtual["weight"] = VIRTUAL_WEIGHTS[config.virtual_weight](virtual["bootstrapped"], self._real_share(data))
        virtual["observation"] = self.normaliser(virtual["observation"])
        return virtual

    def evidence(self, data: TensorDictBase, virtual: TensorDictBase | None) -> Evidence | None:
        """Compare this batch's rollouts with the executed trajectories that begin at the same states."""
        if virtual is None or len(virtual) == 0:
            return None
        news = {
            "virtual_news": (virtual["weight"] * virtual["news"]).mean().item(),
            "real_news": 1 - self._real_share(data).item(),
        }
        most = self.config.virtual_rollouts
        return measure_evidence(data, self.model, self.mean_value, rollouts=most, **news, **self._scoring())

    def diagnostics(
        self, data: TensorDictBase, real: TensorDictBase, virtual: TensorDictBase | None
    ) -> dict[str, float]:
        """Compare virtual with real targets; measure the plans' effective samples and the model's errors."""
        errors = {"effective_samples": data["effective_samples"].mean().item(), **model_errors(data, self.model)}
        return {**virtual_metrics(virtual, real["value_target"]), **errors}

    def training_state(self, *, replay: bool = True) -> dict[str, Any]:
        """Add the virtual buffer if asked."""
        state = super().training_state(replay=replay)
        return {**state, "replay": self.virtual_buffer.state_dict()} if replay else state

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`training_state` returned; a state without replay is enough to act and evaluate."""
        super().load_training_state(state)
        if "replay" in state:
            self.virtual_buffer.load_state_dict(state["replay"])

    def _scoring(self) -> Scoring:
        """Return how virtual targets are made of rewards and values."""
        given = self.config.virtual_gae_lambda
        gae_lambda = self.config.gae_lambda if given is None else given
        return {"reward_scale": self.return_scale.factor, "discount": self.config.discount, "gae_lambda": gae_lambda}

    def _real_share(self, data: TensorDictBase) -> Tensor:
        """Average the bootstrapped share of the real targets of ``[num_envs, time]``."""
        ends = (data["next", name].squeeze(-1) for name in ("done", "terminated"))
        return bootstrapped_share(*ends, discount=self.config.discount, gae_lambda=self.config.gae_lambda).mean()
