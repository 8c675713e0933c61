"""Options of a sweep. They stand beside those of its runs, as ``launcher=slurm slurm.minutes=60``. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pompc.config.options import NonNegativeFloat, NonNegativeInt, Options, PositiveFloat, PositiveInt
from pompc.config.run_options import Seed


@dataclass(frozen=True, kw_only=True)
class SlurmConfig(Options):
    """What a run asks of Slurm.

    Attributes:
        cluster: ``slurm``, or ``local`` for submitit's stand-in on this machine.
        partition: the partition; null for the cluster's own choice.
        minutes: time limit of a job. A run that needs longer is saved and queued again.
        timeouts: how often a run is queued again after its time limit.
        warning_s: seconds before the time limit at which the run is asked to save itself.
        cpus: processor cores of a run.
        memory_gb: memory of a run in GB.
        gpus: GPUs of a run.
        constraint: features that the node must have; null for any node.
        extra: further parameters of submitit's Slurm executor, such as ``{account: lab, qos: low}``.
    """

    section = "slurm"

    cluster: Literal["slurm", "local"] = "slurm"
    partition: str | None = None
    minutes: PositiveInt = 1440
    timeouts: NonNegativeInt = 20
    warning_s: PositiveInt = 180
    cpus: PositiveInt = 1
    memory_gb: PositiveFloat = 8.0
    gpus: NonNegativeInt = 0
    constraint: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RayConfig(Options):
    """What a run asks of Ray.

    Attributes:
        address: of a Ray cluster, ``auto`` for the one that this machine belongs to; null starts Ray on this machine.
        cpus: processor cores of a run.
        gpus: GPUs of a run; a part of one shares it.
        memory_gb: memory of a run in GB; null for no limit.
    """

    section = "ray"

    address: str | None = None
    cpus: PositiveFloat = 1.0
    gpus: NonNegativeFloat = 0.0
    memory_gb: PositiveFloat | None = None


@dataclass(frozen=True, kw_only=True)
class SweepConfig(Options):
    """Options of a sweep.

    Attributes:
        launcher: where runs run: processes of this machine, jobs of Slurm, or tasks of Ray.
        search: trials of a search by Optuna over the keys with several values or an interval; null runs every
            combination.
        objective: what a search maximises: the mean return of a run's ``last`` evaluation, or of its ``best``.
        search_seed: seed of the search.
        slurm: what a run asks of Slurm.
        ray: what a run asks of Ray.
    """

    launcher: Literal["local", "slurm", "ray"] = "local"
    search: PositiveInt | None = None
    objective: Literal["last", "best"] = "last"
    search_seed: Seed = 0
    slurm: SlurmConfig = field(default_factory=SlurmConfig)
    ray: RayConfig = field(default_factory=RayConfig)
