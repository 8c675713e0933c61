"""Adaptive hierarchical RL-MPC, from the published description of Hori et al., L4DC 2026 (arXiv 2512.17091).

A PPO policy draws M high-level actions per step. Each sets the running and terminal cost of MPPI, which draws K
trajectories for it. One candidate, chosen uniformly, is executed and feeds the real batch. The rollouts of the others are
re-scored with the reward model and feed the virtual buffer. The share rho of virtual data in value learning decays, more
slowly while the value ensemble disagrees. In the plane of the two dials: lambda = 0, rho adaptive from 0.3. The planner
always acts.

The paper's equations were not at hand: everything that its description leaves open is an option (docs/adaptive_hrl.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import TensorSpec, Unbounded

from pompc.config.options import Finite, PositiveFloat, PositiveInt, Share, Top
from pompc.data.holding import count_down, is_held
from pompc.dial import Evidence
from pompc.dials import VirtualRatio
from pompc.errors import UserError
from pompc.model_learning.config import ExplicitModelConfig
from pompc.model_learning.make import explicit_model
from pompc.models import KnownModel, TerminalValue
from pompc.networks.ensembles import log_mean_exp
from pompc.onpolicy.agent import OnPolicyAgent
from pompc.onpolicy.candidates import SELECTORS, candidate_cross_entropy, candidate_decisions
from pompc.onpolicy.candidates_config import CandidatesConfig
from pompc.onpolicy.evidence import measure_evidence
from pompc.onpolicy.mixing import MIXES, VIRTUAL_WEIGHTS
from pompc.onpolicy.model_errors import model_errors
from pompc.onpolicy.virtual_buffer import VirtualBuffer
from pompc.onpolicy.virtual_sources import VIRTUAL_SOURCES
from pompc.onpolicy.virtual_targets import (
    Scoring,
    bootstrapped_share,
    model_return,
    virtual_metrics,
    virtual_targets,
)
from pompc.planner import MPPI, MPPIConfig, Plan
from pompc.problem import Problem
from pompc.schedules import ScheduleConfig


@dataclass(frozen=True, kw_only=True)
class AdaptiveHRLConfig(ExplicitModelConfig, CandidatesConfig):
    """Options of :class:`AdaptiveHRL` beside those of on-policy learning and of candidates.

    Attributes:
        kl_weight: lambda, the pull of the policy to the planner's distribution over candidates.
        virtual_ratio: rho, the weight of virtual data in the value loss; real data weigh 1 - rho.
        planner: options of the planner; ``num_samples`` is per candidate, ``K``.
        decision_steps: steps for which a high-level action is kept; the planner still plans in every step.
        execute_steps: controls of a plan that are executed before the next plan.
        start_at_nominal: start the policy's mean at the environment's nominal high-level action.
        terminal_value_weight: weight of the learned value at the end of the planner's horizon; 0 is the paper's statement.
        optimism: kappa in that value, ``log(mean(exp(kappa * value))) / kappa`` over the ensemble, in units of the return's
            standard deviation. 0 is the mean, ``.inf`` the largest value; a negative one is caution.
        virtual_rollouts: rollouts that one update adds to the virtual buffer, at most. All that the buffer holds become
            targets.
        virtual_window: updates that a virtual rollout is kept for; 1 empties the buffer after every update.
        mix: ``loss`` (a virtual minibatch weighs rho) or ``sampling`` (a share rho of every value minibatch).
        virtual_weight: weight of a virtual transition in that minibatch: ``news`` (what its target says beyond the value
            function, in units of a real target) or ``equal``.
        virtual_gae_lambda: lambda of the virtual targets; null: ``gae_lambda``.
        planner_kl_temperature: temperature of the planner's distribution over candidates, for ``kl_weight`` > 0.
    """

    measures_bias: ClassVar[bool] = True

    virtual_ratio: VirtualRatio = field(default_factory=ScheduleConfig)
    planner: Annotated[MPPIConfig, Top()] = field(default_factory=MPPIConfig)
    ensemble_size: int = 5
    bootstrap: float = 0.8
    initial_std: float = 0.3
    decision_steps: PositiveInt = 5
    execute_steps: PositiveInt = 1
    start_at_nominal: bool = True
    terminal_value_weight: Finite = 0.0
    optimism: float = 0.0
    virtual_rollouts: PositiveInt = 2048
    virtual_window: PositiveInt = 1
    mix: Literal["loss", "sampling"] = "loss"
    virtual_weight: Literal["news", "equal"] = "news"
    virtual_gae_lambda: Share | None = None
    planner_kl_temperature: PositiveFloat = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.planner.stochastic and self.execute_steps > 1:
            raise UserError("planner.stochastic draws one action: it needs algo.execute_steps=1")
        self.require_ensemble(self.ensemble_size)
        if self.optimism:
            self.require_heads(self.ensemble_size, "algo.optimism, which weighs value heads against each other,")
            if self.terminal_value_weight == 0:
                raise UserError(
                    "algo.optimism has no effect on a planner without values: set algo.terminal_value_weight"
                )


class AdaptiveHRL(OnPolicyAgent):
    """PPO over the cost parameters of MPPI, with values that also learn from the planner's own rollouts.

    Args:
        config: options.
        problem: the environment; it must have an explicit model.
    """

    Config = AdaptiveHRLConfig

    def __init__(self, config: AdaptiveHRLConfig, problem: Problem) -> None:
        task = explicit_model(config, config.model, problem)
        start = task.nominal if config.start_at_nominal else None
        if config.follows_bias and problem.num_envs < 2:
            raise UserError(
                "virtual_ratio.schedule=auto compares environments with each other: give num_envs=2 or more, or another "
                "schedule"
            )
        super().__init__(config, problem, task.parameter_dim, initial_mean=start)
        self.task, self.model = task, self.learned_parts.adopt(KnownModel(task))
        self.planner = MPPI(config.planner, task, task, task.action_dim, device=problem.device)
        self.mix = MIXES[config.mix]
        self.virtual_buffer = VirtualBuffer(config.virtual_rollouts, config.virtual_window)
        self.source = VIRTUAL_SOURCES[config.virtual_source]
        self.needs_returns = any(config.uses_returns.values())

    # -- acting ------------------------------------------------------------------------------------------------------

    def encode(self, observation: Tensor) -> Tensor:
        """Find the model state behind ``[batch, observation]``: ``[batch, state]``."""
        return self.model.encode(observation)

    def cost_parameters(self, tensordict: TensorDictBase, explore: bool) -> TensorDict:
        """Draw ``M`` candidates from the policy when exploring; otherwise take its mean as the only one.

        A held decision takes the first place.

        Returns:
            ``drawn [batch, candidate, policy]``, ``log_prob [batch, candidate]``, and the draws squashed into the box of
            cost parameters, ``parameters [batch, candidate, parameter]``.
        """
        observation = tensordict["observation"]
        if explore:
            drawn, log_prob = self.sample_policy(observation, self.config.candidates)
        else:
            drawn = self.actor(self.normaliser(observation))[0].unsqueeze(1)
            log_prob = torch.zeros(drawn.shape[:2], device=drawn.device)
        held = is_held(tensordict, "decision_left")
        drawn = torch.cat([torch.where(held, tensordict["decision"], drawn[:, 0]).unsqueeze(1), drawn[:, 1:]], dim=1)
        entries = {"parameters": self.task.parameters(drawn), "drawn": drawn, "log_prob": log_prob}
        return TensorDict(entries, batch_size=drawn.shape[:2])

    def terminal_value(self) -> TerminalValue | None:
        """Give the planner the learned value in units of reward, weighted; ``None`` for weight 0."""
        if self.config.terminal_value_weight == 0:
            return None
        factor = self.config.terminal_value_weight / self.return_scale.factor
        observed, optimism = self.model.inputs, self.config.optimism
        return lambda state: factor * log_mean_exp(self.values(self.normaliser(observed(state))), optimism)

    def select(self, tensordict: TensorDictBase, plan: Plan, candidates: TensorDict | None, explore: bool) -> Tensor:
        """Choose a candidate per environment: the held decision, or a new one for the next ``decision_steps``."""
        assert candidates is not None
        held = count_down(tensordict, "decision_left", self.config.decision_steps)
        chosen = super().select(tensordict, plan, candidates, explore)
        if explore and self.config.candidates > 1:
            if self.needs_returns:
                rewards, final = model_return(plan, self.model, self.mean_value, discount=self.config.discount)
                candidates["rewards"], candidates["final_value"] = rewards, final
                candidates["returns"] = self._candidate_returns(candidates)
            drawn = SELECTORS[self.config.selector](plan, candidates.get("returns"))
            chosen = torch.where(held.squeeze(-1), chosen, drawn)
        envs = torch.arange(len(chosen), device=chosen.device)
        tensordict["next", "decision"] = candidates["drawn"][envs, chosen]
        tensordict["decided"] = (~held).float()
        return chosen

    def commit(self, tensordict: TensorDictBase, mean: Tensor) -> Tensor:
        """Keep the current plan until ``execute_steps`` of its controls are executed, or its decision ends."""
        held = count_down(tensordict, "plan_left", self.config.execute_steps, tensordict["decided"] == 0)
        return torch.where(held.unsqueeze(-1), tensordict["planner_mean"], mean)

    def primers(self) -> dict[str, TensorSpec]:
        """Add the held decision, and the numbers of steps for which the plan and the decision are still kept."""
        device = self.problem.device
        counters = {name: Unbounded((1,), device=device) for name in ("plan_left", "decision_left")}
        return {**super().primers(), **counters, "decision": Unbounded((self.task.parameter_dim,), device=device)}

    def record(self, tensordict: TensorDictBase, plan: Plan, candidates: TensorDict | None, chosen: Tensor) -> None:
        """Write the executed candidate for the real batch, and rollouts for the virtual buffer."""
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

    def learn(self, data: TensorDictBase) -> dict[str, Any]:
        """Make one update, then let the learned parts of the model learn; so its errors are measured on new data."""
        return {**super().learn(data), **self.learned_parts.learn(data)}

    def policy_keys(self) -> tuple[str, ...]:
        """Add ``decided``, whether a step made a decision, and the candidates if the policy loss uses them."""
        return (*super().policy_keys(), "decided", *(("candidates",) if self.needs_returns else ()))

    def real_batch(self, data: TensorDictBase) -> TensorDict:
        """Add the model returns of the candidates, in today's units of the values."""
        batch = super().real_batch(data)
        if self.needs_returns:
            batch["candidates", "returns"] = self._candidate_returns(cast(TensorDictBase, batch["candidates"]))
        return batch

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

    def policy_loss(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, float]]:
        """Compute PPO's loss on decisions; ``virtual_policy`` adds rho times that of the other candidates."""
        batch = batch[batch["decided"].squeeze(-1) > 0]  # a held action was not drawn for this state
        loss, metrics = super().policy_loss(batch)
        ratio = self.virtual_ratio.value
        if self.config.virtual_policy and ratio > 0 and len(batch) > 0:
            loss = loss + ratio * self.clipped_loss(candidate_decisions(batch))["loss_objective"]
        return loss, metrics

    def planner_kl(self, batch: TensorDictBase) -> Tensor:
        """Compute the cross-entropy of the policy with the planner's distribution over candidates ``[sample]``."""
        mean, std = self.actor(batch["observation"])
        return candidate_cross_entropy(mean, std, batch["candidates"], self.config.planner_kl_temperature)

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

    def _candidate_returns(self, candidates: TensorDictBase) -> Tensor:
        """Add scaled rewards and last value ``[..., candidate]``, in today's units of the values."""
        return candidates["rewards"] * self.return_scale.factor + candidates["final_value"]
