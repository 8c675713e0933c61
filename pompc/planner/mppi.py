"""Batched planner: model predictive path integral control (Williams et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from pompc.models.protocols import Cost, Dynamics, TerminalValue
from pompc.planner import inputs
from pompc.planner.config import MPPIConfig
from pompc.planner.constraints import Hard
from pompc.planner.importance import Importance
from pompc.planner.noise import NOISES
from pompc.planner.plan import Plan
from pompc.planner.scoring import Scorer
from pompc.planner.weights import effective_sample_size, mppi_weights, soft_value


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
        device: device of the plans.

    Attributes:
        scorer: rolls samples out and sums their costs.
        model_steps: steps of the dynamics so far.

    Raises:
        UserError: ``init_std`` or a bound does not have the action's size, ``low`` is above ``high``, ``compile`` finds no
            C++ compiler, or the dynamics lack the margins that an option needs.
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
        self.action_dim = action_dim
        self.device = torch.device(device)
        self.low, self.high = (bound.to(self.device) for bound in inputs.bounds(low, high, action_dim))
        self.init_std = inputs.initial_std(config.init_std, action_dim).to(self.device)
        self._door = inputs.Door(config, action_dim, self.device)
        self.scorer = Scorer(config, dynamics, cost, self.device)
        self.noise = NOISES[config.noise](config)
        covariance = self.noise.covariance(config.horizon)
        self.importance = Importance(config, covariance, self.device) if config.control_cost else None
        self.hard = Hard(config) if config.hard else None
        self.model_steps = 0

    @property
    def dynamics(self) -> Dynamics:
        """The model to roll out."""
        return self.scorer.dynamics

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
        margins: bool = False,
    ) -> Plan:
        """Plan from every state.

        Shapes, devices and types are compared before anything is computed; numbers become float32.

        Args:
            state: model states ``[batch, state]``.
            parameters: cost parameters ``[batch, candidate, parameter]``; ``None`` means one candidate.
            mean: warm start ``[batch, horizon, action]``, already shifted (see :meth:`shift`).
            is_init: drops the warm start of an environment, bool ``[batch]`` or ``[batch, 1]``.
            proposals: sequences that take part in every iteration ``[batch, 1 or candidate, p, horizon, action]``.
            terminal_value: value of the last state (a return), subtracted from the cost.
            discount: discount of every environment ``[batch]`` or ``[batch, 1]``; ``None`` takes the config's.
            first: first action of every sample ``[batch, action]``: ``soft_value`` is the cost of beginning with it.
            noise: standard noise ``[iteration, batch, candidate, num_samples, horizon, action]``; ``None`` draws it.
            margins: measure the margins of the samples even if no option needs them.

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
        )
        mean, std = self.init(len(given.state), given.candidates, given.mean, given.is_init)
        probe = inputs.Probe(given, mean)
        for iteration in range(self.config.num_iterations):
            mean, proposals = self._reachable(mean, std, given.proposals)
            drawn = _pinned(self.sample(mean, std, proposals, given.noise_of(iteration)), given.first)
            actions = torch.clamp(drawn, self.low, self.high)
            scored = self.scorer(given, actions, terminal_value, probe, margins)
            self.model_steps += actions[..., 0].numel()
            scored = scored if self.hard is None else self.hard.drop(scored)
            mean, std, weights, log_ratio = self._updated(drawn, actions, scored.weighed, mean, std, proposals)
        if self.hard is not None:
            alone = self.scorer(given, mean.unsqueeze(2), terminal_value, None)
            self.model_steps += mean[..., 0].numel()
            mean = self.hard.executable(mean, alone, actions, scored)
        return Plan(
            mean=mean,
            std=std,
            actions=actions,
            states=scored.states,
            costs=scored.costs,
            weights=weights,
            soft_value=soft_value(scored.costs, self.config.temperature, log_ratio),
            effective_samples=effective_sample_size(weights),
            margin=scored.margin,
            batch_size=[len(given.state), given.candidates],
        )

    def init(self, batch: int, candidates: int, mean: Tensor | None, is_init: Tensor | None) -> tuple[Tensor, Tensor]:
        """Start the sampling distribution of a plan.

        Args:
            batch: number of environments.
            candidates: number of candidates.
            mean: warm start ``[batch, horizon, action]``; ``None`` starts from zero.
            is_init: starts an environment from zero, bool ``[batch]``.

        Returns:
            Mean and standard deviation ``[batch, candidate, horizon, action]``.
        """
        shape = (batch, candidates, self.config.horizon, self.action_dim)
        std = self.init_std.expand(shape)
        if mean is None:
            return torch.zeros(shape, device=self.device), std
        if is_init is not None:
            mean = torch.where(is_init.view(batch, 1, 1), 0.0, mean)
        return mean.unsqueeze(1).expand(shape), std

    def sample(self, mean: Tensor, std: Tensor, proposals: Tensor | None, noise: Tensor | None) -> Tensor:
        """Draw action sequences, not yet clamped to the bounds.

        Args:
            mean: ``[batch, candidate, horizon, action]``.
            std: standard deviation ``[batch, candidate, horizon, action]``.
            proposals: sequences to include ``[batch, candidate, p, horizon, action]``.
            noise: standard noise ``[batch, candidate, sample, horizon, action]``; ``None`` draws it.

        Returns:
            ``[batch, candidate, sample, horizon, action]``, in this order: proposals, the mean, samples around zero,
            samples around the mean.
        """
        config = self.config
        batch, candidates, horizon, action = mean.shape
        shape = (batch, candidates, config.num_samples, horizon, action)
        noise = self.noise(shape, self.device) if noise is None else noise
        num_proposals = 0 if proposals is None else proposals.shape[2]
        fixed = num_proposals + config.include_mean
        deviation = noise * std.unsqueeze(2)
        deviation[:, :, :fixed] = 0.0
        actions = deviation + mean.unsqueeze(2)
        if config.num_zero_mean:
            zero = slice(fixed, fixed + config.num_zero_mean)
            actions[:, :, zero] = deviation[:, :, zero]
        if proposals is not None:
            actions[:, :, :num_proposals] = proposals
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
        weights = mppi_weights(costs, config.temperature, config.num_elites, log_ratio)
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
        batch, candidates, samples = plan.weights.shape
        weights = plan.weights.view(-1, samples)
        index = weights.argmax(-1, keepdim=True) if greedy else torch.multinomial(weights, 1)
        first = plan.actions[..., 0, :]
        chosen = index.view(batch, candidates, 1, 1).expand(-1, -1, 1, first.shape[-1])
        drawn = first.gather(2, chosen).squeeze(2)
        return drawn if self.hard is None else self.hard.selected(drawn, plan)

    def shift(self, mean: Tensor) -> Tensor:
        """Drop the first action of a plan ``[..., horizon, action]``: the result is the warm start of the next plan."""
        last = mean[..., -1:, :]
        return torch.cat([mean[..., 1:, :], last if self.config.repeat_last else torch.zeros_like(last)], dim=-2)

    def rollout(self, state: Tensor, actions: Tensor) -> Tensor:
        """Roll the dynamics out; see :meth:`Scorer.rollout`."""
        return self.scorer.rollout(state, actions)

    def _updated(
        self, drawn: Tensor, actions: Tensor, costs: Tensor, mean: Tensor, std: Tensor, proposals: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Update with importance ratios if a control cost needs them; return what :meth:`update` does, and the ratios."""
        if self.importance is None:
            return *self.update(actions, costs, mean, std), None
        log_ratio = self.importance.log_ratio(drawn, mean, std, proposals)
        mean, std, weights = self.update(drawn, costs, mean, std, log_ratio)
        return torch.clamp(mean, self.low, self.high), std, weights, log_ratio

    def _reachable(self, mean: Tensor, std: Tensor, proposals: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Project mean and proposals on the range of the noise, if a control cost needs their densities."""
        if self.importance is None:
            return mean, proposals
        mean = self.importance.reachable(mean.unsqueeze(2), std).squeeze(2)
        return mean, None if proposals is None else self.importance.reachable(proposals, std)


def _pinned(actions: Tensor, first: Tensor | None) -> Tensor:
    """Let all samples ``[batch, candidate, sample, horizon, action]`` begin with ``first [batch, action]``, if given."""
    if first is not None:
        actions[..., 0, :] = first[:, None, None]
    return actions
