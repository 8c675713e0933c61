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
from typing import Annotated, cast

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import TensorSpec, Unbounded

from pompc.config.options import Finite, PositiveFloat, PositiveInt, Top
from pompc.data.holding import count_down, is_held
from pompc.dials import VirtualRatio
from pompc.errors import UserError
from pompc.model_learning.config import ExplicitModelConfig
from pompc.model_learning.make import explicit_model
from pompc.models import TerminalValue
from pompc.networks.ensembles import log_mean_exp
from pompc.onpolicy.candidates import SELECTORS, candidate_cross_entropy, candidate_decisions
from pompc.onpolicy.candidates_config import CandidatesConfig
from pompc.onpolicy.virtual_agent import VirtualDataAgent
from pompc.onpolicy.virtual_sources import VIRTUAL_SOURCES
from pompc.onpolicy.virtual_targets import model_return
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
        planner_kl_temperature: temperature of the planner's distribution over candidates, for ``kl_weight`` > 0.
    """

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


class AdaptiveHRL(VirtualDataAgent):
    """PPO over the cost parameters of MPPI, with values that also learn from the planner's own rollouts.

    Args:
        config: options.
        problem: the environment; it must have an explicit model.
    """

    Config = AdaptiveHRLConfig

    def __init__(self, config: AdaptiveHRLConfig, problem: Problem) -> None:
        task = explicit_model(config, config.model, problem)
        start = task.nominal if config.start_at_nominal else None
        super().__init__(config, problem, task, task.parameter_dim, initial_mean=start)
        self.planner = MPPI(config.planner, task, task, task.action_dim, device=problem.device)
        self.source = VIRTUAL_SOURCES[config.virtual_source]
        self.needs_returns = any(config.uses_returns.values())

    # -- acting ------------------------------------------------------------------------------------------------------

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

    def reads_states(self, explore: bool) -> bool:
        """Say whether model returns or virtual data need the samples' trajectories."""
        return super().reads_states(explore) or (explore and self.needs_returns)

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
        executed = candidates[torch.arange(len(chosen), device=chosen.device), chosen]
        tensordict["policy_action"], tensordict["log_prob"] = executed["drawn"], executed["log_prob"]
        if self.needs_returns:
            kept = candidates.select("drawn", "log_prob", "rewards", "final_value")
            tensordict["candidates"] = kept.auto_batch_size_(1)
        super().record(tensordict, plan, candidates, chosen)

    # -- learning ----------------------------------------------------------------------------------------------------

    def policy_keys(self) -> tuple[str, ...]:
        """Add ``decided``, whether a step made a decision, and the candidates if the policy loss uses them."""
        return (*super().policy_keys(), "decided", *(("candidates",) if self.needs_returns else ()))

    def real_batch(self, data: TensorDictBase) -> TensorDict:
        """Add the model returns of the candidates, in today's units of the values."""
        batch = super().real_batch(data)
        if self.needs_returns:
            batch["candidates", "returns"] = self._candidate_returns(cast(TensorDictBase, batch["candidates"]))
        return batch

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

    def _candidate_returns(self, candidates: TensorDictBase) -> Tensor:
        """Add scaled rewards and last value ``[..., candidate]``, in today's units of the values."""
        return candidates["rewards"] * self.return_scale.factor + candidates["final_value"]
