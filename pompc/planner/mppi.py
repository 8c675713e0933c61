"""Batched planner: model predictive path integral control (Williams et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from pompc.models.protocols import Cost, Dynamics, TerminalValue
from pompc.planner import inputs
from pompc.planner.charge import Charge, finished
from pompc.planner.config import MPPIConfig
from pompc.planner.covariance import make_noise
from pompc.planner.depths import make_scorer
from pompc.planner.draws import Draws
from pompc.planner.importance import Importance
from pompc.planner.limits import make_limits
from pompc.planner.plan import Callback, Iteration, Plan, draw
from pompc.planner.scoring import Scorer
from pompc.planner.temperature import make_temperature
from pompc.planner.weights import mppi_weights


class MPPI:
    """Plan for many environments, many candidates of cost parameters and many samples in one batch.

    A planner variant overrides :meth:`init`, :meth:`sample` or :meth:`update`; :meth:`plan` loops them. The planner
    keeps no state between plans: the warm start is an argument, so planning is batched over environments.

    Args:
        config: options.
        dynamics: the model to roll out; it may also end episodes (``Terminating``) and have constraints (``Constrained``).
        cost: the cost to minimise; it may be the same object as the dynamics.
        action_dim: size of an action.
        low: lower bound of the actions, a number or ``[action]``.
        high: upper bound of the actions.
        max_rate: largest change of the action per step, a number or ``[action]``; ``None`` for no limit.
        max_acceleration: largest change of that change per step.
        device: device of the plans.
        dtype: dtype of the plans, that of the model: ``torch.float64``, for example.
        generator: source of all random numbers, on ``device``; ``None`` takes torch's global random state.

    Attributes:
        rest: the action that plans begin with ``[action]``: zero, or the middle of bounds that do not contain zero.
        charge: rolls samples out and charges them; the only place that holds the scorer and the count of model steps.
        checks: whether inputs and costs must be finite; a graph for another runtime cannot ask.

    Raises:
        UserError: ``init_std``, ``init_covariance`` or a bound does not fit the action, ``low`` is above ``high``,
            ``dtype`` is no floating point type, ``compile`` finds no C++ compiler, or an option needs margins.
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
        max_rate: float | Tensor | None = None,
        max_acceleration: float | Tensor | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        generator: torch.Generator | None = None,
    ) -> None:
        inputs.require_floating(dtype)
        self.config, self.action_dim = config, action_dim
        self.device, self.dtype, self.generator = torch.device(device), dtype, generator
        self.low, self.high = (bound.to(self.device) for bound in inputs.bounds(low, high, action_dim, dtype))
        self.rest = inputs.rest(self.low, self.high)
        self.limits = make_limits(self.low, self.high, self.rest, max_rate, max_acceleration)
        self._door = inputs.Door(config, action_dim, self.device, dtype)
        self.charge = Charge(config, make_scorer(config, dynamics, cost, self.device, dtype))
        self.noise, init_std, correlation = make_noise(config, action_dim, dtype)
        self.init_std = init_std.to(self.device)
        self.importance, self._second = None, self.rest
        if config.control_cost:  # the samples around zero are those of the base
            self.importance = Importance(config, self.noise.covariance(config.horizon), self.device, dtype, correlation)
            self._second = torch.zeros_like(self.rest)
        self.temperature, self.checks = make_temperature(config), True
        self._draw = Draws(self, traceable=type(self).sample is MPPI.sample)

    @property
    def scorer(self) -> Scorer:
        """What rolls samples out and sums their costs."""
        return self.charge.scorer

    @property
    def dynamics(self) -> Dynamics:
        """The model to roll out."""
        return self.scorer.dynamics

    @property
    def model_steps(self) -> int:
        """Steps of the dynamics so far."""
        return self.charge.steps

    @model_steps.setter
    def model_steps(self, steps: int) -> None:
        """Set the count."""
        self.charge.steps = steps

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
        first: Tensor | None = None,
        noise: Tensor | None = None,
        previous: Tensor | None = None,
        margins: bool = False,
        callback: Callback | None = None,
        states: bool = True,
    ) -> Plan:
        """Plan from every state.

        Shapes, devices and types are compared before anything is computed; numbers become those of :attr:`dtype`.

        Args:
            state: model states ``[batch, state]``; with several rollouts also one for each ``[batch, rollout, state]``.
            parameters: cost parameters ``[batch, candidate, parameter]``; ``None`` means one candidate.
            mean: warm start ``[batch, horizon, action]``, already shifted (see :meth:`shift`).
            is_init: drops the warm start of an environment, bool ``[batch]`` or ``[batch, 1]``.
            proposals: sequences that take part in every iteration ``[batch, 1 or candidate, p, horizon, action]``.
            terminal_value: value of the last state (a return), subtracted from the cost.
            discount: discount of every environment ``[batch]`` or ``[batch, 1]``; ``None`` takes the config's.
            first: first action of every sample ``[batch, action]``: ``soft_value`` is the cost of beginning with it.
            noise: standard noise ``[iteration, batch, candidate, num_samples, horizon, action]``; ``None`` draws it.
            previous: the actions applied last, the newest at the end ``[batch, past, action]``: the limits of change and
                the cost of change begin there. ``None`` means at rest, and no cost of the first change.
            margins: measure the margins of the samples even if no option needs them.
            callback: called after every iteration; it ends the plan by ``True``.
            states: keep the samples' trajectories. A plan without them needs less memory, a compiled one much less time.

        Returns:
            A :class:`Plan` of batch size ``[batch, candidate]``.

        Raises:
            UserError: an argument has a wrong shape, type or device, there are too many proposals, or no margins.
            NonFiniteError: an argument is not finite, or a cost is not finite and ``drop_nonfinite`` is off or no finite
                sample is left.
        """
        given = self._door(
            state=state,
            parameters=parameters,
            mean=mean,
            is_init=is_init,
            proposals=proposals,
            discount=discount,
            first=first,
            noise=noise,
            previous=previous,
        )
        mean, std = self.init(len(given.state), given.candidates, given.mean, given.is_init)
        probe = inputs.Probe(given, mean) if self.checks else None
        for iteration in range(self.config.num_iterations):
            mean, proposals = self._reachable(mean, std, given.proposals)
            drawn, actions = self._draw(given, iteration, mean, std, proposals)
            scored = self.charge(given, actions, terminal_value, probe, margins, states)
            mean, std, weights, log_ratio = self._updated(given, drawn, actions, scored.weighed, mean, std, proposals)
            seen = Iteration(iteration, mean, std, actions, scored.states, scored.costs, weights)
            if callback is not None and callback(seen):
                break
        mean = self.charge.executable(given, mean, actions, scored, terminal_value)
        return finished(mean, std, actions, scored, weights, log_ratio, self.temperature)

    def init(self, batch: int, candidates: int, mean: Tensor | None, is_init: Tensor | None) -> tuple[Tensor, Tensor]:
        """Start the sampling distribution of a plan.

        Args:
            batch: number of environments.
            candidates: number of candidates.
            mean: warm start ``[batch, horizon, action]``; ``None`` starts from :attr:`rest`.
            is_init: starts an environment from rest, bool ``[batch]``.

        Returns:
            Mean and standard deviation ``[batch, candidate, horizon, action]``.
        """
        shape = (batch, candidates, self.config.horizon, self.action_dim)
        std = self.init_std.expand(shape)
        if mean is None:
            return self.rest.expand(shape).contiguous(), std
        if is_init is not None:
            mean = torch.where(is_init.view(batch, 1, 1), self.rest, mean)
        return mean.unsqueeze(1).expand(shape), std

    def sample(self, mean: Tensor, std: Tensor, proposals: Tensor | None, noise: Tensor | None) -> Tensor:
        """Draw action sequences, not yet clamped to the bounds.

        Args:
            mean: ``[batch, candidate, horizon, action]``.
            std: standard deviation ``[batch, candidate, horizon, action]``.
            proposals: sequences to include ``[batch, candidate, p, horizon, action]``.
            noise: standard noise ``[batch, candidate, sample, horizon, action]``; ``None`` draws it.

        Returns:
            ``[batch, candidate, sample, horizon, action]``, in this order: proposals, the mean, samples around rest (with
            a control cost around zero), samples around the mean.
        """
        config = self.config
        shape = (*mean.shape[:2], config.num_samples, *mean.shape[2:])
        noise = self.noise(shape, self.device, self.dtype, self.generator) if noise is None else noise
        fixed = config.include_mean + (0 if proposals is None else proposals.shape[2])
        deviation = noise * std.unsqueeze(2)
        deviation[:, :, :fixed] = 0.0
        actions = deviation + mean.unsqueeze(2)
        if config.num_zero_mean:
            zero = slice(fixed, fixed + config.num_zero_mean)
            actions[:, :, zero] = deviation[:, :, zero] + self._second
        if proposals is not None:
            actions[:, :, : proposals.shape[2]] = proposals
        return actions

    def update(
        self, actions: Tensor, costs: Tensor, mean: Tensor, std: Tensor, log_ratio: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Weight the samples by their costs and move the sampling distribution to them.

        Args:
            actions: samples to average ``[batch, candidate, sample, horizon, action]``. They are clamped; with a control
                cost they are not, because the densities are those of the drawn samples.
            costs: costs of the samples ``[batch, candidate, sample]``.
            mean: the samples' mean ``[batch, candidate, horizon, action]``.
            std: the samples' standard deviation ``[batch, candidate, horizon, action]``.
            log_ratio: logarithm of the importance ratios ``[batch, candidate, sample]``; ``None`` without a control cost.

        Returns:
            New mean and standard deviation ``[batch, candidate, horizon, action]``, weights
            ``[batch, candidate, sample]``.
        """
        config = self.config
        weights = mppi_weights(costs, self.temperature(costs, log_ratio), config.num_elites, log_ratio)
        mean = torch.einsum("bmk,bmkha->bmha", weights, actions)
        if config.adapt_std:
            variance = torch.einsum("bmk,bmkha->bmha", weights, (actions - mean.unsqueeze(2)).square())
            std = variance.sqrt().clamp(config.min_std, config.max_std)
        return mean, std, weights

    def select(self, plan: Plan, *, greedy: bool = False) -> Tensor:
        """Select the first action of every candidate: that of the mean, or with ``stochastic`` that of a sample.

        Args:
            plan: the plan.
            greedy: take the sample of the largest weight instead of drawing one by its weight.

        Returns:
            ``[batch, candidate, action]``.
        """
        if not self.config.stochastic:
            return plan.mean[..., 0, :]
        drawn = draw(plan, self.generator, greedy=greedy)
        return drawn if self.charge.hard is None else self.charge.hard.selected(drawn, plan)

    def shift(self, mean: Tensor) -> Tensor:
        """Drop the first action of a plan: the result is the warm start of the next one.

        Args:
            mean: a plan ``[..., any, action]``. One of another horizon is cut, or filled as its last step is.

        Returns:
            ``[..., horizon, action]``.
        """
        left = mean[..., 1 : 1 + self.config.horizon, :]
        last = mean[..., -1:, :] if self.config.repeat_last else self.rest.expand_as(mean[..., -1:, :])
        return torch.cat([left, *[last] * (self.config.horizon - left.shape[-2])], dim=-2)

    def rollout(self, state: Tensor, actions: Tensor) -> Tensor:
        """Roll the dynamics out; see :meth:`Scorer.rollout`."""
        return self.scorer.rollout(state, actions)

    def _updated(
        self,
        given: inputs.Inputs,
        drawn: Tensor,
        actions: Tensor,
        costs: Tensor,
        mean: Tensor,
        std: Tensor,
        proposals: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Update with importance ratios if a control cost needs them; return what :meth:`update` does, and the ratios."""
        if self.importance is None:
            return *self.update(actions, costs, mean, std), None
        log_ratio = self.importance.log_ratio(drawn, mean, std, proposals)
        mean, std, weights = self.update(drawn, costs, mean, std, log_ratio)
        return self.limits(mean.unsqueeze(2), given.previous).squeeze(2), std, weights, log_ratio

    def _reachable(self, mean: Tensor, std: Tensor, proposals: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Project mean and proposals on the range of the noise, if a control cost needs their densities."""
        if self.importance is None:
            return mean, proposals
        mean = self.importance.reachable(mean.unsqueeze(2), std).squeeze(2)
        return mean, None if proposals is None else self.importance.reachable(proposals, std)
