"""Options of the off-policy agents."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Interval

from pompc.config.options import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Share,
    Top,
)
from pompc.errors import UserError
from pompc.model_learning.config import LearnedPartsConfig
from pompc.models.config import SIZES, ModelSize
from pompc.offpolicy.architecture import ArchitectureConfig
from pompc.offpolicy.lookahead import LookaheadConfig
from pompc.planner.config import MPPIConfig
from pompc.schedules import ScheduleConfig, Setting, check_setting, highest_value

WIDE_ACTION = 20
ORDERED = (("bin_low", "bin_high"), ("log_std_min", "log_std_max"), ("discount_min", "discount_max"))

Symlog = Annotated[float, Interval(ge=-80, le=80)]  # beyond, exp overflows float32
LogStd = Annotated[float, Interval(ge=-20, le=20)]
PolicyName = Literal["squashed", "clamped"]


def tdmpc2_planner() -> MPPIConfig:
    """Make the planner options of TD-MPC2 (its table of hyperparameters)."""
    return MPPIConfig(
        horizon=3,
        num_samples=512,
        num_elites=64,
        num_iterations=6,
        temperature=2.0,
        init_std=2.0,
        min_std=0.05,
        max_std=2.0,
        adapt_std=True,
        num_zero_mean=0,
        include_mean=False,
        repeat_last=False,
        stochastic=True,
    )


PolicyShare = Annotated[Share | ScheduleConfig, Top()]


@dataclass(frozen=True, kw_only=True)
class OffPolicyConfig(ArchitectureConfig, LookaheadConfig, LearnedPartsConfig):
    """Options of :class:`~pompc.offpolicy.agent.OffPolicyAgent`; the defaults are TD-MPC2's.

    Attributes:
        policy_share: share of the steps in which the policy acts instead of the planner, while collecting.
        policy_hold: agent steps for which the choice of who acts is kept, if ``policy_share`` lies between 0 and 1.
        model: ``learned`` (a latent world model), ``known`` (the environment's explicit model) or ``residual`` (that model,
            of which a network learns the error).
        planner_cost: what the planner minimises: minus the ``reward``, with the learned value at the end, or, with an
            explicit model, the ``task``'s own cost with its nominal parameters, and no learned value.
        sequence: transitions of a training sequence; null takes ``planner.horizon``.
        planner: options of the planner; its discount is ``discount`` below.
        model_size: millions of parameters, one of the published sizes.
        encoder_dim: hidden width of the encoder; null takes the size's, as for the next four.
        encoder_layers: layers of the encoder.
        mlp_dim: hidden width of all other networks.
        latent_dim: size of the latent state.
        ensemble_size: members of the value ensemble.
        task_dim: size of a task's vector in multi-task learning.
        num_bins: bins of the two-hot encoding of rewards and values.
        bin_low: symlog value of the first bin.
        bin_high: symlog value of the last bin.
        dropout: on the first hidden layer of the values.
        critic_init: initialisation of the values' hidden layers. The released codes had ``uniform`` from the ensemble's
            rewrite to July 2026.
        average_target: targets from the average of two target heads instead of the lesser.
        policy: ``squashed`` (tanh of a Gaussian) or ``clamped`` (bounded mean, clamped draws).
        log_std_min: smallest log standard deviation of the policy.
        log_std_max: largest log standard deviation of the policy.
        random_value_scale: scale of the frozen random network added to each value head; 0 adds none. Heads then disagree
            about states without data (:class:`~pompc.networks.critics.RandomisedCritic`).
        episodic: learn terminations, at which the planner and the model's targets then end; null follows the environment
            (:meth:`episodic_for`).
        batch_size: sequences per update.
        buffer_size: observations that the replay keeps, over all environments.
        seed_steps: transitions by random actions at the start, over all environments; null takes five episodes, at least
            1000.
        pretrain_updates: updates right after the seed steps; null makes as many as seed steps.
        update_to_data: updates per transition afterwards.
        learning_rate: of Adam.
        encoder_lr_scale: factor on the learning rate of the encoder.
        max_grad_norm: largest gradient norm, of the model and of the policy.
        target_rate: of the values' targets (Polyak).
        scale_rate: of the running scales.
        kl_scale_min: smallest running scale of the divergence. The published 1 only ever shrinks the divergence.
        discount: gamma per agent step; null derives it from the episode's length (:meth:`discount_for`).
        discount_denominator: share of an episode that the effective horizon spans, inverted.
        discount_min: lower bound of the derived discount.
        discount_max: upper bound of the derived discount.
        temporal_decay: weight of a loss per step into the future (TD-MPC2's rho).
        consistency_coef: weight of the latent dynamics' loss.
        reward_coef: weight of the reward's loss.
        value_coef: weight of the values' loss.
        termination_coef: weight of the terminations' loss.
        entropy_coef: weight of the policy's entropy.
        num_proposals: policy rollouts among the planner's samples; fewer than ``planner.num_samples``.
        wide_action_iterations: further iterations of the planner for actions with 20 entries or more.
        virtual_count: sampled sequences of each plan kept for virtual value targets, for ``virtual_ratio`` > 0.
        greedy_evaluation: evaluation takes the best elite; otherwise one drawn by its weight, as published.
        matmul_precision: of matrix products while learning. ``highest`` is float32, ``high`` TF32 on devices that have it,
            ``medium`` bfloat16 factors (TF32 on CUDA).
        compile: compile the networks' activation into one kernel; needs a C++ compiler.
        log_every: transitions per row of metrics.csv, over all environments.
    """

    measures_terms: ClassVar[bool] = True

    policy_share: PolicyShare = 0.0
    policy_hold: PositiveInt = 1
    model: Literal["learned", "known", "residual"] = "learned"
    planner_cost: Literal["reward", "task"] = "reward"
    sequence: PositiveInt | None = None
    planner: Annotated[MPPIConfig, Top()] = field(default_factory=tdmpc2_planner)
    model_size: Literal[1, 5, 19, 48, 317] = 5
    encoder_dim: PositiveInt | None = None
    encoder_layers: PositiveInt | None = None
    mlp_dim: PositiveInt | None = None
    latent_dim: PositiveInt | None = None
    ensemble_size: PositiveInt | None = None
    task_dim: PositiveInt = 96
    num_bins: Annotated[int, Ge(2)] = 101
    bin_low: Symlog = -10.0
    bin_high: Symlog = 10.0
    dropout: Share = 0.01
    critic_init: Literal["trunc_normal", "uniform"] = "trunc_normal"
    average_target: bool = False
    policy: PolicyName = "squashed"
    log_std_min: LogStd = -10.0
    log_std_max: LogStd = 2.0
    random_value_scale: NonNegativeFloat = 0.0
    episodic: bool | None = None
    batch_size: PositiveInt = 256
    buffer_size: PositiveInt = 1_000_000
    seed_steps: NonNegativeInt | None = None
    pretrain_updates: NonNegativeInt | None = None
    update_to_data: PositiveFloat = 1.0
    learning_rate: PositiveFloat = 3e-4
    encoder_lr_scale: NonNegativeFloat = 0.3
    max_grad_norm: PositiveFloat = 20.0
    target_rate: Share = 0.01
    scale_rate: Share = 0.01
    kl_scale_min: PositiveFloat = 1.0
    discount: Annotated[float, Interval(gt=0, lt=1)] | None = None
    discount_denominator: PositiveFloat = 5.0
    discount_min: Share = 0.95
    discount_max: Share = 0.995
    temporal_decay: Share = 0.5
    consistency_coef: NonNegativeFloat = 20.0
    reward_coef: NonNegativeFloat = 0.1
    value_coef: NonNegativeFloat = 0.1
    termination_coef: NonNegativeFloat = 1.0
    entropy_coef: NonNegativeFloat = 1e-4
    num_proposals: NonNegativeInt = 24
    wide_action_iterations: NonNegativeInt = 2
    virtual_count: PositiveInt = 1
    greedy_evaluation: bool = False
    matmul_precision: Literal["highest", "high", "medium"] = "highest"
    compile: bool = False
    log_every: PositiveInt = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting("policy_share", self.policy_share, highest=1.0)
        for low, high in ORDERED:
            if not getattr(self, low) < getattr(self, high):
                raise UserError(f"algo.{low}={getattr(self, low)} must be below algo.{high}={getattr(self, high)}")
        if self.margins == "learned" == self.model:
            raise UserError(
                "algo.margins=learned needs an explicit model: take algo.model=known or residual, or algo.margins=task"
            )
        if self.planner.min_std <= 0:
            raise UserError(f"planner.min_std must be positive, not {self.planner.min_std}: divergences divide by it")
        self.require_ensemble(self.size.ensemble_size)
        if self.batch_size < 2 and self.follows_disagreement:
            raise UserError("algo.batch_size must be at least 2 if a dial moves by the disagreement of value heads")
        if self.planner.discount != 1.0:
            raise UserError("planner.discount has no effect here: set algo.discount, which the planner takes")
        if self.simnorm or (self.simnorm is None and not self.simnorm_follows_action):
            self.check_simplices(self.size.latent_dim)
        if self.num_proposals >= self.planner.num_samples:
            raise UserError(
                f"algo.num_proposals={self.num_proposals} must lie in [0, {self.planner.num_samples}) "
                "(planner.num_samples)"
            )
        if self.optimism and self.planner_cost == "task":
            raise UserError("algo.optimism has no effect with algo.planner_cost=task, which plans without values")
        self.check_dynamics(self.model)
        heads = max(self.size.ensemble_size, self.dynamics_heads)
        self.check_lookahead(heads=heads, sequence=self.sequence_steps, proposals=self.num_proposals)

    @property
    def dials(self) -> dict[str, Setting]:
        """Add the share of the policy, if it ever has one."""
        mixture = {"policy_share": self.policy_share} if highest_value(self.policy_share) > 0 else {}
        return {**super().dials, **mixture}

    @property
    def cost_discount(self) -> float:
        """Discount of a planner that minimises the task's own cost: ``discount`` if it is given, otherwise none."""
        return 1.0 if self.discount is None else self.discount

    @property
    def size(self) -> ModelSize:
        """The chosen size with the widths that are given explicitly."""
        names = [entry.name for entry in dataclasses.fields(ModelSize)]
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return dataclasses.replace(SIZES[self.model_size], **given)

    @property
    def sequence_steps(self) -> int:
        """Transitions of a training sequence."""
        return self.planner.horizon if self.sequence is None else self.sequence

    def discount_for(self, episode_length: int | None) -> float:
        """Derive the discount from the episode's length ``T``: ``(T/d - 1) / (T/d)``, clipped (TD-MPC2, appendix).

        Args:
            episode_length: agent steps until an episode is truncated; ``None`` without a limit.

        Raises:
            UserError: no discount is given and the episode has no limit.
        """
        if self.discount is not None:
            return self.discount
        if episode_length is None:
            raise UserError(
                "the environment's episodes have no time limit to derive a discount from: set algo.discount"
            )
        horizon = max(episode_length / self.discount_denominator, 1.0)
        return min(max((horizon - 1) / horizon, self.discount_min), self.discount_max)

    def episodic_for(self, terminates: bool | None) -> bool:
        """Decide whether terminations are learned: as given, or unless the environment is known to have none.

        Args:
            terminates: whether episodes can terminate (:attr:`~pompc.environment.EnvironmentFamily.terminates`).
        """
        return terminates is not False if self.episodic is None else self.episodic

    def following(self, terminates: bool | None) -> dict[str, bool]:
        """Return the options that depend on the environment, with their values; see :meth:`episodic_for`."""
        return {"episodic": self.episodic_for(terminates)}

    def iterations_for(self, action_dim: int) -> int:
        """Compute the planner's iterations for an action of ``action_dim`` entries."""
        return self.planner.num_iterations + (self.wide_action_iterations if action_dim >= WIDE_ACTION else 0)

    def seed_steps_for(self, episode_length: int | None) -> int:
        """Compute the transitions by random actions at the start: as given, or five episodes and at least 1000."""
        if self.seed_steps is not None:
            return self.seed_steps
        return 1000 if episode_length is None else max(1000, 5 * episode_length)


@dataclass(frozen=True, kw_only=True)
class ReanalyzeConfig(OffPolicyConfig):
    """Options of :class:`~pompc.offpolicy.reanalyze.Reanalyzer` beside those of off-policy learning.

    Attributes:
        reanalyze_interval: updates between two reanalyses; 0 never reanalyses.
        reanalyze_sequences: sequences of the batch that are planned again, every step of them; at most all.
        reanalyze_log_std_min: smallest log-std of the policy's proposals in a reanalysis.
        reanalyze_log_std_max: largest log-std of the policy's proposals in a reanalysis.
    """

    reanalyze_interval: NonNegativeInt = 10
    reanalyze_sequences: PositiveInt = 20
    reanalyze_log_std_min: LogStd = -2.0
    reanalyze_log_std_max: LogStd = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.reanalyze_log_std_min < self.reanalyze_log_std_max:
            raise UserError(
                f"algo.reanalyze_log_std_min={self.reanalyze_log_std_min} must be below "
                f"algo.reanalyze_log_std_max={self.reanalyze_log_std_max}"
            )
