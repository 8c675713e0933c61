"""What a run shows: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from pompc.training.evaluate import EvalResult
from pompc.training.loop import Record

LINE_EVERY_S = 10.0


class RunProgress:
    """Environment steps, steps per second, return, success and time left.

    Args:
        total: environment steps of the whole run.
        start: steps done before this start.
        console: where to show it.
    """

    def __init__(self, total: int, start: int, console: Console) -> None:
        self._console = console
        self._total = total
        self._bar = Progress(
            TextColumn("{task.completed:>9,.0f} / {task.total:,.0f} steps"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, completed=start, rate="", facts="")
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
        rate = (record.step - self._start) / max(time.monotonic() - self._began, 1e-9)
        facts = "  ".join(f"{name} {value:.3g}" for name, value in self._facts.items())
        speed = f"{rate:,.0f} steps/s"
        self._bar.update(self._task, completed=min(record.step, self._total), rate=speed, facts=facts)
        if record.evaluation is not None:
            self._say(record, _describe(record.evaluation))
        elif not self._console.is_terminal and time.monotonic() - self._last_line > LINE_EVERY_S:
            self._say(record, f"{facts}  {speed}".strip())

    def _say(self, record: Record, text: str) -> None:
        self._last_line = time.monotonic()
        self._console.print(f"{record.step:>9,} / {self._total:,}  {text}", highlight=False, soft_wrap=True)


def _describe(result: EvalResult) -> str:
    """One line on an evaluation; quantities that the environment does not report are left out."""
    known = {name: value for name, value in result.mean().items() if math.isfinite(value)}
    facts = "  ".join(f"{name} {value:.4g}" for name, value in known.items() if name != "reward")
    spread = result.column("reward").std(ddof=1) if len(result.episodes) > 1 else 0.0
    return f"evaluation: return {known.get('reward', math.nan):.4g} ± {spread:.3g}  {facts}"
