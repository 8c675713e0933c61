"""The base class of the zoo: one agent, two dials, a shared planner."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torchrl.data import TensorSpec
from torchrl.envs.utils import ExplorationType, exploration_type

from pompc.data import carried, warm_start
from pompc.dials import AgentConfig, Dials
from pompc.filter import make_filter
from pompc.model_learning.parts import LearnedParts
from pompc.models.protocols import TerminalValue
from pompc.planner import MPPI, Plan
from pompc.problem import Problem
from pompc.schedules import Dial

# TorchRL announces every storage in the middle of the progress bar.
logging.getLogger("torchrl").setLevel(logging.WARNING)


class MPPIRL(TensorDictModuleBase, ABC):
    """An agent in which an MPPI planner and a learned policy or value help each other.

    The two dials, :attr:`kl_weight` and :attr:`virtual_ratio`, may move (:class:`pompc.dials.Dials`). An algorithm is a
    subclass that sets them, the planner and the hooks; :meth:`forward` makes it a policy for TorchRL collectors.

    The TensorDict carries the planner's warm start as ``planner_mean``, and the actions applied last as ``applied`` for a
    planner that charges or limits their change; ``is_init`` resets them. So the same agent serves
    any number of environments, and evaluation does not disturb training.

    Args:
        config: the algorithm's frozen config.
        problem: the environment as the agent knows it.

    Attributes:
        Config: the dataclass of the algorithm's options.
        takes_images: whether observations may be images.
        counts: metrics that are counts or settings; a row of metrics.csv has their last value, not their mean.
        updates: learning updates so far.
        steps: environment steps learned from so far, action repeat counted.
        learned_parts: learned parts of an explicit model; :meth:`learn` calls their ``learn``.
        greedy: whether a stochastic planner acts by its best sample in evaluations instead of drawing one.
        filter: the safety filter between decision and environment; ``None`` if it is off.
        policy_alone: whether evaluations act by the bare policy (:meth:`act_by_policy`).
    """

    Config: ClassVar[type]
    takes_images: ClassVar[bool] = False
    counts: ClassVar[tuple[str, ...]] = ("updates", "kl_weight", "virtual_ratio", "model_steps")
    greedy: bool = False
    policy_alone: bool = False

    def __init__(self, config: AgentConfig, problem: Problem) -> None:
        super().__init__()
        self.config: Any = config
        self.problem = problem
        self.dials = Dials(config)
        self.planner: MPPI | None = None
        self.filter = make_filter(config.filter, problem)
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.updates, self.steps = 0, 0
        self.learned_parts = LearnedParts()
        self._last: tuple[Tensor, Tensor, Plan, Tensor] | None = None
        self._checked: set[bool] = set()  # the values of ``explore`` for which a decision wrote all primers
        self.in_keys, self.out_keys = ["observation"], ["action"]

    @property
    def kl_weight(self) -> Dial:
        """Lambda: the weight of the KL divergence between policy and planner's action distribution in the policy loss."""
        return self.dials.kl_weight

    @property
    def virtual_ratio(self) -> Dial:
        """Rho: the share of the planner's own rollouts in value learning."""
        return self.dials.virtual_ratio

    # -- acting ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write ``action [batch, action]`` and the data of learning into a TensorDict with ``observation`` and ``is_init``.

        The agent explores inside a collector (TorchRL's exploration type ``RANDOM``). Otherwise only the planner draws.
        """
        explore = exploration_type() == ExplorationType.RANDOM
        alone = self.policy_alone and not explore
        tensordict = self._act_alone(tensordict) if alone else self.act(tensordict, explore)
        if self.filter is not None:
            tensordict = self.filter(tensordict, explore)
        tensordict = warm_start.remember(self.planner, tensordict)
        if explore not in self._checked:
            carried.require_written(tensordict, self.primers(), type(self).__name__)
            self._checked.add(explore)
        return tensordict

    def _act_alone(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Act by the policy and carry the planner's state on, unused; there is no plan to draw."""
        self._last = None
        return carried.keep(self.act_by_policy(tensordict), self.primers())

    def act(self, tensordict: TensorDictBase, explore: bool) -> TensorDictBase:
        """Make one decision: candidates of cost parameters, one plan over all of them, one candidate to execute.

        It writes ``action`` and the next values of the :meth:`primers`, and the data of learning if it explores. Otherwise
        it writes the plan's first mean and std ``[batch, action]`` as ``plan_mean`` and ``plan_std``, for :meth:`diagnose`.
        """
        assert self.planner is not None, "an agent without a planner overrides act"
        state = self.encode(tensordict["observation"])
        candidates = self.cost_parameters(tensordict, explore)
        plan = self.planner.plan(
            state,
            parameters=None if candidates is None else candidates["parameters"],
            proposals=self.proposals(state),
            terminal_value=self.terminal_value(),
            discount=self.discounts(state),
            states=self.reads_states(explore),
            **warm_start.beginning(self.planner, tensordict),
        )
        chosen = self.select(tensordict, plan, candidates, explore)
        envs = torch.arange(len(chosen), device=chosen.device)
        mean = self.commit(tensordict, plan.mean[envs, chosen])
        first = mean[:, 0]
        if self.planner.config.stochastic:
            first = self.planner.select(plan, greedy=self.greedy and not explore)[envs, chosen]
        if explore:
            first = self.explore(tensordict, first, plan.std[envs, chosen, 0])
        else:
            tensordict["plan_mean"], tensordict["plan_std"] = mean[:, 0], plan.std[envs, chosen, 0]
        tensordict["action"] = first.clamp(-1.0, 1.0)
        tensordict["next", "planner_mean"] = self.planner.shift(mean)
        self._last = (state, mean, plan, chosen)
        if explore:
            self.record(tensordict, plan, candidates, chosen)
        return tensordict

    def act_by_policy(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write ``action [batch, action]``, the policy's mean, without planning; for ``eval.policy=true``.

        Raises:
            NotImplementedError: the agent has no policy over actions; :meth:`has_policy` says so.
        """
        raise NotImplementedError(f"{type(self).__name__} has no policy over actions")

    @classmethod
    def has_policy(cls, config: Any) -> bool:
        """Say whether an agent with these options can act by a bare policy; it then overrides :meth:`act_by_policy`."""
        return cls.act_by_policy is not MPPIRL.act_by_policy

    def diagnose(self, stepped: TensorDictBase) -> dict[str, Tensor]:
        """Measure a step ``[num_envs]`` of an evaluation, without drawing numbers; by default nothing.

        Returns:
            Quantities ``[num_envs]`` to average over the steps that know them (others are nan). ``value``, the discounted
            rewards that the agent expects from here on, comes with the ``reward`` it counts and its ``discount``.
        """
        return {}

    def primers(self) -> dict[str, TensorSpec]:
        """Return the specs of what planner and filter carry in the TensorDict, without the batch dimension."""
        specs = {} if self.filter is None else self.filter.primers()
        return specs if self.planner is None else {**warm_start.primers(self.planner), **specs}

    def overlay(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor] | None:
        """Return the plan behind the last action of environment 0, for a video; ``None`` without a planner.

        These are model trajectories: of the samples ``[sample, horizon + 1, state]``, best first, and of the plan.
        """
        if self.planner is None or self._last is None:
            return None
        state, mean, plan, chosen = self._last
        sequences = torch.cat([plan.actions[0, chosen[0]][plan.costs[0, chosen[0]].argsort()], mean[:1]])
        fan = self.planner.rollout(state[:1], sequences[None, None])[0, 0]
        return fan[:-1], fan[-1]

    # -- hooks of the planner ----------------------------------------------------------------------------------------

    def encode(self, observation: Tensor) -> Tensor:
        """Find the state to plan from: ``[batch, observation]`` -> ``[batch, state]``."""
        return observation

    def reads_states(self, explore: bool) -> bool:
        """Say whether :meth:`select` or :meth:`record` reads the samples' trajectories, which are kept only then."""
        return False

    def cost_parameters(self, tensordict: TensorDictBase, explore: bool) -> TensorDict | None:
        """Make candidates of cost parameters: ``parameters [batch, candidate, parameter]``, and data for :meth:`record`."""
        return None

    def proposals(self, state: Tensor) -> Tensor | None:
        """Propose action sequences to the planner ``[batch, 1 or candidate, p, horizon, action]``."""
        return None

    def terminal_value(self) -> TerminalValue | None:
        """Return the value at the end of the horizon; ``None`` without one."""
        return None

    def discounts(self, state: Tensor) -> Tensor | None:
        """Return the planner's discount of every environment ``[batch]``; ``None`` for that of its config."""
        return None

    def select(self, tensordict: TensorDictBase, plan: Plan, candidates: TensorDict | None, explore: bool) -> Tensor:
        """Choose the candidate to execute: indices ``[batch]``."""
        return torch.zeros(plan.batch_size[0], dtype=torch.long, device=self.problem.device)

    def commit(self, tensordict: TensorDictBase, mean: Tensor) -> Tensor:
        """Choose the action sequences to execute from now on ``[batch, horizon, action]``."""
        return mean

    def explore(self, tensordict: TensorDictBase, action: Tensor, std: Tensor) -> Tensor:
        """Choose the action while exploring, given the planned one and its std ``[batch, action]``."""
        return action

    def record(self, tensordict: TensorDictBase, plan: Plan, candidates: TensorDict | None, chosen: Tensor) -> None:
        """Write the data of learning beside the action."""

    # -- learning ----------------------------------------------------------------------------------------------------

    def require_memory(self) -> None:
        """Refuse a run whose memory will not suffice by a UserError, before anything is collected; by default none."""

    @property
    def frames_per_batch(self) -> int:
        """Transitions, over all environments, between two calls of :meth:`learn`.

        The config's ``batch_size``, which counts environment steps, rounded up to whole actions of all environments.
        """
        steps = self.problem.num_envs * self.problem.action_repeat
        return -(-self.config.batch_size // steps) * self.problem.num_envs

    @property
    def batches_per_row(self) -> int:
        """Calls of :meth:`learn` that are averaged in one row of metrics.csv."""
        return 1

    @property
    def pending_updates(self) -> int:
        """Updates to make before the next transitions are collected; :meth:`catch_up` makes them."""
        return 0

    def catch_up(self) -> dict[str, Any]:
        """Make some of the :attr:`pending_updates`; return their metrics."""
        raise NotImplementedError(f"{type(self).__name__} has pending updates and no catch_up")

    def idle_reason(self) -> str | None:
        """Explain why no update has been made; ``None`` if one has."""
        return None if self.updates else "no update was made"

    @abstractmethod
    def learn(self, data: TensorDictBase) -> dict[str, float]:
        """Learn from new transitions ``[num_envs, time]``; return metrics by name, without those that do not exist yet.

        Raises:
            NonFiniteError: a loss is not finite; every algorithm checks its losses.
        """

    def count_steps(self, data: TensorDictBase) -> None:
        """Add transitions ``[num_envs, time]`` to :attr:`steps`; :meth:`learn` calls it."""
        self.steps += data.numel() * self.problem.action_repeat

    @property
    def model_steps(self) -> int:
        """Model steps that the planner has taken so far."""
        return 0 if self.planner is None else self.planner.model_steps

    # -- checkpoint --------------------------------------------------------------------------------------------------

    def training_state(self, *, replay: bool = True) -> dict[str, Any]:
        """Return the state of training beside the modules, as tensors and plain values only.

        Args:
            replay: include stored transitions, which may be large and which acting does not need.
        """
        return {
            "dials": self.dials.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "updates": self.updates,
            "steps": self.steps,
            "model_steps": self.model_steps,
            "learned_parts": self.learned_parts.training_state(replay=replay),
        }

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`training_state` returned; a state without optimizers is enough to act and evaluate."""
        self.dials.load_state_dict(state["dials"])
        for name, saved in state.get("optimizers", {}).items():
            self.optimizers[name].load_state_dict(saved)
        self.updates, self.steps = state["updates"], state["steps"]
        self.learned_parts.load_training_state(state.get("learned_parts", {}))
        if self.planner is not None:
            self.planner.model_steps = state["model_steps"]
