"""Everything that a comparison of runs knows, for tables, pictures and pages alike: plain Python and numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pompc.report import learning_curves, published
from pompc.report.learning_curves import Curve, Line
from pompc.report.reaching import Reaching
from pompc.report.runs import Run
from pompc.report.scores import Bounds
from pompc.report.statistics import Band, Gain, Interval
from pompc.training.metric_names import DIALS, DRIVERS

TRACES = (*DIALS, *DRIVERS, "kl", "effective_samples")
"""Columns of metrics.csv that show the dials and what drives them, in the order of their charts."""


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What a comparison asks.

    Attributes:
        metric: the column of eval.csv that scores a run. :func:`pompc.report.scores.better` says which values are better.
        share: share of the best mean over all methods that is to be reached.
        threshold: the score that is to be reached, instead of a share.
        baseline: the method that gains are over, or an unambiguous part of its name; ``None`` computes no gain.
        bounds: scores to normalise by; the last one that fits an environment counts.
        published: a file of published curves to compare with.
        split: options whose values make environments of their own, each with its tables and its panel.
    """

    metric: str = "reward"
    share: float = 0.95
    threshold: float | None = None
    baseline: str | None = None
    bounds: Sequence[Bounds] = ()
    published: Path | None = None
    split: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Method:
    """The runs of one algorithm, environment and configuration.

    Attributes:
        name: the algorithm, and what sets the method apart from others of it.
        runs: a run per seed.
        columns: means ``[run]`` over the episodes of the last evaluation, by quantity.
        scores: the column of the metric ``[run]``.
        row: its row of the final table.
        places: its rows beside published curves.
    """

    name: str
    runs: Sequence[Run]
    columns: Mapping[str, np.ndarray]
    scores: np.ndarray
    row: Mapping[str, str | float]
    places: Sequence[Mapping[str, str | float]] = ()

    @property
    def running(self) -> list[Run]:
        """The runs that have not ended."""
        return [run for run in self.runs if run.is_running]


@dataclass(frozen=True, kw_only=True, eq=False)
class Profiles:
    """Performance profiles: the share of each method's runs above each threshold ``[n]``."""

    thresholds: np.ndarray
    bands: Mapping[str, Band]


@dataclass(frozen=True, kw_only=True, eq=False)
class EnvironmentComparison:
    """The methods on one environment.

    Attributes:
        name: label of the environment.
        metric: the column that scores a run.
        methods: by name, in the order of the paths.
        published: published curves of the return over environment steps.
        threshold: the score that is to be reached; nan if there is none.
        reaching: ``{axis: {method: when it is reached}}``, for the axes that all runs of a method have.
        improvement: ``{(a, b): probability that A is better}`` of every ordered pair of methods.
        gains: ``{method: its gain over the baseline}``.
        baseline: name of the baseline; ``None`` without one.
        profiles: of the final scores.
        differences: ``{option: {method: value}}`` of the options in which methods differ that have them.
        notes: what makes the methods hard to compare, in words.
    """

    name: str
    metric: str
    methods: Mapping[str, Method]
    published: Sequence[published.Band] = ()
    threshold: float
    reaching: Mapping[str, Mapping[str, Reaching]]
    improvement: Mapping[tuple[str, str], Interval]
    gains: Mapping[str, Gain]
    baseline: str | None
    profiles: Profiles
    differences: Mapping[str, Mapping[str, str]]
    notes: Sequence[str] = ()

    @property
    def runs(self) -> list[Run]:
        """The runs of all methods."""
        return [run for method in self.methods.values() for run in method.runs]

    @property
    def metrics(self) -> list[str]:
        """The columns of eval.csv that some run has, without step and seed."""
        return [
            key for key in dict.fromkeys(key for run in self.runs for key in run.eval) if key not in ("step", "seed")
        ]

    def curves(self, metric: str | None = None, axis: str = "step") -> dict[str, Curve]:
        """Make the learning curves of the methods that have them.

        Args:
            metric: a column of eval.csv; by default the one that scores a run.
            axis: one of ``runs.AXES``.
        """
        found = {
            name: learning_curves.curve(method.runs, metric or self.metric, axis)
            for name, method in self.methods.items()
        }
        return {name: entry for name, entry in found.items() if entry is not None}

    def traces(self, axis: str = "step") -> dict[str, dict[str, list[Line]]]:
        """Collect the columns of metrics.csv that show the dials: ``{column: {method: a line per run}}``.

        Args:
            axis: one of ``runs.AXES``.
        """
        found: dict[str, dict[str, list[Line]]] = {}
        for column in TRACES:
            for name, method in self.methods.items():
                lines = [learning_curves.line(run, run.metrics, column, axis) for run in method.runs]
                if lines := [line for line in lines if line is not None]:
                    found.setdefault(column, {})[name] = lines
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Overall:
    """The methods that ran on every environment, over normalised scores; empty without bounds for all environments.

    Attributes:
        rows: a row per method of the final table.
        improvement: ``{(a, b): mean over the environments of the probability that A is better}``.
        profiles: of the normalised scores; ``None`` without them.
        note: why there is no score, or which methods are left out; may be empty.
    """

    rows: Sequence[Mapping[str, str | float]] = ()
    improvement: Mapping[tuple[str, str], Interval] = field(default_factory=dict)
    profiles: Profiles | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """A comparison of runs.

    Attributes:
        options: what was asked.
        environments: by label, in the order of the paths.
        overall: over several environments; ``None`` for one.
        waiting: run directories without an evaluation, which are left out.
    """

    options: CompareOptions
    environments: Mapping[str, EnvironmentComparison]
    overall: Overall | None
    waiting: Sequence[Path] = ()
