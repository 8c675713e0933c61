"""Runs are found wherever they lie, and their files are read as they are."""

import json
from pathlib import Path

import numpy as np
import pytest

from pompc.errors import UserError
from pompc.report.runs import Run, find_runs, read_columns, search


def write_run(path, seed=0, evaluations=2, **identity):
    """A run directory with evaluations at steps 0, 100, ..., one episode each."""
    path.mkdir(parents=True)
    words = {"algo": "ppo", "env": "acrobot", "seed": seed, "config_hash": "abc", "status": "finished", **identity}
    (path / "run.json").write_text(json.dumps(words))
    rows = [f"{100 * index},{index},{seed}" for index in range(evaluations)]
    (path / "eval.csv").write_text("\n".join(["step,reward,seed", *rows, ""]))
    (path / "eval_episodes.csv").write_text("\n".join(["step,reward,seed,episode", *[f"{row},0" for row in rows], ""]))
    return path


def seeds(*paths):
    return [run.seed for run in find_runs(paths)]


def test_a_folder_has_the_runs_below_it_at_any_depth(tmp_path):
    write_run(tmp_path / "ppo" / "acrobot" / "seed0", 0)
    run = write_run(tmp_path / "one", 1)
    for hidden in ("wandb", "checkpoints", ".cache"):  # a run holds copies of files, never other runs
        write_run(tmp_path / hidden / "copy", 8)
    write_run(run / "earlier-1", 9)
    assert seeds(tmp_path) == [1, 0]
    assert seeds(run) == [1]
    assert seeds(tmp_path / "ppo", run) == [0, 1]


def test_a_pattern_has_what_it_fits(tmp_path):
    for seed in range(3):
        write_run(tmp_path / f"seed{seed}" / "run", seed)
    assert seeds(tmp_path / "seed[02]") == [0, 2]
    assert seeds(tmp_path / "**") == [0, 1, 2]
    odd = write_run(tmp_path / "seed[02] as a name", 7)
    assert seeds(odd) == [7]


def test_a_sweep_has_the_runs_it_lists_from_here_or_from_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs" / "a", 0)
    write_run(tmp_path / "sweeps" / "s" / "b", 1)
    write_run(tmp_path / "runs" / "not of the sweep", 2)
    listed = ["runs/a", "b", "runs/not begun"]
    (tmp_path / "sweeps" / "s" / "sweep.yaml").write_text(json.dumps({"runs": listed}))
    assert sorted(seeds(tmp_path / "sweeps" / "s")) == [0, 1]
    assert sorted(seeds(tmp_path / "sweeps", tmp_path / "runs")) == [0, 1, 2]


def test_a_sweep_of_another_folder_has_its_own_runs_and_not_those_of_the_same_name_here(tmp_path, monkeypatch):
    for seed, place in enumerate(("here", "there")):
        write_run(tmp_path / place / "runs" / "a", seed)
        folder = tmp_path / place / "sweeps" / "s"
        folder.mkdir(parents=True)
        (folder / "sweep.yaml").write_text(json.dumps({"runs": ["runs/a"]}))
    monkeypatch.chdir(tmp_path / "here")
    assert seeds(Path("../there/sweeps/s")) == [1]
    assert seeds(tmp_path / "there" / "sweeps") == [1]
    assert [run.path for run in find_runs([Path("sweeps/s")])] == [Path("runs/a")]


@pytest.mark.parametrize("content", ["runs: 5", "- a", "other: []", "runs: [", ""])
def test_a_sweep_of_another_form_is_named(tmp_path, content):
    (tmp_path / "sweep.yaml").write_text(content)
    with pytest.raises(UserError, match=r"sweep\.yaml is no sweep: its key `runs` must list run directories"):
        find_runs([tmp_path])


def test_a_run_that_several_paths_contain_counts_once_at_the_place_where_it_is_named(tmp_path):
    first, second = write_run(tmp_path / "a", 0), write_run(tmp_path / "b", 1)
    assert seeds(tmp_path, tmp_path / "*") == [0, 1]
    assert seeds(tmp_path, second) == [0, 1]
    assert seeds(second, tmp_path) == [1, 0]
    assert seeds(first, first) == [0, 0]  # named twice: the comparison says that it is the same seed twice


def test_a_run_without_an_evaluation_waits_in_a_folder_and_is_refused_by_name(tmp_path):
    write_run(tmp_path / "a", 0)
    late = write_run(tmp_path / "b", 1, evaluations=0)
    found = search([tmp_path])
    assert [run.seed for run in found.runs] == [0]
    assert list(found.waiting) == [late]
    with pytest.raises(UserError, match="b has no evaluation yet: wait for its first one"):
        find_runs([tmp_path, late])
    (tmp_path / "empty").mkdir()
    for nothing in ("empty", "nowhere", "*/nothing"):
        with pytest.raises(UserError, match="is no run directory, and has none below"):
            find_runs([tmp_path / nothing])


@pytest.mark.parametrize("content", ["{", "[]", '{"algo": "ppo", "env": "acrobot"}'])
def test_a_damaged_record_is_named(tmp_path, content):
    run = write_run(tmp_path / "a")
    (run / "run.json").write_text(content)
    with pytest.raises(UserError, match=r"a/run\.json is damaged, or not of a run"):
        find_runs([tmp_path])


def test_half_a_row_does_not_count_and_an_empty_cell_is_nan(tmp_path):
    file = tmp_path / "metrics.csv"
    file.write_text("step,loss,word\n1,0.5,a\n2,,b\n3,0.2")
    columns = read_columns(file)
    np.testing.assert_array_equal(columns["step"], [1, 2])
    np.testing.assert_array_equal(columns["loss"], [0.5, np.nan])
    assert np.isnan(columns["word"]).all()
    file.write_text("step,loss\n")
    assert read_columns(file) == read_columns(tmp_path / "no.csv") == {}


def test_an_axis_is_linear_between_the_rows_of_the_timing_and_ends_with_them(tmp_path):
    path = write_run(tmp_path / "a", evaluations=4)
    (path / "timing.csv").write_text("step,wall_s,model_steps\n100,10,7\n200,40,7\n")
    run = Run(path=path, algo="ppo", env="acrobot", seed=0)
    steps = np.array([0, 50, 150, 200, 300])
    np.testing.assert_allclose(run.axis("step", steps), steps)
    np.testing.assert_allclose(run.axis("seconds", steps), [0, 5, 25, 40, np.nan])
    np.testing.assert_allclose(run.axis("model_steps", steps), [0, 3.5, 7, 7, np.nan])


def test_totals_make_an_axis_where_no_timing_was_kept(tmp_path):
    path = write_run(tmp_path / "a", evaluations=3)
    (path / "cost.json").write_text(json.dumps({"cpu_s": 50, "model_steps": 1000}))
    run = Run(path=path, algo="ppo", env="acrobot", seed=0)
    np.testing.assert_allclose(run.axis("seconds", np.array([0, 100, 200])), [0, 25, 50])
    np.testing.assert_allclose(run.axis("model_steps", np.array([100])), [500])
    (path / "cost.json").unlink()
    bare = Run(path=path, algo="ppo", env="acrobot", seed=0)
    assert np.isnan(bare.axis("seconds", np.array([0, 100]))).all()


def test_options_are_flat_and_a_running_run_says_so(tmp_path):
    path = write_run(tmp_path / "a", status="running")
    (path / "config.yaml").write_text("steps: 5\nalgo: {name: ppo, hidden: [64, 64]}\n")
    (run,) = find_runs([path])
    assert run.is_running
    assert dict(run.config) == {"steps": 5, "algo.name": "ppo", "algo.hidden": [64, 64]}
    assert run.video is None
    (path / "video.mp4").touch()
    assert run.video == path / "video.mp4"
