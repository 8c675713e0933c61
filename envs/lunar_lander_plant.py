"""Box2D's lunar lander with danger zones: the plant that agents fly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import gymnasium
import numpy as np
from annotated_types import Gt, Lt
from gymnasium.envs.box2d.lunar_lander import LunarLander as Box2DLander
from PIL import Image, ImageDraw

from pompc.config.options import Options, PositiveFloat, PositiveInt, ShareBelowOne
from pompc.errors import UserError

PAD = 0.2  # |x| up to which the ground is the landing pad


@dataclass(frozen=True, kw_only=True)
class LunarLanderConfig(Options):
    """Options of the Lunar Lander.

    Attributes:
        zones: danger discs ``(x, y, radius)`` in observation units; entering one ends the episode.
        zone_penalty: what entering costs, as a negative reward.
        action_repeat: simulation frames of 0.02 s per action; their rewards are summed.
        time_limit: frames until the episode is truncated.
        wind: gymnasium's ``wind_power`` (0 to 20), which the planner's model does not know.
        turbulence: gymnasium's ``turbulence_power`` (0 to 2), likewise.
        mass: the lander's mass and inertia, relative to gymnasium's, which the model believes in: another value than 1 is a
            model error. Engines that give ``1 / mass`` of their thrust are the same.
        mass_variation: every episode has another mass, drawn uniformly from ``mass`` times 1 - this to 1 + this; 0 draws
            nothing. ``info`` tells the mass, observation and planner do not.
        mismatch: the model's mass and inertia are ``1 + mismatch`` times gymnasium's, so that it believes in less
            thrust; -0.5 to 1 is sensible. It is exact at ``mass`` minus 1.
        torque_coupling: false makes the model ignore that the side engines turn the lander.
        planner_sees_zones: false hides the zones from the model's cost, rewards and terminations; the observation still
            tells where they are.
    """

    section = "env"

    zones: tuple[tuple[float, float, PositiveFloat], ...] = ((-0.35, 0.6, 0.15), (0.35, 0.6, 0.15), (0.0, 0.45, 0.15))
    zone_penalty: float = 100.0
    action_repeat: PositiveInt = 5
    time_limit: PositiveInt = 1000
    wind: float = 0.0
    turbulence: float = 0.0
    mass: PositiveFloat = 1.0
    mass_variation: ShareBelowOne = 0.0
    mismatch: Annotated[float, Gt(-1), Lt(math.inf)] = 0.0
    torque_coupling: bool = True
    planner_sees_zones: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.action_repeat > self.time_limit:
            raise UserError(f"env.action_repeat={self.action_repeat}: take 1 to env.time_limit={self.time_limit}")


class LunarLanderEnv(gymnasium.Env):
    """One lander. Observation: gymnasium's eight numbers, then the position of every zone relative to the lander.

    Action ``[2]``: main engine (off below 0, 50 to 100 % above) and side engines (off within +-0.5). Reward:
    gymnasium's, summed over the frames of the action. ``success`` is to come to rest on the pad, ``cost`` is 1 in the
    step that enters a zone; zones are checked in every frame.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012 (gymnasium's own convention)

    def __init__(self, config: LunarLanderConfig, render_mode: str | None = None) -> None:
        self.config = config
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": round(50 / config.action_repeat)}
        self.simulator = Box2DLander(
            render_mode=render_mode,
            continuous=True,
            enable_wind=config.wind > 0 or config.turbulence > 0,
            wind_power=config.wind,
            turbulence_power=config.turbulence,
        )
        self.zones = np.asarray(config.zones, np.float32).reshape(-1, 3)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (8 + 2 * len(self.zones),), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Start at the top with a random push over random hills."""
        super().reset(seed=seed)
        own, _ = self.simulator.reset(seed=seed)
        mass = self._mass()
        load(self.simulator, mass)
        self._drawn = {"mass": mass} if self.config.mass_variation else {}
        return self._observation(own), {"success": 0.0, "cost": 0.0, **self._drawn}

    def _mass(self) -> float:
        """Draw the mass of an episode, relative, from a child of the generator: the simulator begins with the same seed."""
        mass, width = self.config.mass, self.config.mass_variation
        return mass * (1.0 + width * self.np_random.spawn(1)[0].uniform(-1.0, 1.0)) if width else mass

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Repeat ``action`` for ``action_repeat`` frames or until the episode ends."""
        total, own, terminated, danger = 0.0, np.empty(0), False, False
        for _ in range(self.config.action_repeat):
            own, reward, terminated, _, _ = self.simulator.step(action)
            offset = self.zones[:, :2] - own[:2]
            danger = bool((np.square(offset).sum(-1) < self.zones[:, 2] ** 2).any())
            total += -self.config.zone_penalty if danger else float(reward)
            if danger or terminated:
                break
        asleep = terminated and not (self.simulator.lander.awake or self.simulator.game_over)  # pyright: ignore[reportOptionalMemberAccess]
        success = asleep and abs(own[0]) <= PAD and not danger
        info = {"success": float(success), "cost": float(danger), **self._drawn}
        return self._observation(own), total, bool(terminated or danger), False, info

    def render(self) -> np.ndarray:
        """Draw the zones on gymnasium's picture ``[400, 600, 3]`` uint8."""
        image = Image.fromarray(self.simulator.render())
        draw = ImageDraw.Draw(image)
        for x, y, radius in self.zones:
            across, up = 300 * radius, 200 * radius
            right, down = 300 + 300 * x, 400 - 30 * (self.simulator.helipad_y + 0.6) - 200 * y
            draw.ellipse([right - across, down - up, right + across, down + up], outline="tomato", width=3)
        return np.asarray(image)

    def close(self) -> None:
        """Free the simulator's window."""
        self.simulator.close()

    def _observation(self, own: np.ndarray) -> np.ndarray:
        return np.concatenate([own, (self.zones[:, :2] - own[:2]).ravel()]).astype(np.float32)


def load(simulator: Box2DLander, mass: float) -> None:
    """Multiply mass and inertia of lander and legs by ``mass``; they keep the speed that gymnasium started them with."""
    if mass == 1.0:
        return
    for body in (simulator.lander, *simulator.legs):
        assert body is not None
        for fixture in body.fixtures:
            fixture.density *= mass
        body.ResetMassData()
