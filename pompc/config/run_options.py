"""Options of every run: those at the top of a configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from pompc.config.options import Options
from pompc.errors import UserError

SEEDS = 2**31
"""Seeds lie below this: the least limit of the libraries that take them."""
FRESH = 1_000_000
"""From the seed of the evaluations in training to that of ``pompc eval``: more than an evaluation has episodes, because an
environment may count on from its seed."""

Count = Annotated[int, Ge(1)]
Seed = Annotated[int, Ge(0), Lt(SEEDS)]


@dataclass(frozen=True, kw_only=True)
class EvalConfig(Options):
    """Evaluation during training.

    Attributes:
        every: environment steps between evaluations.
        episodes: episodes per evaluation.
        num_envs: the most copies of the environment that an evaluation makes at once; null for as many as the training has.
            A family with a batched environment always plays all episodes at once.
        max_steps: environment steps after which an evaluation episode is cut, which is counted; null for the environment's
            own limit, or 5,000 without one.
        seed: seed of the episodes, the same at every evaluation; ``pompc eval`` plays others.
        video: record an episode.
        at_start: also evaluate before training.
        policy: evaluations and videos act by the policy alone, without a plan; only for algorithms with a policy over
            actions. Training is not touched.
        compare_policy: play the episodes a second time by the policy alone, or with ``policy`` by the planner, for the
            columns ``policy_reward`` and ``policy_gap``. Null does so if there are a planner and a policy over actions, but
            not with ``policy``, without ``diagnose``, or if the environment offers a limited number of copies (servers).
        diagnose: measure the agent's values against the returns, and its policy against the plans.
    """

    section = "eval"

    every: Count = 50_000
    episodes: Count = 20
    num_envs: Count | None = None
    max_steps: Count | None = None
    seed: Seed = 1000
    video: bool = True
    at_start: bool = True
    policy: bool = False
    compare_policy: bool | None = None
    diagnose: bool = True

    @property
    def fresh_seed(self) -> int:
        """A seed whose episodes no evaluation in training has played; the same for all runs with the same ``seed``."""
        return (self.seed + FRESH) % SEEDS


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig(Options):
    """Checkpoints.

    Attributes:
        every: environment steps between checkpoints.
    """

    section = "checkpoint"

    every: Count = 50_000


@dataclass(frozen=True, kw_only=True)
class WandbConfig(Options):
    """The Weights & Biases run.

    Attributes:
        mode: whether it uploads. ``auto`` is online after a login and offline without one.
        project: its project.
        group: runs to show together; null is ``<algo>/<env>/<hash of the configuration>``, the same for all seeds.
        tags: labels besides those of the algorithm, the environment and the version.
    """

    section = "wandb"

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "pompc"
    group: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(Options):
    """What a run begins with.

    Attributes:
        source: run directory or checkpoint whose weights the run begins with; null begins with new ones. It is read once,
            at step 0.
        task: the task of a source that has learned several, for a run on one; null is the environment's own name.
    """

    section = "finetune"

    source: str | None = None
    task: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task is not None and self.source is None:
            raise UserError("finetune.task names a task of finetune.source: give that too")


@dataclass(frozen=True, kw_only=True)
class RunConfig(Options):
    """Options of every run.

    Attributes:
        steps: environment steps over all environments, action repeat counted.
        num_envs: environments stepped as one batch.
        seed: of every random generator.
        device: ``cpu``, ``cuda``, ``cuda:N``, or ``auto`` (cuda if there is a device).
        threads: torch threads. More of them can be 10 to 30 times slower on few cores; ``pompc bench`` measures it.
        run_dir: where the run writes; null is ``runs/<algo>/<env>/seed<seed>-<hash of the configuration>``.
        eval: evaluation during training.
        checkpoint: checkpoints.
        wandb: the Weights & Biases run.
        tensorboard: also write event files for TensorBoard; needs ``pompc[tensorboard]``.
        finetune: weights to begin with.
        data: folder of a Minari dataset to learn from, such as ``pompc collect`` writes; nothing is collected, and the
            environment is only evaluated in. ``steps`` counts stored steps. Only for off-policy algorithms; needs
            ``pompc[minari]``.
    """

    steps: Count = 500_000
    num_envs: Count = 16
    seed: Seed = 0
    device: str = "cpu"
    threads: Count = 1
    run_dir: str | None = None
    eval: EvalConfig = field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)
    tensorboard: bool = False
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    data: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise UserError(f"device must be cpu, cuda, cuda:N or auto, not {self.device!r}")

    @property
    def evaluated_at_once(self) -> int:
        """The most copies of the environment that an evaluation makes at once."""
        return self.eval.num_envs or self.num_envs
