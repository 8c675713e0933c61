"""Lunar Lander with danger zones, and a lumped rigid body as the planner's model.

The environment is gymnasium's ``LunarLander-v3`` (Box2D, continuous). Positions, speeds and zones are in its
observation units: 1 in x is 10 m, 1 in y is 20/3 m, the pad lies at ``|x| <= 0.2``, ``y = 0``.
"""

from __future__ import annotations

import gymnasium
import torch
from gymnasium.wrappers import TimeLimit
from torch import Tensor

from pompc.environment import EnvironmentFamily

from .lunar_lander_body import BEARABLE, SPEED_UNITS, LanderBody, hover, hovers, impact, throttle
from .lunar_lander_plant import LunarLanderConfig, LunarLanderEnv

HOVER_MARGIN = 0.05  # observation units that a hovering lander keeps from everything
FIELD = 1.0 - 2.0**-24  # the greatest |x| in float32 that is not out of the field
CRASH, LANDED = -100.0, 100.0  # gymnasium's rewards of the last frame


class LunarLanderModel:
    """The lander as one rigid body over flat ground; exact in the air up to the engines' noise.

    State ``[8]``: gymnasium's observation (x, y, their speeds, angle, its speed, two leg contacts). Approximations:

    - the engines' noise and the wind are left out;
    - the ground is flat at pad height everywhere;
    - touching it slowly and upright stops the lander at once; touching it otherwise is a crash;
    - the lander sleeps, and the episode ends well, after resting for one action (Box2D: half a second);
    - zones are checked once per action.

    High-level action ``[4]``: subgoal x and y, descent rate, and the (logarithmic) weight of keeping clear of zones.

    Margins ``[zones + 2]`` in observation units (``[2]`` if it does not see the zones): distance from every zone, from the
    nearer side of the field, and from a crash. The last is the height above the ground, or how far the impact would stay
    below what the legs bear, the greater of both.
    """

    state_dim = 8
    action_dim = 2
    parameter_dim = 4
    END_COST = 500.0  # of a crash, of leaving the field or of a zone: more than any safe trajectory of 20 steps costs

    def __init__(self, config: LunarLanderConfig, device: torch.device | str = "cpu") -> None:
        self.config = config
        self.nominal = torch.tensor([0.0, -1.0, 0.0, 0.0], device=device)
        self._zones = torch.tensor(config.zones, dtype=torch.float32, device=device).reshape(-1, 3)
        self._avoided = self._zones if config.planner_sees_zones else self._zones[:0]
        self._body = LanderBody(config.action_repeat, config.mismatch, config.torque_coupling)

    def state(self, observation: Tensor) -> Tensor:
        """``[..., 8 + 2 zones]`` -> ``[..., 8]``."""
        return observation[..., :8]

    def observe(self, state: Tensor) -> Tensor:
        """``[..., 8]`` -> ``[..., 8 + 2 zones]``."""
        return torch.cat([state, (self._zones[:, :2] - state[..., None, :2]).flatten(-2)], -1)

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """Predict the state after ``action_repeat`` frames: ``[..., 8]``, ``[..., 2]`` -> ``[..., 8]``."""
        return self._body.step(state, action)

    def terminated(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Crashed, left the field, in a zone, or asleep: -> bool ``[...]``."""
        return self._failed(next_state) | _asleep(state, next_state)

    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """gymnasium's reward on model states, exact in the air; an ending counts its last reward alone: ``[...]``."""
        main, side = throttle(action)
        fuel = self.config.action_repeat * (0.30 * main + 0.03 * side.abs())
        gain = _shaping(next_state) - _shaping(state) - fuel
        gain = gain.masked_fill(_asleep(state, next_state), LANDED).masked_fill(_crashed(next_state), CRASH)
        return gain.masked_fill(self._clearance(next_state).amin(-1) < 0, -self.config.zone_penalty)

    def margins(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Distances from the zones, from the sides of the field and from a crash: -> ``[..., zones + 2]``."""
        side = FIELD - next_state[..., 0].abs()
        return torch.cat([self._clearance(next_state)[..., :-1], torch.stack([side, _softness(next_state)], -1)], -1)

    def brake(self, state: Tensor) -> Tensor:
        """Hover, a heuristic: ``[..., 8]`` -> ``[..., 2]``. A lander on its legs stays there, without engines."""
        return torch.where((state[..., 6:7] + state[..., 7:8]) >= 0.5, -torch.ones_like(state[..., :2]), hover(state))

    def at_rest(self, state: Tensor) -> Tensor:
        """Whether the lander stands, or is slow, upright and a little away from everything: -> bool ``[...]``.

        A heuristic: hovering drifts.
        """
        standing = state[..., 6] + state[..., 7] >= 0.5
        return standing | (hovers(state) & (self.margins(state, state, state).amin(-1) >= HOVER_MARGIN))

    def parameters(self, high_action: Tensor) -> Tensor:
        """``[..., 4]`` in [-1, 1] -> subgoal x in +-0.8, y in [0, 1.2], descent rate in [0.05, 0.45], zone weight.

        The zone weight is 3 at the centre of its box and changes by a factor of 10 to either side.
        """
        x, y, rate, weight = high_action.clamp(-1.0, 1.0).unbind(-1)
        return torch.stack([0.8 * x, 0.6 + 0.6 * y, 0.25 + 0.2 * rate, 3.0 * 10.0**weight], -1)

    def aim(self, state: Tensor) -> Tensor:
        """``[..., 8]`` -> the high-level action ``[..., 4]`` with the place of a state as its subgoal."""
        place = torch.stack([state[..., 0] / 0.8, (state[..., 1] - 0.6) / 0.6], -1).clamp(-1.0, 1.0)
        return torch.cat([place, self.nominal[2:].expand_as(place)], -1)

    def running(self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None) -> Tensor:
        """Distance to the subgoal, to the wanted descent and to upright, closeness to zones, effort: -> ``[...]``."""
        main, side = throttle(action)
        failed = self.END_COST * self._failed(next_state)
        return self._pose_cost(next_state, parameters) + failed + 0.1 * main + 0.05 * side.abs()

    def terminal(self, state: Tensor, parameters: Tensor | None) -> Tensor:
        """The pose cost of the last state, five times: -> ``[...]``."""
        return 5.0 * self._pose_cost(state, parameters)

    def _pose_cost(self, state: Tensor, parameters: Tensor | None) -> Tensor:
        x_goal, y_goal, rate, weight = (self.parameters(self.nominal) if parameters is None else parameters).unbind(-1)
        x, y, vx, vy, angle, spin = state.unbind(-1)[:6]
        wanted = rate * (3.0 * (y_goal - y)).clamp(-1.0, 1.0)  # slower close to the subgoal's height
        across, up = (x - x_goal).square(), (y - y_goal).square()
        moving = vx.square() + 2.0 * (vy - wanted).square()
        turning = angle.square() + 0.2 * spin.square()
        near = torch.exp(-self._clearance(state) / 0.05).clamp(max=10.0).sum(-1)
        return 6.0 * across + 1.0 * up + 6.0 * moving + 2.5 * turning + weight * near

    def _failed(self, state: Tensor) -> Tensor:
        return _crashed(state) | (self._clearance(state).amin(-1) < 0)

    def _clearance(self, state: Tensor) -> Tensor:
        """Distance to the edge of every known zone, then one far distance so that there is always a minimum."""
        offset = state[..., None, :2] - self._avoided[:, :2]
        distance = offset.square().sum(-1).add(1e-12).sqrt() - self._avoided[:, 2]
        return torch.nn.functional.pad(distance, (0, 1), value=10.0)


def _shaping(state: Tensor) -> Tensor:
    """gymnasium's potential, whose difference is the reward."""
    distance, speed = state[..., :2].norm(dim=-1), state[..., 2:4].norm(dim=-1)
    return -100 * (distance + speed + state[..., 4].abs()) + 10 * (state[..., 6] + state[..., 7])


def _crashed(state: Tensor) -> Tensor:
    """Below the ground without standing on it, or out of the field."""
    return ((state[..., 1] < -1e-6) & (state[..., 6] + state[..., 7] < 0.5)) | (state[..., 0].abs() >= 1.0)


def _softness(state: Tensor) -> Tensor:
    """Margin to a crash ``[...]``: the height, or what the legs bear beyond the present impact; negative in a crash."""
    height = state[..., 1] + 1e-6
    legs = state[..., 6] + state[..., 7] >= 0.5
    bearable = BEARABLE - impact(state[..., 2] * SPEED_UNITS[0], state[..., 3] * SPEED_UNITS[1], state[..., 4])
    margin = torch.maximum(height, bearable)
    return torch.where(legs, margin.clamp(min=0.0), torch.where(height < 0, height, margin))


def _asleep(state: Tensor, next_state: Tensor) -> Tensor:
    """On both legs and still, before and after."""
    return _resting(state) & _resting(next_state)


def _resting(state: Tensor) -> Tensor:
    still = state[..., 2:6].abs().amax(-1) < 0.01
    return still & (state[..., 6] > 0.5) & (state[..., 7] > 0.5)


class LunarLander(EnvironmentFamily):
    """Land between danger zones; ``success`` is resting on the pad, ``cost`` entering a zone."""

    Config = LunarLanderConfig
    info_keys = ("success", "cost")
    terminates = True

    def __init__(self, config: LunarLanderConfig) -> None:
        super().__init__(config)
        self.info_keys = ("success", "cost", *(("mass",) if config.mass_variation else ()))

    @property
    def action_repeat(self) -> int:
        """Frames per action."""
        return self.config.action_repeat

    def make(self, *, render_mode: str | None = None) -> gymnasium.Env:
        """Make one lander with its time limit."""
        env = LunarLanderEnv(self.config, render_mode)
        return TimeLimit(env, self.config.time_limit // self.config.action_repeat)

    def task_model(self, device: torch.device | str = "cpu") -> LunarLanderModel:
        """Make the lumped rigid body, with the configured mismatch."""
        return LunarLanderModel(self.config, device)
