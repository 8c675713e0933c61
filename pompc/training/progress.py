"""Show the progress of a run: a bar on a terminal, an occasional line elsewhere."""

from __future__ import annotations

import math
import os
import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from pompc.training.diagnosis import DETAILS
from pompc.training.evaluate import CUT, EvalResult
from pompc.training.loop import Record

LINE_EVERY_S = 10.0


class RunConsole(Console):
    """A console whose reader may go away (``| head``, a ``tee`` that also got the Ctrl-C): the run continues silently."""

    def on_broken_pipe(self) -> None:
        """Print nothing from now on; rich itself would end the process."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _TimeLeft(ProgressColumn):
    """Count down to the task's ``end``; rich's column forgets its estimate between updates half a minute apart."""

    def render(self, task: Task) -> Text:
        if not math.isfinite(task.fields["end"]):
            return Text("-:--:--")
        minutes, seconds = divmod(round(max(task.fields["end"] - time.monotonic(), 0.0)), 60)
        return Text(f"{minutes // 60}:{minutes % 60:02}:{seconds:02}", style="progress.remaining")


class RunProgress:
    """Show environment steps, steps per second, return, success and time left.

    Args:
        total: environment steps of the whole run.
        start: steps before this start of the run.
        console: the console to show it on.
    """

    def __init__(self, total: int, start: int, console: Console) -> None:
        self._console = console
        self._total = total
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.completed:,.0f} / {task.total:,.0f}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[facts]}"),
            _TimeLeft(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, completed=start, rate="", facts="", end=math.inf)
        self._began, self._start = time.monotonic(), start
        self._last_line = time.monotonic()
        self._facts: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def update(self, record: Record) -> None:
        """Show an iteration."""
        for name in ("return", "success"):
            if math.isfinite(record.metrics.get(name, math.nan)):
                self._facts[name] = record.metrics[name]
        now = time.monotonic()
        if not record.metrics:
            # The evaluation before training and pending updates do not measure its speed.
            self._began, self._start = now, record.step
        rate = (record.step - self._start) / max(now - self._began, 1e-9)
        end = now + (self._total - record.step) / rate if rate > 0 else math.inf
        facts = "  ".join(f"{name} {value:.3g}" for name, value in self._facts.items())
        facts += f"  {record.pending_updates:,} updates to make" if record.pending_updates else ""
        speed = f"{rate:,.{0 if rate >= 10 else 1}f} steps/s"
        shown = {"completed": min(record.step, self._total), "rate": speed if rate else "", "facts": facts, "end": end}
        self._bar.update(self._task, **shown)
        if record.evaluation is not None:
            self._say(record, _describe(record.evaluation))
        elif not self._console.is_terminal and now - self._last_line > LINE_EVERY_S:
            self._say(record, f"{facts}  {speed}".strip())

    def _say(self, record: Record, text: str) -> None:
        self._last_line = time.monotonic()
        self._console.print(f"{record.step:>9,} / {self._total:,}  {text}", highlight=False, soft_wrap=True)


def _describe(result: EvalResult) -> str:
    """Describe an evaluation in one line, without quantities that the environment does not report."""
    known = {name: value for name, value in result.mean().items() if math.isfinite(value)}
    facts = "  ".join(f"{name} {value:.4g}" for name, value in known.items() if name not in ("reward", CUT, *DETAILS))
    facts += f"  {result.cut}" if result.cut else ""
    std = result.column("reward").std(ddof=1) if len(result.episodes) > 1 else 0.0
    return f"evaluation: return {known.get('reward', math.nan):.4g} ± {std:.3g}  {facts}"
