"""Options of the planner."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from pompc.config.options import (
    Finite,
    NonNegativeFloat,
    NonNegativeInt,
    Options,
    PositiveFloat,
    PositiveInt,
    PositiveShare,
    Share,
)
from pompc.errors import UserError


@dataclass(frozen=True, kw_only=True)
class MPPIConfig(Options):
    """Options of :class:`MPPI`.

    Attributes:
        horizon: model steps to look ahead.
        num_samples: action sequences per candidate, proposals included.
        num_elites: number of best samples that shape the plan; 0 takes all.
        num_iterations: rounds of sample and update per plan.
        temperature: temperature of the weights ``exp(-cost / temperature)``, in units of cost (TD-MPC2 writes its inverse).
        effective_samples: hold this effective sample size instead: every plan finds its own temperature; 0 for the fixed
            one.
        discount: discount of cost per model step.
        depth_decay: weight of a sample's cost to depth h, relative to that to h + 1, in its mean over the depths from 1 to
            ``horizon``; each ends in the value of the state there. 0 is the whole horizon alone, 1 all depths alike
            (:class:`~pompc.planner.depths.DepthScorer`).
        noise: correlation of the samples over time. ``integrated`` is white noise in the change of the action from step
            to step: its standard deviation grows as the root of the step.
        noise_exponent: spectral exponent of coloured noise (0 white, 1 pink, 2 Brownian).
        noise_knots: support points of spline noise.
        init_std: standard deviation of the samples at the start of a plan, per action dimension or one for all; at most
            ``max_std``.
        init_covariance: covariance matrix of an action's entries at the start of a plan, as a list of lines. It gives
            the standard deviations in the place of ``init_std``; ``None`` draws independent entries.
        min_std: smallest adapted standard deviation.
        max_std: largest standard deviation.
        adapt_std: estimate the standard deviation from the weighted samples after every iteration.
        num_zero_mean: samples drawn around rest (zero, if the bounds contain it) instead of the running mean, so that a
            warm start cannot lock in.
        include_mean: one sample is the running mean itself.
        repeat_last: a shifted warm start repeats its last action; otherwise it ends at rest.
        control_cost: weight of the importance term ``temperature * mean' Sigma^-1 noise`` (Williams et al. 2017). Plans are
            pulled towards no control, ``1 - control_cost`` times the mean (:class:`~pompc.planner.importance.Importance`).
        change_cost: cost of changing the action by 1 in a step; it grows with the square of the change. The first change of
            a plan is that from the action applied last, at the start of an episode from rest; it is free where
            ``plan(previous=)`` does not tell that action, as in plans that a replay renews.
        num_rollouts: rollouts of every sample, for stochastic dynamics or an uncertain state.
        risk: how the costs of a sample's rollouts become one: their mean, the mean and ``risk_weight`` times the variance,
            the worst, or the mean of the worst ``risk_share`` (CVaR).
        risk_weight: weight of the variance, in 1 / units of cost.
        risk_share: share of the rollouts that counts.
        stochastic: act with a sample drawn by its weight instead of the weighted mean.
        drop_nonfinite: give samples of non-finite cost weight zero while a finite sample is left. The planner's inputs must
            be finite all the same.
        violation_cost: cost of breaking a constraint of the model by 1 in a step, in units of its margin: metres, or the
            task's. It is discounted like every cost.
        tighten: safety margin, in the same units: a constraint counts as broken below it.
        hard: drop the samples that break a constraint. If all do, the least violation leads. The plan is then one that
            keeps the constraints, if a sample does.
        compile: compile noise, rollout and cost with ``torch.compile``, a few steps of the horizon as one graph. This needs
            a C++ compiler, and the first plan takes seconds, for any horizon. White noise comes from a faster generator.
        matmul_precision: of matrix products while planning. ``highest`` is float32, ``high`` TF32 on devices that have it,
            ``medium`` bfloat16 factors with float32 sums (TF32 on CUDA), ``centred`` bfloat16 for the differences between
            samples and float32 for the rest.
    """

    section = "planner"

    horizon: PositiveInt = 20
    num_samples: PositiveInt = 64
    num_elites: NonNegativeInt = 0
    num_iterations: PositiveInt = 1
    temperature: PositiveFloat = 1.0
    effective_samples: NonNegativeFloat = 0.0
    discount: NonNegativeFloat = 1.0
    depth_decay: Share = 0.0
    noise: Literal["white", "coloured", "spline", "integrated"] = "white"
    noise_exponent: NonNegativeFloat = 1.0
    noise_knots: PositiveInt = 5
    init_std: NonNegativeFloat | tuple[NonNegativeFloat, ...] = 0.5
    init_covariance: tuple[tuple[Finite, ...], ...] | None = None
    min_std: NonNegativeFloat = 0.05
    max_std: PositiveFloat = 2.0
    adapt_std: bool = False
    num_zero_mean: NonNegativeInt = 4
    include_mean: bool = True
    repeat_last: bool = True
    control_cost: Share = 0.0
    change_cost: NonNegativeFloat = 0.0
    num_rollouts: PositiveInt = 1
    risk: Literal["mean", "variance", "worst", "cvar"] = "mean"
    risk_weight: NonNegativeFloat = 1.0
    risk_share: PositiveShare = 0.1
    stochastic: bool = False
    drop_nonfinite: bool = False
    violation_cost: NonNegativeFloat = 0.0
    tighten: NonNegativeFloat = 0.0
    hard: bool = False
    compile: bool = False
    matmul_precision: Literal["highest", "high", "medium", "centred"] = "highest"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_std()
        self._check_covariance()
        self._check_numbers_of_samples()
        if self.risk != "mean" and self.num_rollouts == 1:
            raise UserError(
                f"planner.risk={self.risk} compares the rollouts of a sample, and there is one: raise planner.num_rollouts"
            )
        if self.depth_decay and self.horizon == 1:
            raise UserError(
                f"planner.depth_decay={self.depth_decay} weighs the depths of a rollout, and there is one: raise "
                "planner.horizon"
            )
        if self.tighten and not self.constrained:
            raise UserError(
                f"planner.tighten={self.tighten} tightens nothing: give planner.hard=true, or a planner.violation_cost"
            )
        if self.control_cost and self.adapt_std and self.min_std == 0:
            raise UserError(
                "planner.control_cost divides by the standard deviation, which planner.adapt_std may take to 0: raise "
                "planner.min_std"
            )

    @property
    def constrained(self) -> bool:
        """Whether the planner heeds the margins of its model."""
        return self.hard or self.violation_cost > 0

    def of_task(self) -> MPPIConfig:
        """Return the options of a planner that charges the task's cost alone: its free energy is a value of the task.

        What other options charge, drop or weigh beside it is left out: changes, violations, risk, the importance term.
        """
        alone = {"change_cost": 0.0, "violation_cost": 0.0, "tighten": 0.0, "hard": False}
        return replace(self, **alone, risk="mean", control_cost=0.0)

    def _check_std(self) -> None:
        largest = max(self.init_std, default=0.0) if isinstance(self.init_std, (tuple, list)) else self.init_std
        if self.min_std > self.max_std:
            raise UserError(
                f"planner.min_std={self.min_std} is above planner.max_std={self.max_std}: raise planner.max_std or lower "
                "planner.min_std"
            )
        if largest > self.max_std:
            raise UserError(
                f"planner.init_std={self.init_std} is above planner.max_std={self.max_std}: raise planner.max_std or lower "
                "planner.init_std"
            )

    def _check_covariance(self) -> None:
        lines = self.init_covariance
        if lines is None:
            return
        entries = range(len(lines))
        if any(len(line) != len(lines) for line in lines) or any(
            not math.isclose(lines[i][j], lines[j][i], rel_tol=1e-9) for i in entries for j in entries
        ):
            raise UserError(
                "planner.init_covariance must be a symmetric matrix: as many lines as each line has numbers, the same on "
                "both sides of the diagonal"
            )
        largest = max((lines[i][i] for i in entries), default=0.0)
        if largest > self.max_std**2:
            raise UserError(
                f"planner.init_covariance has a variance of {largest:g}, above the square of planner.max_std="
                f"{self.max_std}: raise planner.max_std or lower the variance"
            )

    def _check_numbers_of_samples(self) -> None:
        if self.num_zero_mean + self.include_mean > self.num_samples:
            raise UserError(
                f"planner.num_zero_mean ({self.num_zero_mean}) and the mean do not fit into num_samples "
                f"({self.num_samples}): lower num_zero_mean or raise num_samples"
            )
        weighted = self.num_elites or self.num_samples
        if self.effective_samples and not 1 <= self.effective_samples <= weighted:
            raise UserError(
                f"planner.effective_samples={self.effective_samples} must be between 1 and the number of samples that have "
                f"weight ({weighted}), or 0 for a fixed temperature"
            )
        if self.num_elites > self.num_samples:
            raise UserError(
                f"planner.num_elites={self.num_elites} is above planner.num_samples={self.num_samples}: lower "
                "planner.num_elites, or give 0 for all"
            )
