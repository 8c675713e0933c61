"""What every run has, whatever the algorithm and the environment: the top of ``configs/config.yaml``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from pompc.errors import UserError

SEEDS = 2**31
"""Seeds lie below this: the least limit of the libraries that take them."""
FRESH = 1_000_000
"""From the seed of the evaluations in training to that of ``pompc eval``: more than an evaluation has episodes, because an
environment may count on from its seed."""


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """Evaluation during training.

    Attributes:
        every: environment steps between evaluations.
        episodes: episodes per evaluation.
        num_envs: copies of the environment that an evaluation makes at once, at most; none for as many as the training
            has. A family with a batched environment of its own always plays all episodes at once.
        max_steps: environment steps after which an evaluation episode is cut, which is counted; none for the environment's
            own limit, and 5,000 where it has none.
        seed: seed of the episodes, the same at every evaluation.
        video: record an episode.
        at_start: also evaluate before training.
    """

    every: int = 50_000
    episodes: int = 20
    num_envs: int | None = None
    max_steps: int | None = None
    seed: int = 1000
    video: bool = True
    at_start: bool = True

    def __post_init__(self) -> None:
        given = [name for name in ("num_envs", "max_steps") if getattr(self, name) is not None]
        _positive("eval.", self, "every", "episodes", *given)
        _seed("eval.seed", self.seed)

    @property
    def fresh_seed(self) -> int:
        """A seed of episodes that no evaluation in training has played; the same for all runs with the same ``seed``."""
        return (self.seed + FRESH) % SEEDS


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """Checkpoints.

    Attributes:
        every: environment steps between checkpoints.
    """

    every: int = 50_000

    def __post_init__(self) -> None:
        _positive("checkpoint.", self, "every")


@dataclass(frozen=True, kw_only=True)
class WandbConfig:
    """The Weights & Biases run.

    Attributes:
        mode: ``auto`` is online where a login is found and offline elsewhere.
        project: its project.
        group: runs to show together.
        tags: free labels.
    """

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "pompc"
    group: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What every run has, whatever the algorithm and the environment: the top of ``configs/config.yaml``.

    Attributes:
        steps: environment steps over all environments, action repeat counted.
        num_envs: environments stepped as one batch.
        seed: of every random generator.
        device: ``cpu``, ``cuda``, ``cuda:N``, or ``auto`` (cuda where there is one).
        threads: torch threads.
        run_dir: where the run writes; None is ``run_directory``'s choice.
        eval: evaluation during training.
        checkpoint: checkpoints.
        wandb: the Weights & Biases run.
    """

    steps: int = 500_000
    num_envs: int = 16
    seed: int = 0
    device: str = "cpu"
    threads: int = 1
    run_dir: str | None = None
    eval: EvalConfig = field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)

    def __post_init__(self) -> None:
        _positive("", self, "steps", "num_envs", "threads")
        _seed("seed", self.seed)
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise UserError(f"device must be cpu, cuda, cuda:N or auto, not {self.device!r}")

    @property
    def evaluated_at_once(self) -> int:
        """Copies of the environment that an evaluation makes at once, at most."""
        return self.eval.num_envs or self.num_envs


def _positive(prefix: str, config: object, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise UserError(f"{prefix}{name} must be at least 1, not {getattr(config, name)}")


def _seed(key: str, value: int) -> None:
    if not 0 <= value < SEEDS:
        raise UserError(f"{key} must lie in [0, 2^31), not {value}")
