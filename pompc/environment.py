"""The contract of an environment family: one subclass is all a new environment needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pompc.errors import UserError

if TYPE_CHECKING:
    import gymnasium
    import torch
    from torchrl.envs import EnvBase

    from pompc.dynamics.protocols import TaskModel


class EnvironmentFamily(ABC):
    """A family of environments, built from its frozen config dataclass.

    Attributes:
        Config: the dataclass of the family's options (the ``env`` node of the configuration).
        info_keys: scalars that every ``step`` puts into ``info``; ``success`` (0/1) and ``cost`` (violations) where known.
    """

    Config: ClassVar[type]
    info_keys: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Any) -> None:
        self.config = config

    @property
    def action_repeat(self) -> int:
        """Environment steps per agent action; ``steps`` counts environment steps."""
        return 1

    @abstractmethod
    def make(self, *, render_mode: str | None = None) -> gymnasium.Env:
        """One gymnasium environment: flat float32 observation, action Box(-1, 1) float32, its time limit applied."""

    def vectorise(self, num_envs: int, *, seed: int, device: torch.device | str = "cpu") -> EnvBase:
        """``num_envs`` copies as one TorchRL environment of batch size ``[num_envs]``.

        The result has ``snapshot() -> dict`` and ``restore(dict)``, which the checkpoint uses. The default runs
        ``make`` copies in one process; a family with a native batched environment overrides it.
        """
        from pompc.data.vector import vectorise

        return vectorise(self.make, num_envs, seed=seed, device=device, info_keys=self.info_keys)

    def task_model(self, device: torch.device | str = "cpu") -> TaskModel:
        """The explicit model that hierarchical algorithms plan with.

        Raises:
            UserError: the family has none.
        """
        raise UserError(
            f"{type(self).__name__} has no explicit dynamics to plan with: take an algorithm without a planner model "
            "(ppo), or an environment that has one (acrobot, lunar_lander, carla_racing)"
        )

    @classmethod
    def bench(cls, seconds: float, device: torch.device | str = "cpu") -> dict[str, float]:
        """Speed of the family's own parts for ``pompc bench``, each measured for about ``seconds``; none by default.

        Returns:
            Numbers whose names end in ``_per_s``, ``_ms`` or ``_ratio``.
        """
        return {}
