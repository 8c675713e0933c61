"""Options of the planner."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pompc.errors import UserError
from pompc.planner.noise import NOISES
from pompc.system.precision import PLANNING, check_precision


@dataclass(frozen=True, kw_only=True)
class MPPIConfig:
    """Options of :class:`MPPI`.

    Attributes:
        horizon: model steps to look ahead.
        num_samples: action sequences per candidate, proposals included.
        num_elites: only this many best samples shape the plan; 0 takes all.
        num_iterations: rounds of sample and update per plan.
        temperature: of the weights ``exp(-cost / temperature)``, in units of cost (TD-MPC2 writes its inverse).
        discount: of cost per model step.
        noise: ``white``, ``coloured`` or ``spline``.
        noise_exponent: spectral exponent of coloured noise.
        noise_knots: support points of spline noise.
        init_std: spread of the samples at the start of a plan, per action dimension or one for all; at most ``max_std``.
        min_std: floor of the adapted spread.
        max_std: ceiling of the spread.
        adapt_std: re-estimate the spread from the weighted samples after every iteration.
        num_zero_mean: samples drawn around zero instead of the running mean, so that a warm start cannot lock in.
        include_mean: one sample is the running mean itself.
        repeat_last: a shifted warm start repeats its last action; otherwise it ends in zeros.
        control_cost: weight of the importance term ``temperature * mean' Sigma^-1 noise`` (Williams et al. 2017), in
            [0, 1]: plans are pulled towards what is done without control, ``1 - control_cost`` times the mean
            (:class:`~pompc.planner.importance.Importance`).
        stochastic: act with a sample drawn by its weight instead of the weighted mean.
        drop_nonfinite: give samples of non-finite cost weight zero as long as one finite sample is left; what the
            planner is given must be finite all the same.
        compile: compile rollout and cost with ``torch.compile`` into one graph (needs a C++ compiler; on the first plan
            seconds, more for a long horizon).
        matmul_precision: of matrix products while planning: ``highest`` (float32), ``high`` (TF32 where the device has
            it), ``medium`` (bfloat16 factors, float32 sums; on CUDA TF32) or ``centred`` (bfloat16 for what samples
            differ in, float32 for what they share).
    """

    horizon: int = 20
    num_samples: int = 64
    num_elites: int = 0
    num_iterations: int = 1
    temperature: float = 1.0
    discount: float = 1.0
    noise: str = "white"
    noise_exponent: float = 1.0
    noise_knots: int = 5
    init_std: float | tuple[float, ...] = 0.5
    min_std: float = 0.05
    max_std: float = 2.0
    adapt_std: bool = False
    num_zero_mean: int = 4
    include_mean: bool = True
    repeat_last: bool = True
    control_cost: float = 0.0
    stochastic: bool = False
    drop_nonfinite: bool = False
    compile: bool = False
    matmul_precision: str = "highest"

    def __post_init__(self) -> None:
        positive = ("horizon", "num_samples", "num_iterations", "temperature", "max_std", "noise_knots")
        for name in positive:
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"planner.{name} must be positive, not {getattr(self, name)}")
        for name in ("discount", "noise_exponent", "num_zero_mean"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"planner.{name} must be at least 0, not {getattr(self, name)}")
        if self.noise not in NOISES:
            raise UserError(f"unknown planner.noise {self.noise!r}; there are: {', '.join(NOISES)}")
        check_precision("planner.matmul_precision", self.matmul_precision, PLANNING)
        self._check_spread()
        self._check_numbers_of_samples()
        if not 0 <= self.control_cost <= 1:
            raise UserError(
                f"planner.control_cost must lie in [0, 1] (1: what is done without control is nothing), not "
                f"{self.control_cost}"
            )
        if self.control_cost and self.adapt_std and self.min_std == 0:
            raise UserError(
                "planner.control_cost divides by the spread, which planner.adapt_std may take to 0: raise planner.min_std"
            )

    def _check_spread(self) -> None:
        spreads = self.init_std if isinstance(self.init_std, (tuple, list)) else (self.init_std,)
        if not all(0 <= spread < math.inf for spread in spreads):
            raise UserError(f"planner.init_std must be at least 0, not {self.init_std}")
        if not 0 <= self.min_std <= self.max_std:
            raise UserError(f"planner.min_std={self.min_std} must lie in [0, {self.max_std}] (planner.max_std)")
        if max(spreads, default=0.0) > self.max_std:
            raise UserError(
                f"planner.init_std={self.init_std} is above planner.max_std={self.max_std}: raise planner.max_std or lower "
                "planner.init_std"
            )

    def _check_numbers_of_samples(self) -> None:
        if self.num_zero_mean + self.include_mean > self.num_samples:
            raise UserError(
                f"planner.num_zero_mean ({self.num_zero_mean}) and the mean do not fit into num_samples "
                f"({self.num_samples}): lower num_zero_mean or raise num_samples"
            )
        if not 0 <= self.num_elites <= self.num_samples:
            raise UserError(
                f"planner.num_elites must be in [0, {self.num_samples}] (num_samples), not {self.num_elites}"
            )
