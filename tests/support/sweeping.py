"""A launcher whose runs are functions of their words: for tests of what stands around the runs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

from pompc.config.compose import compose
from pompc.config.spec import resolve
from pompc.sweep.options import SweepConfig
from pompc.sweep.task import Task

RUN = ("--algo", "mppi", "--env", "linear_system", "steps=100")


class InstantLauncher:
    """Write the files of a finished run at once, or do what ``act`` does before that.

    Args:
        act: is called with the task and the number of the call; a returned code is that of the run.
        returns: the mean return by the run's values.
        jobs: tasks at a time.
    """

    def __init__(
        self,
        act: Callable[[Task, int], int | None] = lambda task, number: None,
        returns: Callable[[dict], float] = lambda values: 1.0,
        jobs: int = 1,
    ) -> None:
        self.act, self.returns, self.jobs = act, returns, jobs
        self.done: list[tuple[str, ...]] = []
        self.closed = 0

    def __call__(self, options: SweepConfig, folder: Path) -> InstantLauncher:
        return self

    def run(self, task: Task) -> int:
        self.done.append(tuple(task.words))
        task.log.parent.mkdir(parents=True, exist_ok=True)
        task.log.write_text("first words\nlast words\n")
        code = self.act(task, len(self.done))
        if code is not None:
            return code
        spec = resolve(compose(None, None, task.words))
        directory = task.folder / task.directory
        directory.mkdir(parents=True, exist_ok=True)
        steps = spec.options.steps
        write_csv(directory / "timing.csv", [{"step": steps, "env_steps_per_s": 50.0}])
        write_csv(directory / "eval.csv", [{"step": steps, "reward": self.returns(dict(spec.values))}])
        (directory / "run.json").write_text(json.dumps({"status": "finished", "step": steps, **spec.identity}))
        return 0

    def close(self) -> None:
        self.closed += 1


def write_csv(path: Path, rows: list[dict]) -> None:
    """Write rows with the columns of the first one."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
