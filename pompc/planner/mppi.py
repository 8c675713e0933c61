"""The shared batched planner: model predictive path integral control (Williams et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from typing import cast

import torch
from torch import Tensor

from pompc.dynamics.protocols import Cost, Dynamics, Judge, TerminalValue, Terminating
from pompc.errors import NonFiniteError, UserError
from pompc.planner.noise import NOISES
from pompc.planner.plan import Plan
from pompc.planner.weights import effective_sample_size, mppi_weights, soft_value, until_termination
from pompc.precision import PLANNING, check_precision, matmul_precision
from pompc.process import require_compiler

SCORED_ON_CPU = 2**18
"""Numbers in the states of all samples that are scored at once on a CPU: what its caches hold of a layer's outputs."""


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
        init_std: spread of the samples at the start of a plan, per action dimension or one for all.
        min_std: floor of the adapted spread.
        max_std: ceiling of the spread.
        adapt_std: re-estimate the spread from the weighted samples after every iteration.
        num_zero_mean: samples drawn around zero instead of the running mean, so that a warm start cannot lock in.
        include_mean: one sample is the running mean itself.
        repeat_last: a shifted warm start repeats its last action; otherwise it ends in zeros.
        control_cost: weight of the importance term ``temperature * mean' Sigma^-1 noise`` (Williams et al. 2017).
        stochastic: act with a sample drawn by its weight instead of the weighted mean.
        drop_nonfinite: give samples of non-finite cost weight zero as long as one finite sample is left.
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
        spreads = self.init_std if isinstance(self.init_std, tuple) else (self.init_std,)
        if not all(0 <= spread < math.inf for spread in spreads):
            raise UserError(f"planner.init_std must be at least 0, not {self.init_std}")
        for name in ("discount", "control_cost", "noise_exponent"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"planner.{name} must be at least 0, not {getattr(self, name)}")
        if not 0 <= self.min_std <= self.max_std:
            raise UserError(f"planner.min_std={self.min_std} must lie in [0, {self.max_std}] (planner.max_std)")
        check_precision("planner.matmul_precision", self.matmul_precision, PLANNING)
        if self.noise not in NOISES:
            raise UserError(f"unknown planner.noise {self.noise!r}; there are: {', '.join(NOISES)}")
        if self.num_zero_mean + self.include_mean > self.num_samples:
            raise UserError(
                f"planner.num_zero_mean ({self.num_zero_mean}) and the mean do not fit into num_samples "
                f"({self.num_samples}): lower num_zero_mean or raise num_samples"
            )
        if not 0 <= self.num_elites <= self.num_samples:
            raise UserError(
                f"planner.num_elites must be in [0, {self.num_samples}] (num_samples), not {self.num_elites}"
            )


def stack_time(states: list[Tensor]) -> Tensor:
    """Stack states ``[..., state]`` along a new dimension before the last, in the memory order of the last of them.

    Equations of motion work entry by entry and return entries in separate blocks, networks work on whole states; keeping
    either order makes everything that is computed on the trajectories read contiguous memory.
    """
    if states[-1].movedim(-1, 0).is_contiguous():
        return torch.stack([state.movedim(-1, 0) for state in states], dim=1).movedim((0, 1), (-1, -2))
    return torch.stack(states).movedim(0, -2)


class MPPI:
    """Plans for many environments, many candidates of cost parameters and many samples in one batch.

    A planner variant overrides :meth:`init`, :meth:`sample` or :meth:`update`; :meth:`plan` loops them. The planner
    keeps no state between plans: the warm start is an argument, so that planning is batched over environments.

    Args:
        config: options.
        dynamics: what is rolled out; may also say where an episode ends (``Terminating``).
        cost: what is minimised; may be the same object as the dynamics.
        action_dim: size of an action.
        low: lower bound of the actions, a number or ``[action]``.
        high: upper bound of the actions.
        device: where plans are made.

    Raises:
        UserError: ``init_std`` is not of the action's size, or ``compile`` finds no C++ compiler.
    """

    def __init__(
        self,
        config: MPPIConfig,
        dynamics: Dynamics,
        cost: Cost,
        action_dim: int,
        *,
        low: float | Tensor = -1.0,
        high: float | Tensor = 1.0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config = config
        self.dynamics = dynamics
        self.cost = cost
        self.action_dim = action_dim
        self.device = torch.device(device)
        self.low = torch.as_tensor(low, dtype=torch.float32, device=self.device).expand(action_dim)
        self.high = torch.as_tensor(high, dtype=torch.float32, device=self.device).expand(action_dim)
        self.init_std = torch.as_tensor(config.init_std, dtype=torch.float32, device=self.device)
        if self.init_std.ndim and self.init_std.shape != (action_dim,):
            raise UserError(f"planner.init_std needs one number or {action_dim}, not {self.init_std.numel()}")
        self.noise = NOISES[config.noise](config)
        self._judge = self._choose_judge()
        self.discounts = config.discount ** torch.arange(config.horizon + 1, device=self.device)
        self.model_steps = 0
        self._score = self._rolled_out_and_evaluated
        if config.compile:
            if self.device.type == "cpu":
                require_compiler("planner.compile")
            # One graph per shape: with symbolic shapes the products of small networks are slower.
            self._score = torch.compile(self._score, dynamic=False)

    @torch.no_grad()
    def plan(
        self,
        state: Tensor,
        *,
        parameters: Tensor | None = None,
        mean: Tensor | None = None,
        is_init: Tensor | None = None,
        proposals: Tensor | None = None,
        terminal_value: TerminalValue | None = None,
        discount: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> Plan:
        """Plan from every state.

        Args:
            state: model states ``[batch, state]``.
            parameters: cost parameters ``[batch, candidate, parameter]``; none means one candidate.
            mean: warm start ``[batch, horizon, action]``, already shifted (see :meth:`shift`).
            is_init: ``[batch]`` or ``[batch, 1]``; where true the warm start is dropped.
            proposals: sequences that take part in every iteration ``[batch, 1 or candidate, p, horizon, action]``.
            terminal_value: value of the last state (a return), subtracted from the cost.
            discount: of every environment ``[batch]``; none means the config's.
            noise: standard noise ``[iteration, batch, candidate, num_samples, horizon, action]`` for fresh draws.

        Returns:
            A :class:`Plan` of batch size ``[batch, candidate]``.

        Raises:
            NonFiniteError: a cost is not finite (and ``drop_nonfinite`` is off, or no finite sample is left).
        """
        candidates = 1 if parameters is None else parameters.shape[1]
        mean, std = self.init(state.shape[0], candidates, mean, is_init)
        discounts = self.discounts if discount is None else self._powers(discount)
        if proposals is not None:
            proposals = proposals.expand(state.shape[0], candidates, *proposals.shape[2:])
        for iteration in range(self.config.num_iterations):
            drawn = None if noise is None else noise[iteration]
            actions = self.sample(mean, std, proposals, drawn)
            with matmul_precision(self.config.matmul_precision):
                states, charges = self._scored(state, actions, parameters, terminal_value, discounts)
            costs = self.total(charges, actions, mean, std)
            mean, std, weights = self.update(actions, costs, mean, std)
            self.model_steps += actions[..., 0].numel()
        return Plan(
            mean=mean,
            std=std,
            actions=actions,
            states=states,
            costs=costs,
            weights=weights,
            soft_value=soft_value(costs, self.config.temperature),
            effective_samples=effective_sample_size(weights),
            batch_size=[state.shape[0], candidates],
        )

    def init(self, batch: int, candidates: int, mean: Tensor | None, is_init: Tensor | None) -> tuple[Tensor, Tensor]:
        """The sampling distribution a plan starts from: mean and std ``[batch, candidate, horizon, action]``."""
        shape = (batch, candidates, self.config.horizon, self.action_dim)
        if mean is None:
            start = torch.zeros(shape, device=self.device)
        else:
            if is_init is not None:
                mean = torch.where(is_init.view(batch, 1, 1), 0.0, mean)
            start = mean.unsqueeze(1).expand(shape)
        return start, self.init_std.clamp_max(self.config.max_std).expand(shape)

    def sample(self, mean: Tensor, std: Tensor, proposals: Tensor | None, noise: Tensor | None) -> Tensor:
        """Action sequences ``[batch, candidate, sample, horizon, action]`` inside the bounds.

        The order is: proposals, the mean, samples around zero, samples around the mean.
        """
        config = self.config
        batch, candidates, horizon, action = mean.shape
        shape = (batch, candidates, config.num_samples, horizon, action)
        noise = self.noise(shape, self.device) if noise is None else noise
        num_proposals = 0 if proposals is None else proposals.shape[2]
        fixed = num_proposals + config.include_mean
        if fixed + config.num_zero_mean > config.num_samples:
            raise UserError(
                f"{num_proposals} proposals do not fit into planner.num_samples={config.num_samples}: raise num_samples"
            )
        spread = noise * std.unsqueeze(2)
        spread[:, :, :fixed] = 0.0
        actions = spread + mean.unsqueeze(2)
        if config.num_zero_mean:
            zero = slice(fixed, fixed + config.num_zero_mean)
            actions[:, :, zero] = spread[:, :, zero]
        if proposals is not None:
            actions[:, :, :num_proposals] = proposals
        return torch.clamp(actions, self.low, self.high)

    def rollout(self, state: Tensor, actions: Tensor) -> Tensor:
        """Model trajectories ``[batch, candidate, sample, horizon + 1, state]`` of ``state [batch, state]``."""
        state = state.view(state.shape[0], 1, 1, -1).expand(*actions.shape[:3], state.shape[-1])
        states = [state]
        for action in actions.unbind(-2):
            states.append(self.dynamics.step(states[-1], action))
        return stack_time(states)

    def evaluate(
        self,
        states: Tensor,
        actions: Tensor,
        parameters: Tensor | None = None,
        terminal_value: TerminalValue | None = None,
        discounts: Tensor | None = None,
    ) -> Tensor:
        """What every step and the last state are charged ``[batch, candidate, sample, horizon + 1]``, discounted.

        Nothing is charged after a termination.

        Args:
            states: trajectories ``[batch, candidate, sample, horizon + 1, state]``.
            actions: ``[batch, candidate, sample, horizon, action]``.
            parameters: cost parameters ``[batch, candidate, parameter]``.
            terminal_value: value of the last state, a return.
            discounts: factor of every step and of the last state, ``[..., horizon + 1]``; none means the config's.
        """
        discounts = self.discounts if discounts is None else discounts
        states, parameters = states.movedim(-2, 0), None if parameters is None else parameters.unsqueeze(2)
        now, then, last = states[:-1], states[1:], states[-1]
        running, terminated = self._judge(now, actions.movedim(-2, 0), then, parameters)
        final = self.cost.terminal(last, parameters)
        if terminal_value is not None:
            final = final - terminal_value(last)
        charges = torch.cat([running, final.unsqueeze(0)]).movedim(0, -1) * discounts
        return until_termination(charges, None if terminated is None else terminated.movedim(0, -1))

    def total(self, charges: Tensor, actions: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Cost of every sample ``[batch, candidate, sample]``: its ``charges`` and its distance from the mean.

        Raises:
            NonFiniteError: as :meth:`plan` says.
        """
        cost = charges.sum(-1)
        if self.config.control_cost:
            # Samples around the mean are importance-weighted by their distance from the uncontrolled distribution.
            pull = (mean / std.square()).unsqueeze(2) * (actions - mean.unsqueeze(2))
            cost = cost + self.config.control_cost * self.config.temperature * pull.sum((-2, -1))
        return self._require_finite(cost, charges)

    def update(self, actions: Tensor, costs: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """New mean, std ``[batch, candidate, horizon, action]`` and weights ``[batch, candidate, sample]``."""
        config = self.config
        weights = mppi_weights(costs, config.temperature, config.num_elites)
        mean = torch.einsum("bmk,bmkha->bmha", weights, actions)
        if config.adapt_std:
            variance = torch.einsum("bmk,bmkha->bmha", weights, (actions - mean.unsqueeze(2)).square())
            std = variance.sqrt().clamp(config.min_std, config.max_std)
        return mean, std, weights

    def select(self, plan: Plan, *, greedy: bool = False) -> Tensor:
        """First action of every candidate ``[batch, candidate, action]``: the mean, or a sample drawn by weight.

        Args:
            plan: what was planned.
            greedy: take the sample of the largest weight instead of drawing one.
        """
        if not self.config.stochastic:
            return plan.mean[..., 0, :]
        batch, candidates, samples = plan.weights.shape
        weights = plan.weights.view(-1, samples)
        index = weights.argmax(-1, keepdim=True) if greedy else torch.multinomial(weights, 1)
        first = plan.actions[..., 0, :]
        chosen = index.view(batch, candidates, 1, 1).expand(-1, -1, 1, first.shape[-1])
        return first.gather(2, chosen).squeeze(2)

    def shift(self, mean: Tensor) -> Tensor:
        """A warm start for the next step: drop the first action of ``[..., horizon, action]``, fill the end."""
        last = mean[..., -1:, :]
        return torch.cat([mean[..., 1:, :], last if self.config.repeat_last else torch.zeros_like(last)], dim=-2)

    def _powers(self, discount: Tensor) -> Tensor:
        """Discounts ``[batch]`` -> factors of every step ``[batch, 1, 1, horizon + 1]``."""
        return discount.view(-1, 1, 1, 1) ** torch.arange(self.config.horizon + 1, device=self.device)

    def _choose_judge(self) -> Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor | None]]:
        if isinstance(self.cost, Judge) and self.cost is self.dynamics:
            return self.cost.judge
        ends = self.dynamics.terminated if isinstance(self.dynamics, Terminating) else None
        return lambda now, actions, then, parameters: (
            self.cost.running(now, actions, then, parameters),
            None if ends is None else ends(now, actions, then),
        )

    def _scored(
        self,
        state: Tensor,
        actions: Tensor,
        parameters: Tensor | None,
        terminal_value: TerminalValue | None,
        discounts: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """``_score``; of so many environments at a time as a CPU's caches hold, where it is one."""
        numbers = actions[..., 0, 0].numel() * state.shape[-1]
        parts = min(math.ceil(numbers / SCORED_ON_CPU), len(state)) if self.device.type == "cpu" else 1
        if parts == 1:
            return self._score(state, actions, parameters, terminal_value, discounts)
        size = math.ceil(len(state) / parts)
        # Discounts and parameters that all environments share have no dimension for them.
        cut = [repeat(x) if x is None or x.ndim == 1 else x.split(size) for x in (parameters, discounts)]
        found = [
            self._score(z, u, of_part, terminal_value, factors)
            for z, u, of_part, factors in zip(state.split(size), actions.split(size), *cut, strict=False)
        ]
        states, charges = zip(*found, strict=True)
        return torch.cat(states), torch.cat(charges)

    def _rolled_out_and_evaluated(
        self,
        state: Tensor,
        actions: Tensor,
        parameters: Tensor | None,
        terminal_value: TerminalValue | None,
        discounts: Tensor,
    ) -> tuple[Tensor, Tensor]:
        states = self.rollout(state, actions)
        return states, self.evaluate(states, actions, parameters, terminal_value, discounts)

    def _require_finite(self, cost: Tensor, charges: Tensor) -> Tensor:
        finite = torch.isfinite(cost)
        if finite.all():
            return cost
        if self.config.drop_nonfinite and cast(Tensor, finite.any(-1)).all():
            return cost.masked_fill(~finite, torch.inf)
        bad = (~torch.isfinite(charges)).nonzero()
        if len(bad) == 0:
            raise NonFiniteError("planner cost", "the sum over the horizon overflows")
        batch, candidate, sample, step = bad[0].tolist()
        raise NonFiniteError(
            "planner cost", f"environment {batch}, candidate {candidate}, sample {sample}, step {step}"
        )
