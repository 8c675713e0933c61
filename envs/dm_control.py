"""The DeepMind Control Suite: ``dmc/<domain>-<task>``, from state or from pixels."""

from __future__ import annotations

import ctypes.util
import difflib
import os
import sys
from collections import deque
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import TimeLimit

from pompc.config.options import Options, PositiveInt
from pompc.data.actions import to_box
from pompc.environment import EnvironmentFamily
from pompc.errors import UserError
from pompc.system.graphics import import_with_or_without_gl

ALIASES = {"cup": "ball_in_cup", "pointmass": "point_mass"}
REQUIREMENT = "dm-control==1.0.50"  # as in pyproject.toml
TERMINATING = ("lqr",)  # domains whose tasks end their episodes themselves
CAMERAS = {"quadruped": 2}  # from the side, because its camera 0 is far away; every other domain uses camera 0


@dataclass(frozen=True, kw_only=True)
class DMControlConfig(Options):
    """Options of a Control Suite task.

    Attributes:
        task: ``<domain>-<task>`` such as ``walker-walk`` or ``finger-turn_easy``; the domains ``cup`` and ``pointmass``
            stand for ``ball_in_cup`` and ``point_mass``.
        action_repeat: control steps (frames) per action; their rewards are summed.
        episode_frames: control steps until the episode is truncated.
        pixels: observe pictures of 64 x 64 pixels in the place of the state.
        frame_stack: how many pictures, one per action, make an observation.
    """

    section = "env"

    task: str = "cartpole-swingup"
    action_repeat: PositiveInt = 2
    episode_frames: PositiveInt = 1000
    pixels: bool = False
    frame_stack: PositiveInt = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        require_action_repeat(self.action_repeat, self.episode_frames)


def require_action_repeat(action_repeat: int, episode_frames: int) -> None:
    """Refuse an action that is repeated for longer than an episode.

    Raises:
        UserError: it is.
    """
    if action_repeat > episode_frames:
        raise UserError(f"env.action_repeat={action_repeat}: take 1 to env.episode_frames={episode_frames}")


def _headless_gl() -> None:
    """Choose the rendering back-end once, before dm_control does: off-screen, or nothing if libraries are missing."""
    if "DISPLAY" in os.environ:
        return
    libraries = {"egl": "EGL", "osmesa": "OSMesa"}
    found = [backend for backend, library in libraries.items() if ctypes.util.find_library(library)]
    os.environ.setdefault("MUJOCO_GL", found[0] if found else "disable")


def _suite() -> Any:
    """Import ``dm_control.suite``. The hint installs it alone, because its requirement ``labmaze`` lacks some wheels."""
    _headless_gl()
    try:
        return import_with_or_without_gl("dm_control.suite")
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] != "dm_control":
            raise
        command = f"{sys.executable} -m pip install --no-deps {REQUIREMENT}"
        raise UserError(f"the Control Suite needs dm-control, but not what dm-control requires: {command}") from error


def domain_and_task(name: str) -> tuple[str, str]:
    """The suite's names for a task: ``cup-catch`` -> ``("ball_in_cup", "catch")``."""
    domain, _, task = name.partition("-")
    return ALIASES.get(domain, domain), task.replace("-", "_")


class SuiteEnv(gymnasium.Env):
    """One Control Suite task without its time limit. An episode is a function of the reset seed and the actions.

    Observation: all entries of the suite's dictionary, flat, float32. Action ``[action]`` in [-1, 1], scaled to the
    task's bounds. Reward: the sum over ``action_repeat`` control steps, each in [0, 1].

    Raises:
        UserError: dm-control is not installed, the task is unknown, its actions are unbounded, or it cannot be rendered
            here.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own convention)
    SIZE = 384  # pixels

    def __init__(self, config: DMControlConfig, render_mode: str | None = None) -> None:
        suite = _suite()
        import mujoco

        domain, task = domain_and_task(config.task)
        if (domain, task) not in suite.ALL_TASKS:
            known = ["-".join(names) for names in suite.ALL_TASKS]
            near = difflib.get_close_matches(f"{domain}-{task}", known, n=4, cutoff=0.5) or known
            raise UserError(f"the Control Suite has no task {config.task}: take one of {', '.join(near)}")
        self._env = suite.load(
            domain,
            task,
            task_kwargs={"random": 0, "time_limit": float("inf")},
            environment_kwargs={"flat_observation": True},
        )
        spec = self._env.action_spec()
        if max(np.abs(spec.minimum).max(), np.abs(spec.maximum).max()) >= mujoco.mjMAXVAL:  # MuJoCo's "no limit"  # pyright: ignore[reportAttributeAccessIssue]
            raise UserError(f"{config.task} has unbounded actions, which cannot be scaled to [-1, 1]")
        self._low = np.broadcast_to(spec.minimum, spec.shape)
        self._high = np.broadcast_to(spec.maximum, spec.shape)
        self._repeat = config.action_repeat
        self._camera = CAMERAS.get(domain, 0)
        size = sum(int(np.prod(entry.shape)) for entry in self._env.observation_spec().values())
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, spec.shape, np.float32)
        self.metadata = {**self.metadata, "render_fps": round(1 / (self._env.control_timestep() * self._repeat))}
        self.render_mode = render_mode
        if render_mode is not None:
            self.render()  # fail now, not at the first video

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Start a new episode; the suite's own random state is seeded, too."""
        super().reset(seed=seed)
        if seed is not None:
            self._env.task.random.seed(seed)
        return self._observation(self._env.reset()), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Repeat ``action [action]``; only the task can terminate the episode."""
        control = to_box(action, self._low, self._high)
        reward = 0.0
        for _ in range(self._repeat):
            step = self._env.step(control)
            reward += step.reward
            if step.last():
                break
        return self._observation(step), reward, step.last(), False, {}

    def render(self) -> np.ndarray:
        """Render the task's camera, ``[384, 384, 3]`` uint8."""
        return self.picture(self.SIZE)

    def picture(self, size: int) -> np.ndarray:
        """Render the task's camera, ``[size, size, 3]`` uint8."""
        import mujoco

        try:
            return self._env.physics.render(size, size, camera_id=self._camera)
        except (RuntimeError, ImportError, mujoco.FatalError) as error:  # pyright: ignore[reportAttributeAccessIssue]
            raise UserError(
                f"MuJoCo cannot render here (MUJOCO_GL={os.environ.get('MUJOCO_GL', '')}): install libegl1 and "
                "libegl-mesa0 and set MUJOCO_GL=egl, or libosmesa6 and MUJOCO_GL=osmesa, or set eval.video=false and "
                "env.pixels=false"
            ) from error

    def close(self) -> None:
        """Free the simulator and its rendering contexts; a machine has few of them."""
        self._env.physics.free()

    def _observation(self, step: Any) -> np.ndarray:
        return step.observation["observations"].astype(np.float32)


class Pixels(gymnasium.Wrapper):
    """The last ``frames`` pictures of a Control Suite task, ``[3 * frames, 64, 64]`` uint8, the newest last.

    A picture is taken after every action; the first picture of an episode fills the whole stack.

    Raises:
        UserError: the task cannot be rendered here.
    """

    SIZE = 64  # pixels
    env: SuiteEnv

    def __init__(self, env: SuiteEnv, frames: int) -> None:
        super().__init__(env)
        self._count = frames
        self._frames: deque[np.ndarray] = deque(maxlen=frames)
        self.observation_space = gymnasium.spaces.Box(0, 255, (3 * frames, self.SIZE, self.SIZE), np.uint8)
        self._picture()  # fail now, not in the first episode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Start a new episode: the same picture in every place."""
        _, info = self.env.reset(seed=seed, options=options)
        self._frames.extend([self._picture()] * self._count)
        return np.concatenate(self._frames), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Step, and replace the oldest picture."""
        _, reward, terminated, truncated, info = self.env.step(action)
        self._frames.append(self._picture())
        return np.concatenate(self._frames), reward, terminated, truncated, info

    def _picture(self) -> np.ndarray:
        return self.env.picture(self.SIZE).transpose(2, 0, 1)


class DMControl(EnvironmentFamily):
    """A Control Suite task of 1000 frames; it reports neither success nor cost."""

    Config = DMControlConfig

    def __init__(self, config: DMControlConfig) -> None:
        super().__init__(config)
        self.terminates = domain_and_task(config.task)[0] in TERMINATING

    @property
    def action_repeat(self) -> int:
        """Frames per action."""
        return self.config.action_repeat

    @property
    def episode_length(self) -> int:
        """Actions per episode."""
        return self.config.episode_frames // self.config.action_repeat

    def make(self, *, render_mode: str | None = None) -> gymnasium.Env:
        """Make one task, truncated after ``episode_frames`` frames."""
        env = SuiteEnv(self.config, render_mode)
        return TimeLimit(Pixels(env, self.config.frame_stack) if self.config.pixels else env, self.episode_length)
