"""A batched TorchRL environment of the user: ``envbase/my_module:MyEnv``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import gymnasium
import torch
from torchrl.envs import EnvBase

from pompc.config.options import Options, PositiveFloat, PositiveInt
from pompc.environment import EnvironmentFamily
from pompc.errors import UserError

from .envbase_batch import UserBatch

RESERVED = ("num_envs", "device")


@dataclass(frozen=True, kw_only=True)
class EnvBaseConfig(Options):
    """Options of a batched TorchRL environment.

    Attributes:
        factory: ``my_module:MyEnv``, a class or a function, called with ``num_envs``, ``device`` and ``kwargs``. It makes
            an ``EnvBase`` of batch size ``[num_envs]``.
        kwargs: further keyword arguments.
        observations: the entries that are joined to the observation; dots lead into nested ones (``policy.joints``).
        info_keys: entries with one number per environment to report, such as ``success`` and ``cost``.
        action_limit: bound of actions that have none: the agent's -1 to 1 become ``-action_limit`` to ``action_limit``.
        episode_steps: steps until an episode is truncated; null leaves it to the environment, and the algorithms then know
            of no limit.
        autoreset: the environment begins the next episode within the step that ends one, as Isaac does. The final
            observation is lost then, and the one before stands in for it.
    """

    section = "env"

    factory: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)
    observations: tuple[str, ...] = ("observation",)
    info_keys: tuple[str, ...] = ()
    action_limit: PositiveFloat | None = None
    episode_steps: PositiveInt | None = None
    autoreset: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in RESERVED:
            if name in self.kwargs:
                raise UserError(f"env.kwargs has a {name}, which pompc gives: leave it out")
        if not self.observations:
            raise UserError("env.observations is empty: name an entry of the environment's observations")


class BatchedFamily(EnvironmentFamily):
    """Environments that a user steps as one batch, thousands at once.

    Evaluations make another batch, of as many environments as episodes. A batch has no picture for a video.
    """

    Config = EnvBaseConfig
    terminates = None  # unknown for an environment of another package

    def __init__(self, config: EnvBaseConfig) -> None:
        super().__init__(config)
        self.info_keys = config.info_keys

    @property
    def episode_length(self) -> int | None:
        """Steps until an episode is truncated, as far as ``env.episode_steps`` says."""
        return self.config.episode_steps

    def make(self, *, render_mode: str | None = None) -> gymnasium.Env:
        """Refuse: there is no single environment.

        Raises:
            UserError: always.
        """
        raise UserError(f"{self.config.factory} is a batch and shows no single environment: set eval.video=false")

    def vectorise(self, num_envs: int, *, seed: int, device: torch.device | str = "cpu", first_env: int = 0) -> EnvBase:
        """Make the user's batch, in pompc's terms.

        Raises:
            UserError: there is no such factory, it refuses its arguments, or its batch does not fit.
        """
        made = _factory(self.config.factory)
        try:
            env = made(num_envs=num_envs, device=torch.device(device), **self.config.kwargs)
        except TypeError as error:
            raise UserError(
                f"{self.config.factory} cannot be made with num_envs, device and env.kwargs={self.config.kwargs}: {error}"
            ) from error
        if not isinstance(env, EnvBase):
            raise UserError(f"{self.config.factory} makes a {type(env).__name__}, no torchrl.envs.EnvBase")
        return UserBatch(env, self.config, num_envs, seed)


def _factory(name: str) -> Callable[..., Any]:
    """Import what makes a batch."""
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise UserError(f"env.factory={name or 'nothing'}: write --env envbase/my_module:MyEnv")
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(f"envbase/{name} cannot be imported: {error}") from error
    if attribute not in vars(found):
        raise UserError(f"envbase/{name}: {module} has no {attribute}")
    return vars(found)[attribute]
