"""Compute a comparison from paths of runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from pompc.errors import UserError
from pompc.report import published
from pompc.report.comparison import CompareOptions, Comparison, EnvironmentComparison, Method, Overall, Profiles
from pompc.report.grouping import Methods, differences, group
from pompc.report.learning_curves import Line, line, on_places
from pompc.report.placing import against_published, published_bands
from pompc.report.reaching import Reaching, reaching, threshold_of
from pompc.report.runs import AXES, Run, search
from pompc.report.scores import better, bounds_of, over_all, run_scores, sign, summary
from pompc.report.statistics import Gain, Interval, gain, mean_probability, profile_band

PROFILE_POINTS = 101
EVALUATION = ("eval.seed", "eval.episodes", "eval.max_steps", "eval.policy")
"""Options that decide what an evaluation plays."""

Tasks = Mapping[str, Sequence[np.ndarray]]
"""Scores ``[run]`` of every method on every task."""


def make_comparison(paths: Sequence[Path], options: CompareOptions | None = None) -> Comparison:
    """Read runs and compute all statistics of their scores.

    Args:
        paths: what :func:`pompc.report.runs.search` takes.
        options: what to ask; the defaults otherwise.

    Raises:
        UserError: a path holds no evaluated run, a folder holds the same seed of one method twice, a run lacks the metric,
            no method is the baseline, or the published curves belong to other tasks.
    """
    options = options or CompareOptions()
    found = search(paths)
    _require_metric(found.runs, options.metric)
    groups = group(found.runs, options.split)
    baselines = _baselines(groups, options.baseline)
    bands = {} if options.published is None else published_bands(groups, options.published)
    environments = {
        env: _environment(env, methods, options, baselines.get(env), bands.get(env, ()))
        for env, methods in groups.items()
    }
    overall = _overall(environments, options) if len(environments) > 1 else None
    return Comparison(options=options, environments=environments, overall=overall, waiting=found.waiting)


def _require_metric(runs: Sequence[Run], metric: str) -> None:
    for run in runs:
        if not np.isfinite(run_scores([run]).get(metric, np.nan)):
            known = ", ".join(key for key in run.eval if key not in ("step", "seed"))
            raise UserError(f"{run.path} has no {metric} in its last evaluation: --metric is one of {known}")


def _baselines(groups: Mapping[str, Methods], wanted: str | None) -> dict[str, str]:
    """Find the name of the baseline on every environment that has it.

    Raises:
        UserError: nothing or more than one method fits.
    """
    if wanted is None:
        return {}
    found = {}
    for env, methods in groups.items():
        fitting = [wanted] if wanted in methods else [name for name in methods if wanted in name]
        if len(fitting) > 1:
            raise UserError(f"--baseline {wanted} fits several methods on {env}: {'; '.join(fitting)}")
        found.update((env, name) for name in fitting)
    if not found:
        names = dict.fromkeys(name for methods in groups.values() for name in methods)
        raise UserError(f"--baseline {wanted} fits no method: there are {'; '.join(names)}")
    return found


def _environment(
    env: str, groups: Methods, options: CompareOptions, baseline: str | None, bands: Sequence[published.Band]
) -> EnvironmentComparison:
    methods = {name: _method(name, runs, options.metric, bands) for name, runs in groups.items()}
    threshold = options.threshold
    if threshold is None:
        threshold = _threshold(env, groups, options)
    tasks = {name: [method.scores] for name, method in methods.items()}
    differ = {option: values for option, values in differences(groups).items() if len(set(values.values())) > 1}
    return EnvironmentComparison(
        name=env,
        metric=options.metric,
        methods=methods,
        published=bands,
        threshold=threshold,
        reaching={axis: _reaching(groups, options.metric, axis, threshold) for axis in AXES},
        improvement=_improvement(tasks, options.metric),
        gains=_gains(methods, baseline),
        baseline=baseline,
        profiles=_profiles(tasks),
        differences=differ,
        notes=_notes(groups, differ, options.metric),
    )


def _notes(groups: Methods, differ: Collection[str], metric: str) -> list[str]:
    """Say what makes methods hard to compare: other environments, other evaluations, runs that go on."""
    notes = [] if better(metric) else [f"a higher {metric} counts as better: nothing says which is"]
    known = [(runs[0].algo, runs[0].hash) for runs in groups.values() if runs[0].hash is not None]
    if twice := dict.fromkeys(algo for algo, key in known if known.count((algo, key)) > 1):
        notes.append(
            f"several folders hold the same seeds of one configuration, so each is a method: {', '.join(twice)}"
        )
    if environment := [option for option in differ if option.startswith("env.")]:
        notes.append(f"options of the environment differ (--split KEY compares apart): {', '.join(environment)}")
    if evaluation := [option for option in EVALUATION if option in differ]:
        notes.append(f"the evaluation episodes differ: {', '.join(evaluation)}")
    if unfinished := [f"{run.path} ({run.status})" for runs in groups.values() for run in runs if run.is_unfinished]:
        notes.append(f"not finished, so their last evaluation is no final one: {', '.join(unfinished)}")
    return notes


def _method(name: str, runs: Sequence[Run], metric: str, bands: Sequence[published.Band]) -> Method:
    columns = run_scores(runs)
    return Method(
        name=name,
        runs=runs,
        columns=columns,
        scores=columns[metric],
        row=summary(name, columns, metric),
        places=against_published(runs, bands),
    )


def _threshold(env: str, groups: Methods, options: CompareOptions) -> float:
    """Compute the score to reach from the methods' mean curves on all steps of all evaluations."""
    factor, bounds = sign(options.metric), bounds_of(env, options.bounds)
    worst = None if bounds is None else factor * (bounds.low if factor > 0 else bounds.high)
    lines = {name: _lines(runs, options.metric, "step") for name, runs in groups.items()}
    whole = {name: found for name, found in lines.items() if found}
    if not whole:
        return float("nan")
    steps = np.unique(np.concatenate([entry.places for found in whole.values() for entry in found]))
    curves = {name: factor * on_places(found, steps) for name, found in whole.items()}
    return factor * threshold_of(curves, options.share, worst)


def _reaching(groups: Methods, metric: str, axis: str, threshold: float) -> dict[str, Reaching]:
    """Find when the methods reach the threshold whose runs all have the axis."""
    if np.isnan(threshold):
        return {}
    factor, found = sign(metric), {name: _lines(runs, metric, axis) for name, runs in groups.items()}
    reached = {
        name: reaching(
            [entry.places for entry in lines], [factor * entry.values for entry in lines], factor * threshold
        )
        for name, lines in found.items()
        if lines
    }
    return {name: dataclasses.replace(entry, threshold=threshold) for name, entry in reached.items()}


def _lines(runs: Sequence[Run], metric: str, axis: str) -> list[Line]:
    """Make the learning curve of every run; empty if a run has none."""
    lines = [line(run, run.eval, metric, axis) for run in runs]
    found = [entry for entry in lines if entry is not None]
    return found if len(found) == len(lines) else []


def _improvement(tasks: Tasks, metric: str) -> dict[tuple[str, str], Interval]:
    """Compute the probability of every ordered pair that A is better than B.

    That of (B, A) is its complement, since a tie counts half for both.
    """
    factor = sign(metric)
    signed = {name: [factor * scores for scores in runs] for name, runs in tasks.items()}
    found: dict[tuple[str, str], Interval] = {}
    for a, b in combinations(signed, 2):
        there = mean_probability(signed[a], signed[b])
        found[a, b] = there
        found[b, a] = Interval(value=1 - there.value, low=1 - there.high, high=1 - there.low)
    return found


def _gains(methods: Mapping[str, Method], baseline: str | None) -> dict[str, Gain]:
    if baseline is None:
        return {}
    scores = methods[baseline].scores
    return {name: gain(method.scores, scores) for name, method in methods.items() if name != baseline}


def _profiles(tasks: Tasks) -> Profiles:
    """Compute profiles over thresholds from the lowest to the highest score."""
    scores = np.concatenate([runs for method in tasks.values() for runs in method])
    thresholds = np.linspace(scores.min(), scores.max(), PROFILE_POINTS)
    return Profiles(thresholds=thresholds, bands={name: profile_band(runs, thresholds) for name, runs in tasks.items()})


def _overall(environments: Mapping[str, EnvironmentComparison], options: CompareOptions) -> Overall:
    scores = {
        env: {name: method.scores for name, method in entry.methods.items()} for env, entry in environments.items()
    }
    rows, note = over_all(scores, options.bounds, options.metric)
    if not rows:
        return Overall(note=note)
    within = {env: bounds_of(env, options.bounds) for env in scores}
    tasks = {
        str(row["algorithm"]): [
            bounds.normalised(scores[env][str(row["algorithm"])])
            for env, bounds in within.items()
            if bounds is not None
        ]
        for row in rows
    }
    improvement = _improvement(tasks, options.metric)
    return Overall(rows=rows, improvement=improvement, profiles=_profiles(tasks), note=note)
