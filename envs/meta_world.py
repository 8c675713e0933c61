"""Meta-World: ``metaworld/<task>``, if the user has a Meta-World that works with the installed MuJoCo."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import DtypeObservation, TimeLimit

from pompc.config.options import Options, PositiveInt
from pompc.data.actions import UnitAction
from pompc.environment import EnvironmentFamily
from pompc.errors import UserError

WHY = (
    "Meta-World 3.1.1 pins mujoco 3.3.0, which does not work beside pompc's mujoco 3.17.0, so pompc has no extra for it: "
    "install a release that takes mujoco 3.17"
)
ENTRY = "Meta-World/MT1"  # the registered id of a single task


@dataclass(frozen=True, kw_only=True)
class MetaWorldConfig(Options):
    """Options of a Meta-World task.

    Attributes:
        task: its name with the version, such as ``reach-v3``.
        action_repeat: simulator steps per action; their rewards are summed.
        episode_steps: simulator steps until an episode is truncated.
    """

    section = "env"

    task: str = "reach-v3"
    action_repeat: PositiveInt = 2
    episode_steps: PositiveInt = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.action_repeat > self.episode_steps:
            raise UserError(f"env.action_repeat={self.action_repeat}: take 1 to env.episode_steps={self.episode_steps}")


class MetaWorld(EnvironmentFamily):
    """A manipulation task with a goal that every episode draws, as TD-MPC2 wraps it: 100 actions, each repeated twice.

    An episode does not end before its limit; ``success`` says whether the goal was reached.
    """

    Config = MetaWorldConfig
    info_keys = ("success",)
    terminates = False

    @property
    def action_repeat(self) -> int:
        """Simulator steps per action."""
        return self.config.action_repeat

    @property
    def episode_length(self) -> int:
        """Actions per episode."""
        return self.config.episode_steps // self.config.action_repeat

    def make(self, *, render_mode: str | None = None) -> gymnasium.Env:
        """Make one task.

        Raises:
            UserError: Meta-World is missing, does not work with the installed MuJoCo, or has no such task.
        """
        name = f"metaworld/{self.config.task}"
        if find_spec("metaworld") is None:
            raise UserError(f"{name} needs the package metaworld. {WHY}")
        try:
            import metaworld  # noqa: F401  # pyright: ignore[reportMissingImports] - registers the tasks

            env = gymnasium.make(ENTRY, env_name=self.config.task, render_mode=render_mode, disable_env_checker=True)
        except Exception as error:  # an unfit MuJoCo fails in many ways
            said = next(iter(str(error).splitlines()), "no reason given")
            raise UserError(f"{name} cannot be made ({type(error).__name__}: {said}). {WHY}") from error
        repeated = Repeated(DtypeObservation(env, np.float32), self.config.action_repeat)
        return TimeLimit(UnitAction(repeated, name), self.episode_length)


class Repeated(gymnasium.Wrapper):
    """Repeat every action, sum the rewards, and let no episode end by itself.

    Args:
        env: the task.
        times: how often.
    """

    def __init__(self, env: gymnasium.Env, times: int) -> None:
        super().__init__(env)
        self._times = times

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Make the steps of one action; ``success`` counts if any of them reached the goal."""
        total, success = 0.0, 0.0
        for _ in range(self._times):
            observation, reward, _, _, info = self.env.step(action)
            total += float(reward)
            success = max(success, float(info["success"]))
        return observation, total, False, False, {**info, "success": success}
