"""The racing task as a gymnasium environment of one car."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from torch import Tensor

from . import circuit, observation
from .backend import Backend, Embedded
from .config import CarlaRacingConfig
from .physics.opponents import Opponents
from .physics.ops import ScalarOps
from .physics.road import Road, tabulate
from .physics.vehicle import Car
from .plant import Factors, Variation
from .render.renderer import Renderer
from .task import FRESH, Judgement, RacingTask
from .track.track import Track

RENDER_SIZE = (640, 480)


class RacingEnv(gymnasium.Env):
    """Observation: see ``observation.observe``. Action ``[2]``: steer (left positive), drive (brake negative).

    Args:
        config: the family's options.
        render_mode: ``rgb_array`` or ``None``.
        backend: the simulator; the embedded one by default.
        track: the track of ``config``, if it is already read.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 (gymnasium's own name and form)

    def __init__(
        self,
        config: CarlaRacingConfig,
        render_mode: str | None = None,
        backend: Backend | None = None,
        track: Track | None = None,
    ) -> None:
        self.config, self.render_mode = config, render_mode
        self.track = track or circuit.load(config)
        self.road = Road(tabulate(self.track, config.danger_zones), ScalarOps())
        self.task, self.variation = RacingTask(config, self.road), Variation(config)
        self.backend: Backend = backend or Embedded(config, self.road)
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = Box(-np.inf, np.inf, (observation.size(config.num_opponents),), np.float32)
        self._renderer: Renderer | None = None
        self._overlay: tuple[np.ndarray, np.ndarray] | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Draw a start, the traffic and the car; return the observation ``[observation]`` and an empty info."""
        super().reset(seed=seed)
        draws = self.np_random.random(self.task.num_draws).tolist()
        car, opponents = self.task.start(draws, list(range(self.config.num_opponents)))
        return self.place(car, opponents, self.variation.draw(self.np_random)), {}

    def place(self, car: Car, opponents: Opponents, factors: Factors | None = None) -> np.ndarray:
        """Begin an episode with this car (slip, wheel angle and drive zero) and this traffic; return the observation.

        ``factors`` are the car's; ``None`` takes the configured ones.
        """
        factors = self.variation.middle if factors is None else factors
        self.car = self.backend.reset(car, opponents, factors)
        self._drawn = {name: factors._asdict()[name] for name in self.variation.drawn}
        self.opponents = opponents
        self.episode = FRESH
        self._overlay = None
        return observation.observe(self.road, self.car, opponents)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, float]]:
        """Make one control step with ``action [2]``, steering and drive in [-1, 1]; see ``gymnasium.Env.step``."""
        steer, drive = action.tolist()
        self._overlay = None
        before, self.opponents = self.car.s, self.task.advance(self.opponents)
        self.car, touched = self.backend.step(min(max(steer, -1.0), 1.0), min(max(drive, -1.0), 1.0), self.opponents)
        self.episode, judgement = self.task.judge(before, self.car, self.opponents, self.episode, touched)
        truncated = self.episode.steps >= self.config.max_steps
        seen = observation.observe(self.road, self.car, self.opponents)
        return seen, judgement.reward, judgement.terminated, truncated, info(judgement) | self._drawn

    def overlay(self, fan: Tensor, chosen: Tensor) -> None:
        """Show planned model states in the next frame: samples ``[n, time, state]``, best first, and the plan."""
        self._overlay = (self._to_plane(fan), self._to_plane(chosen))

    def _to_plane(self, states: Tensor) -> np.ndarray:
        """Model states ``[..., state]`` -> points ``[..., 2]`` (m)."""
        s, n, e = states[..., :3].detach().cpu().double().numpy().transpose(-1, *range(states.dim() - 1))
        x, y, _ = self.track.cartesian(s, n, e)
        return np.stack([x, y], axis=-1)

    def render(self) -> np.ndarray | None:
        """Draw the scene from above, uint8 ``[height, width, 3]``; ``None`` without a render mode."""
        if self.render_mode is None:
            return None
        if self._renderer is None:
            self._renderer = Renderer(self.track, RENDER_SIZE)
        car, traffic = self.car, self.opponents
        ego = tuple(float(value) for value in self.track.cartesian(car.s, car.n, car.e))
        others = self.track.cartesian(np.array(traffic.s), np.array(traffic.n), np.zeros(len(traffic.s)))
        fan, chosen = self._overlay or (None, None)
        episode, seconds = self.episode, self.config.control_step
        hud = {
            "speed": f"{3.6 * car.vx:.0f} km/h",
            "lap": f"{episode.laps + 1:.0f}",
            "time": f"{seconds * (episode.steps - episode.lap_began):.1f} s",
            "last lap": f"{episode.lap_time:.1f} s" if episode.laps else "-",
        }
        merit = None if fan is None else -np.arange(len(fan))
        return self._renderer.frame(ego, np.stack(others, axis=-1), fan, chosen, hud, merit)

    def close(self) -> None:
        """Close the simulator."""
        self.backend.close()


def info(judgement: Judgement) -> dict[str, Any]:
    """Return the entries of ``info``."""
    return {
        "success": judgement.success,
        "cost": judgement.cost,
        "lap_time": judgement.lap_time,
        "speed": judgement.speed,
    }
