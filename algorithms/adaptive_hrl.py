"""Adaptive hierarchical RL-MPC, from the published description of Hori et al., L4DC 2026 (arXiv 2512.17091).

A PPO policy draws M high-level actions per step; each sets the running and terminal cost of MPPI, which draws K
trajectories for it. One candidate, chosen uniformly, is executed and feeds the real buffer. The rollouts of the others are
re-scored with the reward model and feed the virtual buffer, whose share rho of value learning decays, the more slowly the
more the value ensemble disagrees. In the plane of the two dials: lambda = 0, rho adaptive from 0.3.

Written without the paper's equations: everything not in its description is an option here (docs/adaptive_hrl.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

import torch
from annotated_types import Ge
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer, TensorSpec, Unbounded

from pompc.agent import Problem
from pompc.config.options import Finite, PositiveFloat, PositiveInt, Share, Top
from pompc.dials import ScheduleConfig, require_ensemble, start_of
from pompc.errors import UserError
from pompc.models.protocols import TerminalValue
from pompc.onpolicy.agent import OnPolicy, OnPolicyConfig
from pompc.onpolicy.candidates import SELECTORS, candidate_cross_entropy, candidate_decisions, count_down, is_held
from pompc.onpolicy.virtual import (
    VIRTUAL_SOURCES,
    VIRTUAL_WEIGHTS,
    bootstrapped_share,
    model_errors,
    model_return,
    virtual_targets,
)
from pompc.planner import MPPI, MPPIConfig, Plan


@dataclass(frozen=True, kw_only=True)
class AdaptiveHRLConfig(OnPolicyConfig):
    """Options of :class:`AdaptiveHRL` beside those of on-policy learning.

    Attributes:
        kl_weight: lambda, the pull of the policy to the planner's distribution over candidates.
        virtual_ratio: rho, the share of virtual data in value learning.
        planner: options of the planner; ``num_samples`` is per candidate, ``K``.
        candidates: high-level actions per step, ``M``. One is executed, the others give virtual data.
        selector: ``uniform`` (the paper's), ``argmin_cost`` or ``softmax_value``.
        decision_steps: steps for which a high-level action is kept, the planner replanning every step.
        execute_steps: controls of a plan that are executed before the next plan.
        start_at_nominal: the policy's mean starts at the environment's nominal high-level action.
        terminal_value_weight: weight of the learned value at the end of the planner's horizon; 0 is the paper's statement.
        virtual_source: ``all``, ``others_plus_rest``, ``weighted`` or ``nominal``.
        virtual_count: rollouts per candidate for ``weighted``.
        virtual_rollouts: rollouts that one update adds to the virtual buffer, at most; all it holds become targets.
        virtual_window: updates that a virtual rollout is kept for; 1 empties the buffer with the real one.
        mix: ``loss`` (a virtual minibatch weighs rho) or ``sampling`` (a share rho of every value minibatch).
        virtual_weight: of a row in that minibatch: ``news`` (what its target holds beyond the value function itself, in
            units of a real target) or ``equal``.
        virtual_gae_lambda: lambda of the virtual targets; null: ``gae_lambda``.
        virtual_policy: also use the first step of the other candidates in the policy loss, weighted by rho.
        prior_temperature: of the planner's distribution over candidates, for ``kl_weight`` > 0.
    """

    kl_weight: Annotated[float | ScheduleConfig, Top()] = 0.0
    virtual_ratio: Annotated[float | ScheduleConfig, Top()] = field(default_factory=ScheduleConfig)
    planner: Annotated[MPPIConfig, Top()] = field(default_factory=MPPIConfig)
    ensemble_size: int = 5
    bootstrap: float = 0.8
    candidates: Annotated[int, Ge(2)] = 4
    selector: Literal["uniform", "argmin_cost", "softmax_value"] = "uniform"
    initial_std: float = 0.3
    decision_steps: PositiveInt = 5
    execute_steps: PositiveInt = 1
    start_at_nominal: bool = True
    terminal_value_weight: Finite = 0.0
    virtual_source: Literal["all", "others_plus_rest", "weighted", "nominal"] = "weighted"
    virtual_count: PositiveInt = 2
    virtual_rollouts: PositiveInt = 2048
    virtual_window: PositiveInt = 1
    mix: Literal["loss", "sampling"] = "loss"
    virtual_weight: Literal["news", "equal"] = "news"
    virtual_gae_lambda: Share | None = None
    virtual_policy: bool = False
    prior_temperature: PositiveFloat = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.planner.stochastic and self.execute_steps > 1:
            raise UserError("planner.stochastic draws one action: it needs algo.execute_steps=1")
        require_ensemble(self.kl_weight, self.virtual_ratio, heads=self.ensemble_size, key="algo.ensemble_size")


class AdaptiveHRL(OnPolicy):
    """PPO over the cost parameters of MPPI, its values helped by the planner's own rollouts.

    Args:
        config: options.
        problem: the environment; it must have an explicit model.
    """

    Config = AdaptiveHRLConfig

    def __init__(self, config: AdaptiveHRLConfig, problem: Problem) -> None:
        model = problem.task_model()
        start = model.nominal if config.start_at_nominal else None
        super().__init__(config, problem, policy_dim=model.parameter_dim, initial_mean=start)
        self.model = model
        self.planner = MPPI(config.planner, model, model, model.action_dim, device=problem.device)
        self.mix = config.mix
        capacity = config.virtual_rollouts * config.virtual_window
        self.virtual_buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(capacity, device="cpu"))
        self.source = VIRTUAL_SOURCES[config.virtual_source]
        needs = (config.virtual_policy, start_of(config.kl_weight) > 0, config.selector == "softmax_value")
        self.needs_returns = any(needs)

    # -- acting ------------------------------------------------------------------------------------------------------

    def encode(self, observation: Tensor) -> Tensor:
        """The model state behind an observation."""
        return self.model.state(observation)

    def cost_parameters(self, tensordict: TensorDictBase, explore: bool) -> TensorDict:
        """``M`` draws of the policy when exploring, its mean otherwise; squashed into the box of cost parameters.

        While a decision is held, it takes the first place.
        """
        observation = tensordict["observation"]
        if explore:
            drawn, log_prob = self.sample_policy(observation, self.config.candidates)
        else:
            drawn = self.actor(self.normaliser(observation))[0].unsqueeze(1)
            log_prob = torch.zeros(drawn.shape[:2], device=drawn.device)
        held = is_held(tensordict, "decision_left")
        drawn = torch.cat([torch.where(held, tensordict["decision"], drawn[:, 0]).unsqueeze(1), drawn[:, 1:]], dim=1)
        entries = {"parameters": self.model.parameters(drawn), "drawn": drawn, "log_prob": log_prob}
        return TensorDict(entries, batch_size=drawn.shape[:2])

    def terminal_value(self) -> TerminalValue | None:
        """The learned value in units of reward, weighted; none by default."""
        if self.config.terminal_value_weight == 0:
            return None
        factor = self.config.terminal_value_weight / self.return_scale.factor
        return lambda state: factor * self.mean_value(self.model.observe(state))

    def select(self, tensordict: TensorDictBase, plan: Plan, candidates: TensorDict | None, explore: bool) -> Tensor:
        """One candidate per environment: the decision in hand, or a new one for the next ``decision_steps``."""
        assert candidates is not None
        held = count_down(tensordict, "decision_left", self.config.decision_steps)
        chosen = super().select(tensordict, plan, candidates, explore)
        if explore:
            if self.needs_returns:
                rewards, final = model_return(plan, self.model, self.mean_value, discount=self.config.discount)
                candidates["rewards"], candidates["final_value"] = rewards, final
                candidates["returns"] = self._candidate_returns(candidates)
            drawn = SELECTORS[self.config.selector](plan, candidates.get("returns"))
            chosen = torch.where(held.squeeze(-1), chosen, drawn)
        rows = torch.arange(len(chosen), device=chosen.device)
        tensordict["next", "decision"] = candidates["drawn"][rows, chosen]
        tensordict["decided"] = (~held).float()
        return chosen

    def commit(self, tensordict: TensorDictBase, mean: Tensor) -> Tensor:
        """Keep the plan in hand until ``execute_steps`` of its controls are executed, or its decision ends."""
        held = count_down(tensordict, "plan_left", self.config.execute_steps, tensordict["decided"] == 0)
        return torch.where(held.unsqueeze(-1), tensordict["planner_mean"], mean)

    def primers(self) -> dict[str, TensorSpec]:
        """The warm start and the decision in hand, and for how many steps both are still to be kept."""
        device = self.problem.device
        counters = {name: Unbounded((1,), device=device) for name in ("plan_left", "decision_left")}
        return {**super().primers(), **counters, "decision": Unbounded((self.model.parameter_dim,), device=device)}

    def record(self, tensordict: TensorDictBase, plan: Plan, candidates: TensorDict | None, chosen: Tensor) -> None:
        """The executed candidate for the real buffer, rollouts of the others for the virtual one."""
        assert candidates is not None
        assert self.planner is not None
        executed = candidates[torch.arange(len(chosen), device=chosen.device), chosen]
        tensordict["policy_action"], tensordict["log_prob"] = executed["drawn"], executed["log_prob"]
        tensordict["effective_samples"] = plan.effective_samples.mean(1, keepdim=True)
        if self.needs_returns:
            kept = candidates.select("drawn", "log_prob", "rewards", "final_value")
            tensordict["candidates"] = kept.auto_batch_size_(1)
        if self.learns_from_virtual:
            states, actions = self.source(plan, chosen, self.planner, self.config.virtual_count)
            tensordict["virtual"] = TensorDict({"states": states, "actions": actions}, batch_size=[len(chosen)])

    # -- learning ----------------------------------------------------------------------------------------------------

    def policy_keys(self) -> tuple[str, ...]:
        """What the policy loss reads; the candidates only where it uses them."""
        return (*super().policy_keys(), "decided", *(("candidates",) if self.needs_returns else ()))

    def real_batch(self, data: TensorDictBase) -> TensorDict:
        """Adds the model returns of the candidates, in today's units of the values."""
        batch = super().real_batch(data)
        if self.needs_returns:
            batch["candidates", "returns"] = self._candidate_returns(cast(TensorDictBase, batch["candidates"]))
        return batch

    def virtual_batch(self, data: TensorDictBase) -> TensorDictBase | None:
        """Add this batch's rollouts to the virtual buffer; value targets for what the buffer holds."""
        states = cast(Tensor, data["virtual", "states"]).flatten(0, 2)
        actions = cast(Tensor, data["virtual", "actions"]).flatten(0, 2)
        update = torch.full(states.shape[:1], self.updates, device=states.device)
        rollouts = TensorDict({"states": states, "actions": actions, "update": update}, batch_size=states.shape[:1])
        index = torch.randperm(len(rollouts), device=self.problem.device)[: self.config.virtual_rollouts]
        self.virtual_buffer.extend(rollouts[index].cpu())
        kept = self.virtual_buffer[:].to(self.problem.device)
        kept = kept[kept["update"] > self.updates - self.config.virtual_window]
        rows = self._virtual_rows(kept["states"], kept["actions"])
        ends = (data["next", name].squeeze(-1) for name in ("done", "terminated"))
        real = bootstrapped_share(*ends, discount=self.config.discount, gae_lambda=self.config.gae_lambda)
        rows["weight"] = VIRTUAL_WEIGHTS[self.config.virtual_weight](rows["bootstrapped"], real.mean())
        rows["observation"] = self.normaliser(rows["observation"])
        return rows

    @torch.no_grad()
    def _virtual_rows(self, states: Tensor, actions: Tensor) -> TensorDict:
        config = self.config
        return virtual_targets(
            states,
            actions,
            self.model,
            self.mean_value,
            reward_scale=self.return_scale.factor,
            discount=config.discount,
            gae_lambda=config.gae_lambda if config.virtual_gae_lambda is None else config.virtual_gae_lambda,
        )

    def policy_loss(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, float]]:
        """PPO on decisions, plus rho times the first step of the other candidates where asked."""
        batch = batch[batch["decided"].squeeze(-1) > 0]  # what is held was not drawn for this state
        loss, metrics = super().policy_loss(batch)
        ratio = self.virtual_ratio.value
        if self.config.virtual_policy and ratio > 0 and len(batch) > 0:
            loss = loss + ratio * self.ppo(candidate_decisions(batch))["loss_objective"]
        return loss, metrics

    def planner_kl(self, batch: TensorDictBase) -> Tensor:
        """Cross-entropy of the policy with the planner's distribution over candidates ``[row]``."""
        mean, std = self.actor(batch["observation"])
        return candidate_cross_entropy(mean, std, batch["candidates"], self.config.prior_temperature)

    def diagnostics(self, data: TensorDictBase) -> dict[str, float]:
        """Effective sample size of the plans, and the model's errors on executed steps."""
        return {"effective_samples": data["effective_samples"].mean().item(), **model_errors(data, self.model)}

    # -- checkpoint --------------------------------------------------------------------------------------------------

    def training_state(self, *, replay: bool = True) -> dict[str, Any]:
        """Adds the virtual buffer where asked."""
        kept = {"replay": self.virtual_buffer.state_dict()} if replay else {}
        return {**super().training_state(replay=replay), **kept}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`training_state` returned; a state without replay is enough to act and evaluate."""
        super().load_training_state(state)
        if "replay" in state:
            self.virtual_buffer.load_state_dict(state["replay"])

    def _candidate_returns(self, candidates: TensorDictBase) -> Tensor:
        """``[..., candidate]``, in units of the values: rewards by the scale of now, plus the last value."""
        return candidates["rewards"] * self.return_scale.factor + candidates["final_value"]
