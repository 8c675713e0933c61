"""A linear system under constraints and a disturbance: the bench on which learned MPC can be compared with closed forms.

System, cost, bounds and the planner's wrong model are those of a published example: see :mod:`.linear_closed_form`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.wrappers import TimeLimit
from PIL import Image, ImageDraw
from torch import Tensor

from pompc.config.options import Finite, NonNegativeFloat, Options, PositiveInt, PositiveShare, Share
from pompc.environment import EnvironmentFamily
from pompc.errors import UserError

from .linear_closed_form import ACTION_WEIGHT, PLANT, STATE_WEIGHT, WRONG, LinearQuadratic, TerminalSet

Point = tuple[Finite, Finite]
ROUNDED = 1 - 1e-4  # the model computes in float32


@dataclass(frozen=True, kw_only=True)
class LinearConfig(Options):
    """Options of the linear system.

    Attributes:
        low: lower bounds of both states.
        high: upper bounds of both states.
        violation_weight: cost of a bound's violation by 1 (times 1/2); 0 leaves the states unconstrained.
        disturbance: the first state gets a draw from U(-disturbance, 0) in every step.
        start: the first state of an episode.
        start_range: half the width of a box around ``start`` that the first state is drawn from.
        time_limit: steps until the episode is truncated. The plant is unstable, so that they are short.
        mismatch: how wrong the planner's A and B are: 0 exact, 1 the wrong model of the published example, linear between.
        planner_offset: constant that the planner's model adds to the states in every step; ``[-0.05, 0]`` is the mean of
            the default disturbance, which the model leaves out.
        terminal_discount: discount of the problem whose optimal cost is the planner's terminal cost; the published example
            takes 1, :class:`LinearModel` has the equation.
    """

    section = "env"

    low: Point = (0.0, -1.0)
    high: Point = (1.0, 1.0)
    violation_weight: NonNegativeFloat = 100.0
    disturbance: NonNegativeFloat = 0.1
    start: Point = (0.0, 0.15)
    start_range: NonNegativeFloat = 0.0
    time_limit: PositiveInt = 50
    mismatch: Share = 0.0
    planner_offset: Point = (0.0, 0.0)
    terminal_discount: PositiveShare = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(low >= high for low, high in zip(self.low, self.high, strict=True)):
            raise UserError(f"env.low={list(self.low)} is not below env.high={list(self.high)}: lower env.low")


def closed_form(config: LinearConfig, discount: float) -> LinearQuadratic:
    """Solve the environment without bounds, for the expected discounted cost under its disturbance.

    Args:
        config: the family's options; of them the disturbance counts.
        discount: of cost per step, in (0, 1].

    Raises:
        UserError: ``discount`` is out of range, or 1 with a disturbance, whose expected cost is infinite.
    """
    width = config.disturbance
    return LinearQuadratic.solve(PLANT, discount, mean=(-width / 2, 0.0), covariance=((width**2 / 12, 0.0), (0.0, 0.0)))


class LinearEnv(gymnasium.Env):
    """One linear system ``x' = A x + B u + (w, 0)``.

    Observation ``[2]``: the states. Action ``[1]``: the control u in [-1, 1]. Reward of a step: minus the cost
    ``(x1^2 + x2^2 + u^2 / 2 + violation_weight * violation) / 2`` of the state that the step left and of its control;
    ``violation`` is how far the state is out of its bounds, summed. ``cost`` is 1 in a step that ends out of bounds,
    ``success`` is to have stayed within them to the time limit.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (gymnasium's own convention)
    SIZE = 320  # pixels

    def __init__(self, config: LinearConfig, render_mode: str | None = None) -> None:
        self.config = config
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
        self.low, self.high = np.array(config.low), np.array(config.high)
        self.a, self.b = PLANT.matrices
        self.trail = [np.zeros(2)]
        self.kept = True

    @property
    def state(self) -> np.ndarray:
        """Both states ``[2]``, float64."""
        return self.trail[-1]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Start at ``start``, or near it."""
        super().reset(seed=seed)
        reach = self.config.start_range
        self.trail = [np.array(self.config.start) + self.np_random.uniform(-reach, reach, 2)]
        self.kept = True
        return self.state.astype(np.float32), {"success": 0.0, "cost": 0.0}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Apply the control ``action [1]`` (clipped to +-1)."""
        before, control = self.state, float(np.clip(action[0], -1.0, 1.0))
        drift = np.array([self.np_random.uniform(-self.config.disturbance, 0.0), 0.0])
        self.trail.append(self.a @ before + self.b[:, 0] * control + drift)
        violated = self._violation(self.state) > 0
        self.kept = self.kept and not violated
        success = self.kept and len(self.trail) > self.config.time_limit
        cost = STATE_WEIGHT * (before @ before) + ACTION_WEIGHT * control**2
        cost += 0.5 * self.config.violation_weight * self._violation(before)
        info = {"success": float(success), "cost": float(violated)}
        return self.state.astype(np.float32), -float(cost), False, False, info

    def render(self) -> np.ndarray:
        """Picture ``[size, size, 3]`` uint8 of the plane of both states: bounds, axes, the episode so far."""
        image = Image.new("RGB", (self.SIZE, self.SIZE), (235, 235, 235))
        draw = ImageDraw.Draw(image)
        (left, bottom), (right, top) = self._pixel(self.low), self._pixel(self.high)
        draw.rectangle([left, top, right, bottom], fill="white", outline="tomato", width=2)
        x, y = self._pixel(np.zeros(2))
        draw.line([x, 0, x, self.SIZE], fill="silver")
        draw.line([0, y, self.SIZE, y], fill="silver")
        points = [self._pixel(state) for state in self.trail]
        draw.line(points, fill=(0, 150, 150), width=2)
        x, y = points[-1]
        draw.ellipse([x - 6, y - 6, x + 6, y + 6], fill=(204, 204, 0))
        return np.asarray(image)

    def _pixel(self, state: np.ndarray) -> tuple[float, float]:
        """Find a state's place; one far out of bounds lies on the picture's border."""
        part = np.clip((state - self.low) / (self.high - self.low), -0.5, 1.5)
        return self.SIZE * (part[0] + 0.5) / 2, self.SIZE * (1.5 - part[1]) / 2

    def _violation(self, state: np.ndarray) -> float:
        return float(np.maximum(0.0, self.low - state).sum() + np.maximum(0.0, state - self.high).sum())


class LinearModel:
    """The planner's model: the plant without its disturbance, made wrong by ``mismatch`` and ``planner_offset``.

    State ``[2]``: the observation. The stage cost is the environment's. The terminal cost is ``x' P x`` with the solution P
    of the Riccati equation of the model's own A and B at ``terminal_discount``, and the cost of violations. With that
    discount in ``planner.discount``, no bounds and no offset, a plan of any horizon has the optimal cost.

    High-level action ``[7]``: weights of x1^2, x2^2 and u^2, slopes of x1 and x2, weight of violations, back-off from the
    bounds. At the centre of its box (nominal) the cost is the environment's.
    """

    state_dim = 2
    action_dim = 1
    parameter_dim = 7
    SLOPE, BACK_OFF = 1.0, 0.2  # half-widths of the box

    def __init__(self, config: LinearConfig, device: torch.device | str = "cpu") -> None:
        self.config = config
        self._system = system = PLANT.towards(WRONG, config.mismatch)
        self._limits = (config.planner_offset, config.low, config.high)
        self.a, self.b = (torch.tensor(m, dtype=torch.float32, device=device) for m in system.matrices)
        self.p = torch.tensor(LinearQuadratic.solve(system, config.terminal_discount).p, dtype=torch.float32).to(device)
        self.offset, self.low, self.high = (
            torch.tensor(values, dtype=torch.float32, device=device) for values in self._limits
        )
        self.nominal = torch.zeros(self.parameter_dim, device=device)

    def state(self, observation: Tensor) -> Tensor:
        """``[..., 2]`` -> ``[..., 2]``: they are the same."""
        return observation

    def observe(self, state: Tensor) -> Tensor:
        """``[..., 2]`` -> ``[..., 2]``: they are the same."""
        return state

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """Predict one step: ``[..., 2]``, ``[..., 1]`` -> ``[..., 2]``."""
        x1, x2, u = state[..., 0], state[..., 1], action[..., 0].clamp(-1.0, 1.0)
        rows = (self.a[i, 0] * x1 + self.a[i, 1] * x2 + self.b[i, 0] * u + self.offset[i] for i in range(2))
        return torch.stack(tuple(rows), -1)

    def terminated(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Never: -> bool ``[...]``."""
        return torch.zeros_like(next_state[..., 0], dtype=torch.bool)

    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """The environment's reward, exactly: -> ``[...]``."""
        return -self.running(state, action, next_state, None)

    def margins(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Distances of the next state to its bounds, at least 0 within them: -> ``[..., 4]``, the lower bounds first."""
        return torch.cat([next_state - self.low, self.high - next_state], -1)

    @cached_property
    def _rest(self) -> tuple[Tensor, Tensor, Tensor, float, float]:
        """Centre ``[2]``, gain ``[2]``, P ``[2, 2]``, control and level of the terminal set."""
        found = TerminalSet.solve(self._system, *(np.array(x) for x in self._limits))
        centre, gain, p = (
            torch.tensor(x, dtype=torch.float32, device=self.a.device) for x in (found.centre, found.gain[0], found.p)
        )
        return centre, gain, p, found.control, found.level * ROUNDED

    def brake(self, state: Tensor) -> Tensor:
        """Steer to an equilibrium within the bounds, by the optimal linear feedback: ``[..., 2]`` -> ``[..., 1]``.

        Raises:
            UserError: there is no such equilibrium.
        """
        centre, gain, _, control, _ = self._rest
        return (control + ((state - centre) * gain).sum(-1, keepdim=True)).clamp(-1.0, 1.0)

    def at_rest(self, state: Tensor) -> Tensor:
        """Whether braking keeps the states in their bounds for ever without clipping the control: -> bool ``[...]``."""
        centre, _, p, _, level = self._rest
        x1, x2 = (state - centre).unbind(-1)
        return p[0, 0] * x1.square() + 2 * p[0, 1] * x1 * x2 + p[1, 1] * x2.square() <= level

    def parameters(self, high_action: Tensor) -> Tensor:
        """``[..., 7]`` in [-1, 1] -> weights of x1^2, x2^2, u^2, two slopes, weight of violations, back-off.

        Weights are those of the environment at the centre of their boxes and change by a factor of 10 to either side.
        Slopes lie in +-1; the back-off from all bounds lies in +-0.2 and is negative to overstep them.
        """
        x1, x2, u, slope1, slope2, violation, back_off = high_action.clamp(-1.0, 1.0).unbind(-1)
        weights = (STATE_WEIGHT * 10.0**x1, STATE_WEIGHT * 10.0**x2, ACTION_WEIGHT * 10.0**u)
        slopes = (self.SLOPE * slope1, self.SLOPE * slope2)
        solid = 0.5 * self.config.violation_weight * 10.0**violation
        return torch.stack([*weights, *slopes, solid, self.BACK_OFF * back_off], -1)

    def aim(self, state: Tensor) -> Tensor:
        """``[..., 2]`` -> the high-level action ``[..., 7]`` whose slopes put the least stage cost at a state.

        Weights are nominal, and so the terminal cost still pulls to the origin.
        """
        slopes = (-2 * STATE_WEIGHT / self.SLOPE * state).clamp(-1.0, 1.0)
        weights, rest = (self.nominal[part].expand(*state.shape[:-1], -1) for part in (slice(3), slice(5, 7)))
        return torch.cat([weights, slopes, rest], -1)

    def running(self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None) -> Tensor:
        """Charge the state that the step leaves, and its control: -> ``[...]``."""
        phi = self.parameters(self.nominal) if parameters is None else parameters
        x1, x2, u = state[..., 0], state[..., 1], action[..., 0].clamp(-1.0, 1.0)
        quadratic = phi[..., 0] * x1.square() + phi[..., 1] * x2.square() + phi[..., 2] * u.square()
        return quadratic + phi[..., 3] * x1 + phi[..., 4] * x2 + self._solid(state, phi)

    def terminal(self, state: Tensor, parameters: Tensor | None) -> Tensor:
        """Charge the last state with ``x' P x`` and its violations: -> ``[...]``."""
        phi = self.parameters(self.nominal) if parameters is None else parameters
        x1, x2 = state[..., 0], state[..., 1]
        to_go = self.p[0, 0] * x1.square() + 2 * self.p[0, 1] * x1 * x2 + self.p[1, 1] * x2.square()
        return to_go + self._solid(state, phi)

    def _solid(self, state: Tensor, phi: Tensor) -> Tensor:
        """Cost of being out of the bounds moved inwards by the back-off: ``[...]``."""
        over = (self.low - state).maximum(state - self.high) + phi[..., 6:7]
        return phi[..., 5] * over.clamp(min=0.0).sum(-1)


class Linear(EnvironmentFamily):
    """Hold an unstable linear system in its bounds; ``success`` is never leaving them, ``cost`` counts steps outside."""

    Config = LinearConfig
    info_keys = ("success", "cost")
    terminates = False

    def make(self, *, render_mode: str | None = None) -> gymnasium.Env:
        """Make one system with its time limit."""
        return TimeLimit(LinearEnv(self.config, render_mode), self.config.time_limit)

    def task_model(self, device: torch.device | str = "cpu") -> LinearModel:
        """Make the planner's model, with the configured errors."""
        return LinearModel(self.config, device)
