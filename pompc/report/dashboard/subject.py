"""What a dashboard is about: runs, as wandb knows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pompc.config.run_options import WandbConfig
from pompc.errors import UserError
from pompc.report.runs import Run
from pompc.training.wandb_log import run_group


@dataclass(frozen=True)
class Subject:
    """Runs to compare.

    Attributes:
        project: their wandb project.
        title: names them.
        groups: wandb groups by environment.
        names: names of :mod:`pompc.training.metric_names` that at least one run has logged.
    """

    project: str
    title: str
    groups: Mapping[str, Sequence[str]]
    names: frozenset[str]

    @classmethod
    def of(cls, runs: Sequence[Run], *, project: str | None = None, title: str | None = None) -> Subject:
        """Describe runs.

        Args:
            runs: the runs.
            project: instead of the one that the runs name.
            title: instead of their algorithms and environments.

        Raises:
            UserError: the runs are of several projects, and none is given.
        """
        environments = dict.fromkeys(run.env for run in runs)
        groups = {env: list(dict.fromkeys(_group(run) for run in runs if run.env == env)) for env in environments}
        algorithms = ", ".join(dict.fromkeys(run.algo for run in runs))
        return cls(
            project=project or _project(runs),
            title=title or f"{algorithms} on {', '.join(environments)}",
            groups=groups,
            names=frozenset(name for run in runs for name in _names(run)),
        )

    @property
    def all_groups(self) -> list[str]:
        """The groups of all environments."""
        return [group for groups in self.groups.values() for group in groups]


def _group(run: Run) -> str:
    identity = {"algo": run.algo, "env": run.env, "config_hash": run.hash}
    return run_group(identity, run.config.get("wandb.group"))


def _project(runs: Sequence[Run]) -> str:
    projects = {str(run.config.get("wandb.project", WandbConfig.project)): run.path for run in runs}
    if len(projects) > 1:
        named = ", ".join(f"{name} ({path})" for name, path in projects.items())
        raise UserError(f"the runs are of several wandb projects: {named}; give --project, or fewer runs")
    return next(iter(projects))


def _names(run: Run) -> set[str]:
    tables = {"train": run.metrics, "eval": run.eval, "time": run.timing}
    return {f"{group}/{column}" for group, columns in tables.items() for column in columns}
