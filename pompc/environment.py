"""The contract of an environment family: one subclass is all a new environment needs."""

from __future__ import annotations

import dataclasses
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pompc.errors import UserError
from pompc.registry import ALGORITHMS, ENVIRONMENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import gymnasium
    import torch
    from torchrl.envs import EnvBase

    from pompc.models.protocols import TaskModel


@dataclass(frozen=True)
class Tasks:
    """The tasks of a family that plays several at once: environment ``i`` plays task ``i % len(names)``.

    The last entry of an observation is the task's index. Observations and actions have the length of the longest task's.

    Attributes:
        names: name of each task.
        action_dims: number of leading action entries that each task obeys; it ignores the others.
        episode_lengths: agent steps until an episode of each task is truncated.
    """

    names: tuple[str, ...]
    action_dims: tuple[int, ...]
    episode_lengths: tuple[int, ...]


class EnvironmentFamily(ABC):
    """A family of environments, built from its frozen config dataclass.

    Attributes:
        Config: the dataclass of the family's options, the ``env`` node of the configuration. If an option names a file, the
            class attribute ``files`` maps the option's name to a function that finds the path. The file's content then
            belongs to the run.
        info_keys: scalars that every ``step`` puts into ``info``, among them ``success`` (0/1) and ``cost`` (violations) if
            the family knows them. The constructor adds those that an option asks for.
        terminates: whether an episode can terminate before its time limit. ``None`` means unknown and counts as true. The
            constructor sets it if options decide it.
    """

    Config: ClassVar[type]
    info_keys: tuple[str, ...] = ()
    terminates: bool | None = None
    _limits: tuple[int, ...] | None = None  # time limits of the copies, once one was made

    def __init__(self, config: Any) -> None:
        self.config = config

    @property
    def action_repeat(self) -> int:
        """Environment steps per agent action; ``steps`` counts environment steps."""
        return 1

    @property
    def episode_length(self) -> int | None:
        """Agent steps (action repeat counted as one) until an episode is truncated; ``None`` without a limit.

        The default looks for gymnasium's ``TimeLimit`` in the environments of :meth:`vectorise`, and makes one environment
        if there are none yet. A family that limits its episodes in another way, or repeats actions outside of that wrapper,
        overrides it.
        """
        if self._limits is None:
            close(self._copy())
        return min(self._limits or (), default=None)

    @property
    def max_envs(self) -> int | None:
        """The most environments that :meth:`vectorise` offers, the config's ``max_envs``; ``None`` without a limit.

        With a limit, :meth:`vectorise` also takes ``first_env``, the number of its first environment in a larger batch.
        """
        return getattr(self.config, "max_envs", None)

    @property
    def separate_envs(self) -> bool:
        """Whether the environments of :meth:`vectorise` are separate copies, so that it takes ``first_env``.

        Few copies are made at a time. True unless a family overrides :meth:`vectorise`.
        """
        return type(self).vectorise is EnvironmentFamily.vectorise

    @property
    def tasks(self) -> Tasks | None:
        """The tasks that the environments of :meth:`vectorise` play; ``None`` if all play the same task."""
        return None

    def flattened(self) -> EnvironmentFamily | None:
        """Make the same family with pictures as flat numbers, for algorithms that do not take images.

        Returns:
            A family with the config's ``pictures`` switched off; ``None`` if there is no such switch or it is off already.
        """
        if not getattr(self.config, "pictures", False):
            return None
        return type(self)(dataclasses.replace(self.config, pictures=False))

    @abstractmethod
    def make(self, *, render_mode: str | None = None) -> gymnasium.Env:
        """Make one gymnasium environment with its time limit applied and an action in Box(-1, 1) float32.

        Its observation is flat float32, or an image ``[channel, height, width]`` uint8.
        """

    def vectorise(self, num_envs: int, *, seed: int, device: torch.device | str = "cpu", first_env: int = 0) -> EnvBase:
        """Make ``num_envs`` copies as one TorchRL environment of batch size ``[num_envs]``.

        The result has ``snapshot() -> dict`` and ``restore(dict)``, which the checkpoint uses. The default runs
        copies of :meth:`make` in one process; a family with a native batched environment overrides it.

        Args:
            num_envs: batch size.
            seed: base seed. The seed of an episode also depends on the numbers of its environment and of the episode.
            device: device of the tensors.
            first_env: number of the first environment in a larger batch.
        """
        from pompc.data.vector import vectorise

        return vectorise(self._copy, num_envs, seed=seed, device=device, info_keys=self.info_keys, first_env=first_env)

    def _copy(self) -> gymnasium.Env:
        """Make one environment and note its time limits."""
        env = self.make()
        self._limits = tuple(_time_limits(env))
        return env

    def task_model(self, device: torch.device | str = "cpu") -> TaskModel:
        """Make the explicit model that hierarchical algorithms plan with.

        Raises:
            UserError: the family has no explicit model.
        """
        free = (name for name in ALGORITHMS.classes if not ALGORITHMS[name].explicit_model)
        owners = (name for name, entry in ENVIRONMENTS.builtin.items() if entry.explicit_model)
        raise UserError(
            f"{type(self).__name__} has no explicit dynamics to plan with: take an algorithm that needs none "
            f"({', '.join(free)}), or an environment that has them ({', '.join(owners)})"
        )


def close(env: gymnasium.Env) -> None:
    """Close an environment; an error of its ``close`` becomes a warning."""
    try:
        env.close()
    except Exception as error:  # a simulator that has gone may raise any error
        warnings.warn(f"{type(env.unwrapped).__name__}.close() raised {type(error).__name__}: {error}; the run goes on")


def _time_limits(env: gymnasium.Env) -> Iterator[int]:
    """Yield the limit of every ``TimeLimit`` in a stack of wrappers; the inner registration does not count."""
    import gymnasium

    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, gymnasium.wrappers.TimeLimit):
            yield env._max_episode_steps
        env = env.env
