"""Curves of runs are linear within their own range and end there."""

import json

import numpy as np
import pytest

from pompc.report.learning_curves import MOST_POINTS, Line, curve, line, of_lines, on_places, read_curve
from pompc.report.runs import Run


def make_run(path, steps, rewards, timing="", status="finished"):
    path.mkdir()
    rows = [f"{step},{reward}" for step, reward in zip(steps, rewards, strict=True)]
    (path / "eval.csv").write_text("\n".join(["step,reward", *rows, ""]))
    if timing:
        (path / "timing.csv").write_text(timing)
    (path / "run.json").write_text(json.dumps({}))
    return Run(path=path, algo="ppo", env="acrobot", seed=0, status=status)


def test_a_run_counts_only_within_its_own_range():
    lines = [
        Line(places=np.array([0.0, 100.0, 200.0]), values=np.array([0.0, 10.0, 20.0])),
        Line(places=np.array([50.0, 150.0]), values=np.array([4.0, 8.0])),
    ]
    found = of_lines(lines)
    np.testing.assert_array_equal(found.places, [0, 50, 100, 150, 200])  # every evaluation of every run
    np.testing.assert_array_equal(found.band.runs, [1, 2, 2, 2, 1])
    np.testing.assert_allclose(found.band.middle, [0, 4.5, 8, 11.5, 20])
    np.testing.assert_allclose(on_places(lines, np.array([25.0, 150.0, 200.0])), [[2.5, 15, 20], [np.nan, 8, np.nan]])


def test_an_evaluation_without_the_quantity_is_passed_over(tmp_path):
    run = make_run(tmp_path / "a", [0, 100, 200], [1, "", 3])
    found = line(run, run.eval, "reward")
    np.testing.assert_array_equal(found.places, [0, 200])
    assert line(run, run.eval, "success") is None
    assert curve([run], "success") is None
    assert of_lines([]) is None


def test_a_curve_over_seconds_ends_with_the_known_time(tmp_path):
    timing = "step,wall_s,model_steps\n100,10,0\n200,30,0\n"
    runs = [
        make_run(tmp_path / "a", [0, 100, 200, 300], [0, 1, 2, 3], timing, status="running"),
        make_run(tmp_path / "b", [0, 100], [0, 1]),  # no time was kept
    ]
    found = curve(runs, "reward", "seconds")
    (only,) = found.lines
    np.testing.assert_array_equal(only.places, [0, 10, 30])
    assert only.is_running
    assert curve(runs, "reward", "model_steps") is None  # a run without a model stands still on this axis


def test_a_single_evaluation_is_a_point(tmp_path):
    found = curve([make_run(tmp_path / "a", [100], [5])], "reward")
    assert (found.places.tolist(), found.band.middle.tolist()) == ([100], [5])


def test_many_points_are_thinned_over_the_whole_range():
    rng = np.random.default_rng(0)
    lines = [Line(places=np.sort(rng.uniform(0, 1000, 150)), values=np.zeros(150)) for _ in range(2)]
    found = of_lines(lines)
    assert len(found.places) == MOST_POINTS
    ends = [entry.places[[0, -1]] for entry in lines]
    assert (found.places[0], found.places[-1]) == (min(end[0] for end in ends), max(end[1] for end in ends))


def test_files_alone_make_a_curve(tmp_path):
    run = make_run(tmp_path / "a", [0, 100], [0, 5])
    found = read_curve([run.path / "eval.csv", tmp_path / "not yet.csv"])
    assert found.band.middle == pytest.approx([0, 5])
    assert not found.lines[0].is_running
