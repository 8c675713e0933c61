"""The shared batched planner: model predictive path integral control (Williams et al. 2017)."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from pompc.errors import NonFiniteError, UserError
from pompc.models.protocols import Cost, Dynamics, TerminalValue
from pompc.planner import inputs
from pompc.planner.config import MPPIConfig
from pompc.planner.importance import Importance
from pompc.planner.noise import NOISES
from pompc.planner.plan import Plan
from pompc.planner.scoring import Scoring
from pompc.planner.weights import effective_sample_size, mppi_weights, soft_value
from pompc.system.precision import matmul_precision


class MPPI(Scoring):
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
        UserError: ``init_std`` or a bound is not of the action's size, ``low`` is above ``high``, or ``compile`` finds no
            C++ compiler.
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
        super().__init__(config, dynamics, cost, torch.device(device))
        self.action_dim = action_dim
        self.low, self.high = (bound.to(self.device) for bound in inputs.bounds(low, high, action_dim))
        self.init_std = torch.as_tensor(config.init_std, dtype=torch.float32, device=self.device)
        if self.init_std.ndim and self.init_std.shape != (action_dim,):
            raise UserError(f"planner.init_std needs one number or {action_dim}, not {self.init_std.numel()}")
        self.noise = NOISES[config.noise](config)
        self.importance: Importance | None = None
        if config.control_cost:
            self.importance = Importance(config, self.noise.covariance(config.horizon), self.device)
        self._sizes = (
            ("iteration", config.num_iterations),
            ("num_samples", config.num_samples),
            ("horizon", config.horizon),
            ("action", action_dim),
        )
        self.model_steps = 0

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

        Shapes, devices and types are compared before anything is computed. Numbers of another type than float32 are
        converted.

        Args:
            state: model states ``[batch, state]``.
            parameters: cost parameters ``[batch, candidate, parameter]``; none means one candidate.
            mean: warm start ``[batch, horizon, action]``, already shifted (see :meth:`shift`).
            is_init: bool ``[batch]`` or ``[batch, 1]``; where true the warm start is dropped.
            proposals: sequences that take part in every iteration ``[batch, 1 or candidate, p, horizon, action]``.
            terminal_value: value of the last state (a return), subtracted from the cost.
            discount: of every environment ``[batch]`` or ``[batch, 1]``; none means the config's.
            noise: standard noise ``[iteration, batch, candidate, num_samples, horizon, action]`` for fresh draws.

        Returns:
            A :class:`Plan` of batch size ``[batch, candidate]``.

        Raises:
            UserError: an argument is not of the shape, the type or on the device that is needed.
            NonFiniteError: an argument is not finite, or a cost is not (and ``drop_nonfinite`` is off, or no finite sample
                is left).
        """
        given = inputs.checked(
            self._sizes,
            self.device,
            {
                "state": state,
                "parameters": parameters,
                "mean": mean,
                "is_init": is_init,
                "proposals": proposals,
                "discount": discount,
                "noise": noise,
            },
        )
        mean, std = self.init(len(given.state), given.candidates, given.mean, given.is_init)
        numbers = inputs.Numbers(given, mean)
        discounts = self.discounts if given.discount is None else self._powers(given.discount)
        for iteration in range(self.config.num_iterations):
            fresh = None if given.noise is None else given.noise[iteration]
            mean, proposals = self._reachable(mean, std, given.proposals)
            drawn = self.sample(mean, std, proposals, fresh)
            actions = torch.clamp(drawn, self.low, self.high)
            with matmul_precision(self.config.matmul_precision):
                states, charges = self._scored(given.state, actions, given.parameters, terminal_value, discounts)
            costs = self._finite_costs(charges, numbers)
            if self.importance is None:
                log_ratio = None
                mean, std, weights = self.update(actions, costs, mean, std)
            else:
                log_ratio = self.importance.log_ratio(drawn, mean, std, proposals)
                mean, std, weights = self.update(drawn, costs, mean, std, log_ratio)
                mean = torch.clamp(mean, self.low, self.high)
            self.model_steps += actions[..., 0].numel()
        return Plan(
            mean=mean,
            std=std,
            actions=actions,
            states=states,
            costs=costs,
            weights=weights,
            soft_value=soft_value(costs, self.config.temperature, log_ratio),
            effective_samples=effective_sample_size(weights),
            batch_size=[len(given.state), given.candidates],
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
        return start, self.init_std.expand(shape)

    def sample(self, mean: Tensor, std: Tensor, proposals: Tensor | None, noise: Tensor | None) -> Tensor:
        """Action sequences ``[batch, candidate, sample, horizon, action]``, not yet clamped to the bounds.

        The order is: proposals, the mean, samples around zero, samples around the mean.

        Raises:
            UserError: the proposals leave no room for the mean and the samples around zero.
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
        return actions

    def update(
        self, actions: Tensor, costs: Tensor, mean: Tensor, std: Tensor, log_ratio: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """New mean, std ``[batch, candidate, horizon, action]`` and weights ``[batch, candidate, sample]``.

        Args:
            actions: what is averaged ``[batch, candidate, sample, horizon, action]``: the clamped samples, or with a
                control cost the drawn ones, of which its densities speak.
            costs: of the samples ``[batch, candidate, sample]``.
            mean: they were drawn around ``[batch, candidate, horizon, action]``.
            std: spread ``[batch, candidate, horizon, action]``.
            log_ratio: logarithm of their importance ratios ``[batch, candidate, sample]``; none without a control cost.
        """
        config = self.config
        weights = mppi_weights(costs, config.temperature, config.num_elites, log_ratio)
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

    def _reachable(self, mean: Tensor, std: Tensor, proposals: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Mean and proposals; with a control cost, what the noise can make of them."""
        if self.importance is None:
            return mean, proposals
        mean = self.importance.reachable(mean.unsqueeze(2), std).squeeze(2)
        return mean, None if proposals is None else self.importance.reachable(proposals, std)

    def _finite_costs(self, charges: Tensor, numbers: inputs.Numbers) -> Tensor:
        """Cost of every sample ``[batch, candidate, sample]``; infinite for those that are dropped."""
        cost = charges.sum(-1)
        if math.isfinite(cost.sum() + numbers.probe):  # the one place where a plan waits for the device
            return cost
        numbers.name_the_nonfinite()
        finite = torch.isfinite(cost)
        if finite.all():  # it was their sum that overflowed
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
