"""Acrobot with a continuous torque: swing the tip up, with the exact dynamics as the planner's model.

The equations are gymnasium's ``Acrobot-v1`` ("book" dynamics of Sutton and Barto, one Runge-Kutta step of 0.2 s);
the torque is continuous; options add a goal that must be held and a danger disc.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from gymnasium.wrappers import TimeLimit
from PIL import Image, ImageDraw
from torch import Tensor

from pompc.config.options import Options, PositiveInt
from pompc.environment import EnvironmentFamily
from pompc.errors import UserError

from .acrobot_body import GRAVITY, MAX_SPEED, UPRIGHT_ENERGY, energy, swing, tip, tip_speed

DAMPING = 1.0  # N m per rad/s, of the braking torque


@dataclass(frozen=True)
class Goal:
    """A goal for the tip.

    Attributes:
        height: the tip must be more than this above the base joint [m]; at most 2.
        max_speed: both joints must turn slower than this [rad/s].
        steps: consecutive steps for which this must hold.
    """

    height: float
    max_speed: float
    steps: int


GOALS = {"line": Goal(height=1.0, max_speed=math.inf, steps=1), "hold": Goal(height=1.9, max_speed=2.0, steps=10)}


@dataclass(frozen=True, kw_only=True)
class AcrobotConfig(Options):
    """Options of the Acrobot.

    Attributes:
        goal: ``line`` (tip one link above the base, gymnasium's task) or ``hold`` (swing up and hold for 10 steps).
        danger: a disc ``(x, height, radius)`` [m] around the base joint's frame that the tip must not be in at the
            end of a step; ``[]`` is no disc.
        danger_penalty: what entering the disc costs, as a negative reward; the episode ends there.
        time_limit: steps until the episode is truncated.
    """

    section = "env"

    goal: Literal["line", "hold"] = "line"
    danger: tuple[float, ...] = ()
    danger_penalty: float = 100.0
    time_limit: PositiveInt = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.danger and (len(self.danger) != 3 or self.danger[2] <= 0):
            raise UserError(f"env.danger={list(self.danger)}: give [x, height, radius] with a positive radius, or []")


def in_goal(state: tuple, goal: Goal, xp: ModuleType) -> Any:
    """Whether the links reach ``goal`` in this step."""
    slow = (abs(state[2]) < goal.max_speed) & (abs(state[3]) < goal.max_speed)
    return (tip(state, xp)[1] > goal.height) & slow


def in_danger(state: tuple, danger: tuple[float, ...], xp: ModuleType) -> Any:
    """Whether the tip is in the disc ``danger`` (``(x, height, radius)``, or empty for no disc)."""
    x, height = tip(state, xp)
    if not danger:
        return x > math.inf  # false, in the shape of the state
    return (x - danger[0]) ** 2 + (height - danger[1]) ** 2 < danger[2] ** 2


class AcrobotEnv(gymnasium.Env):
    """One Acrobot, started near hanging (all four states uniform in +-0.1).

    Observation ``[7]``: cosine and sine of both angles, both speeds over their bounds (4 pi and 9 pi rad/s), and the
    part of the goal's holding time already done. Reward -1 per step, 0 in the step that solves the task,
    ``-danger_penalty`` in the step that enters the disc; both end the episode.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012 (gymnasium's own convention)
    SIZE = 320  # pixels

    def __init__(self, config: AcrobotConfig, render_mode: str | None = None) -> None:
        self.config = config
        self.goal = GOALS[config.goal]
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(-1, 1, (7,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
        self.state = (0.0, 0.0, 0.0, 0.0)
        self.held = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Start near hanging."""
        super().reset(seed=seed)
        self.state = tuple(self.np_random.uniform(-0.1, 0.1, 4))
        self.held = 0
        return self._observation(), {"success": 0.0, "cost": 0.0}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Apply the torque ``action [1]`` (clipped to +-1 N m) for 0.2 s."""
        torque = float(np.clip(action[0], -1.0, 1.0))
        self.state = swing(self.state, torque, np)
        self.held = self.held + 1 if in_goal(self.state, self.goal, np) else 0
        danger = bool(in_danger(self.state, self.config.danger, np))
        success = self.held >= self.goal.steps and not danger
        reward = -self.config.danger_penalty if danger else float(success) - 1.0
        info = {"success": float(success), "cost": float(danger)}
        return self._observation(), reward, success or danger, False, info

    def render(self) -> np.ndarray:
        """Picture ``[size, size, 3]`` uint8: links, goal height and danger disc."""
        image = Image.new("RGB", (self.SIZE, self.SIZE), "white")
        draw = ImageDraw.Draw(image)
        elbow = (math.sin(self.state[0]), -math.cos(self.state[0]))
        joints = [self._pixel(*point) for point in ((0.0, 0.0), elbow, tip(self.state, np))]
        draw.line([self._pixel(-2.2, self.goal.height), self._pixel(2.2, self.goal.height)], fill="black")
        if self.config.danger:
            x, height, radius = self.config.danger
            draw.ellipse([self._pixel(x - radius, height + radius), self._pixel(x + radius, height - radius)], "tomato")
        draw.line(joints, fill=(0, 150, 150), width=10)
        for x, y in joints:
            draw.ellipse([x - 6, y - 6, x + 6, y + 6], fill=(204, 204, 0))
        return np.asarray(image)

    def _pixel(self, x: float, height: float) -> tuple[float, float]:
        scale = self.SIZE / 4.4
        return self.SIZE / 2 + scale * x, self.SIZE / 2 - scale * height

    def _observation(self) -> np.ndarray:
        theta1, theta2, speed1, speed2 = self.state
        angles = [math.cos(theta1), math.sin(theta1), math.cos(theta2), math.sin(theta2)]
        speeds = [speed1 / MAX_SPEED[0], speed2 / MAX_SPEED[1]]
        return np.array([*angles, *speeds, min(self.held / self.goal.steps, 1.0)], np.float32)


class AcrobotModel:
    """The exact model. State ``[5]``: both angles [rad], both speeds [rad/s], steps spent in the goal so far.

    High-level action ``[3]``: target angles of the links and the weight of the energy cost. Margins ``[1]``: the distance
    of the tip from the danger disc [m].
    """

    state_dim = 5
    action_dim = 1
    parameter_dim = 3
    DANGER_COST = 1e4  # more than a plan saves by ending early, even at the largest weights
    TERMINAL_WEIGHT = 5.0

    def __init__(self, config: AcrobotConfig, device: torch.device | str = "cpu") -> None:
        self.config = config
        self.goal = GOALS[config.goal]
        self.nominal = torch.zeros(self.parameter_dim, device=device)

    def state(self, observation: Tensor) -> Tensor:
        """``[..., 7]`` -> ``[..., 5]``, angles in [-pi, pi]."""
        cos1, sin1, cos2, sin2, speed1, speed2, held = observation.unbind(-1)
        speeds = (speed1 * MAX_SPEED[0], speed2 * MAX_SPEED[1])
        held = torch.round(held * self.goal.steps)
        return torch.stack([torch.atan2(sin1, cos1), torch.atan2(sin2, cos2), *speeds, held], -1)

    def observe(self, state: Tensor) -> Tensor:
        """``[..., 5]`` -> ``[..., 7]``."""
        theta1, theta2, speed1, speed2, held = state.unbind(-1)
        angles = (theta1.cos(), theta1.sin(), theta2.cos(), theta2.sin())
        speeds = (speed1 / MAX_SPEED[0], speed2 / MAX_SPEED[1])
        return torch.stack([*angles, *speeds, (held / self.goal.steps).clamp(max=1.0)], -1)

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """Predict one environment step: ``[..., 5]``, ``[..., 1]`` -> ``[..., 5]``."""
        *links, held = state.unbind(-1)
        links = swing(tuple(links), action[..., 0].clamp(-1.0, 1.0), torch)
        return torch.stack([*links, (held + 1) * in_goal(links, self.goal, torch)], -1)

    def difference(self, state: Tensor, origin: Tensor) -> Tensor:
        """Subtract, both angles by the shorter way round: ``[..., 5]``, ``[..., 5]`` -> ``[..., 5]``."""
        apart = state - origin
        angles = apart[..., :2]
        return torch.cat([angles - 2 * math.pi * torch.round(angles / (2 * math.pi)), apart[..., 2:]], -1)

    def terminated(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Solved or in the danger disc: -> bool ``[...]``."""
        return self._solved(next_state) | self._danger(next_state)

    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """The environment's reward, exactly: -> ``[...]``."""
        safe = self._solved(next_state).to(next_state.dtype) - 1.0
        return safe.masked_fill(self._danger(next_state), -self.config.danger_penalty)

    def margins(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Distance of the tip from the edge of the danger disc [m]: -> ``[..., 1]``, infinite without a disc."""
        x, height = tip(next_state.unbind(-1)[:4], torch)
        if not self.config.danger:
            return torch.full_like(x, torch.inf).unsqueeze(-1)
        radius = self.config.danger[2]
        square = (x - self.config.danger[0]) ** 2 + (height - self.config.danger[1]) ** 2
        # The difference of the roots as a quotient: its sign is exactly that of the environment's test.
        return ((square - radius**2) / ((square + 1e-12).sqrt() + radius)).unsqueeze(-1)

    def brake(self, state: Tensor) -> Tensor:
        """Damp the swing with the torque against the second joint's speed: ``[..., 5]`` -> ``[..., 1]``."""
        return (-DAMPING * state[..., 3:4]).clamp(-1.0, 1.0)

    def at_rest(self, state: Tensor) -> Tensor:
        """Whether the tip cannot come to the danger disc by itself, or moves away from it: -> bool ``[...]``.

        The second is a heuristic. It lets the links swing past the disc: their torque cannot stop them near it.
        """
        links = state.unbind(-1)[:4]
        if not self.config.danger:
            return links[0] < math.inf  # true, in the shape of the state
        (x, height), (across, up) = tip(links, torch), tip_speed(links, torch)
        away = (x - self.config.danger[0]) * across + (height - self.config.danger[1]) * up >= 0
        return self._energy_is_low(state) | away

    def _energy_is_low(self, state: Tensor) -> Tensor:
        """Whether the tip cannot come as high as the disc's lowest point: bool ``[...]``; damping nearly keeps it so."""
        height = self.config.danger[1] - self.config.danger[2]
        least = GRAVITY * (0.5 * height + max(-1.0, height - 1.0))
        return energy(state.unbind(-1)[:4], torch) < least

    def parameters(self, high_action: Tensor) -> Tensor:
        """``[..., 3]`` in [-1, 1] -> target angles (upright +- half a turn, straight +- half a turn) and energy weight.

        The energy weight is 20 at the centre of its box and changes by a factor of 10 to either side.
        """
        a = high_action.clamp(-1.0, 1.0)
        return torch.stack([math.pi * (1 + a[..., 0]), math.pi * a[..., 1], 20.0 * 10.0 ** a[..., 2]], -1)

    def aim(self, state: Tensor) -> Tensor:
        """``[..., 5]`` -> the high-level action ``[..., 3]`` with the pose of a state as its target pose.

        The box of theta1 begins and ends at hanging, so that the two sides of hanging are its opposite ends.
        """
        from_box = torch.stack([state[..., 0], state[..., 1] + math.pi], -1)
        targets = torch.remainder(from_box, 2 * math.pi) / math.pi - 1
        return torch.cat([targets, self.nominal[2:].expand_as(targets[..., :1])], -1)

    def running(self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None) -> Tensor:
        """Distance to the target pose and to the upright energy, and the danger disc: -> ``[...]``."""
        danger = self.DANGER_COST * self._danger(next_state)
        return self._pose_cost(next_state, parameters) + danger + 0.01 * action[..., 0].square()

    def terminal(self, state: Tensor, parameters: Tensor | None) -> Tensor:
        """The pose cost of the last state with a larger weight: -> ``[...]``."""
        return self.TERMINAL_WEIGHT * self._pose_cost(state, parameters)

    def _pose_cost(self, state: Tensor, parameters: Tensor | None) -> Tensor:
        target1, target2, weight = (self.parameters(self.nominal) if parameters is None else parameters).unbind(-1)
        links = state.unbind(-1)[:4]
        pose = 2 - torch.cos(links[0] - target1) - torch.cos(links[1] - target2)
        lack = (energy(links, torch) - UPRIGHT_ENERGY) / (2 * UPRIGHT_ENERGY)
        return 0.25 * pose + 0.5 * (2 - tip(links, torch)[1]) + weight * lack.square()

    def _solved(self, state: Tensor) -> Tensor:
        # A count, but a learned correction of the state may leave it a rounding off.
        return (state[..., 4] >= self.goal.steps - 0.5) & ~self._danger(state)

    def _danger(self, state: Tensor) -> Tensor:
        return in_danger(state.unbind(-1)[:4], self.config.danger, torch)


class Acrobot(EnvironmentFamily):
    """Swing up the Acrobot; ``success`` is solving it, ``cost`` entering the danger disc."""

    Config = AcrobotConfig
    info_keys = ("success", "cost")
    terminates = True

    def make(self, *, render_mode: str | None = None) -> gymnasium.Env:
        """Make one Acrobot with its time limit."""
        return TimeLimit(AcrobotEnv(self.config, render_mode), self.config.time_limit)

    def task_model(self, device: torch.device | str = "cpu") -> AcrobotModel:
        """Make the exact model."""
        return AcrobotModel(self.config, device)
