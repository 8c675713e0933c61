"""Tables of recorded results follow from the stored files; every run is a configuration, and every one is compared."""

import runpy
from pathlib import Path

import pytest

from pompc.config.spec import configure
from pompc.registry import ALGORITHMS
from pompc.report.published import read_published

RESULTS = Path(__file__).parents[2] / "results"
FOLDERS = sorted(path.parent for path in RESULTS.glob("*/runs.yaml"))
SURVEY = ("imitate", "dagger", "plannetx", "trust_expert", "hrl_mpc", "subgoal", "polo", "cacto", "dtc")


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(RESULTS / "record.py"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_the_tables_are_of_the_stored_runs(script, folder):
    lines = script["table"](folder)
    stored = script["rows"](folder / "table.csv")
    assert [{key: str(value) for key, value in line.items()} for line in lines] == stored, (
        "record.py --jobs 0 writes it"
    )
    assert script["markdown"](lines) in (folder / "README.md").read_text()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_every_run_is_compared(script, folder):
    plan = script["read_plan"](folder)
    assert {name for about in plan["rows"].values() for name in about["runs"]} == plan["runs"].keys()


def test_every_system_of_the_survey_is_run(script):
    runs = script["read_plan"](RESULTS / "zoo")["runs"].values()
    assert set(SURVEY) <= {run["algo"] for run in runs} & ALGORITHMS.builtin.keys()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_every_run_is_a_configuration(script, folder):
    runs = script["read_plan"](folder)["runs"]
    for job in script["jobs"](folder):
        if job.seed == 0:
            algo, env, overrides = job.words[1], job.words[3], job.words[6:]
            options = configure(algo, env, overrides).options
            assert options.steps == runs[job.name].get("steps", options.steps)
            assert options.steps % options.eval.every == 0  # the last evaluation is that of the trained agent


def test_an_evaluation_on_another_plant_is_a_line_of_its_own(script, tmp_path):
    (tmp_path / "runs.yaml").write_text(
        "runs: {a: {algo: ppo, env: linear_system, shifted: {heavy: {env.mass: 1.2}}}}\nrows: {first: {runs: [a]}}\n"
    )
    for seed, reward in enumerate((1.0, 3.0)):
        stored = tmp_path / "a" / f"seed{seed}"
        stored.mkdir(parents=True)
        (stored / "cost.json").write_text('{"cpu_s": 1.0, "model_steps": 5, "commit": "abc"}')
        (stored / "eval.csv").write_text(f"step,reward,cost\n8,{reward},0\n")
        (stored / "shifted_heavy.csv").write_text(f"episode,reward,cost\n0,{reward - 4},1\n1,{reward - 2},nan\n")
    plain, heavy = script["table"](tmp_path)
    assert (plain["run"], plain["return"], plain["points"]) == ("a", "2", "1 3")
    assert (heavy["run"], heavy["return"], heavy["points"]) == ("a, heavy", "-1", "-2 0")
    assert (heavy["cost"], heavy["seeds"]) == ("1", 2)
    (job, *_) = script["jobs"](tmp_path)
    assert job.shifted == {"heavy": {"env.mass": 1.2}}


def test_a_figure_has_the_runs_over_their_task_and_the_other_published_tasks_alone(script, tmp_path):
    head = "method,task,env_steps,seed,return\n"
    (tmp_path / "runs.yaml").write_text(
        "runs:\n  family/a: {algo: tdmpc2, env: dmc/walker-walk}\n  family/b: {algo: boom, env: dmc/walker-walk}\n"
        "rows: {first: {runs: [family/a, family/b], figure: {file: f.png, published: {p.csv: [walker-walk, dog-run]}}}}\n"
    )
    points = [
        f"boom@repo,{task},{step},mean,{step}\nboom@repo,{task},{step},std,2\n"
        for task in ("walker-walk", "dog-run", "fish-swim")
        for step in (0, 100, 200)
    ]
    (tmp_path / "p.csv").write_text(head + "".join(points))
    stored = tmp_path / "family" / "a" / "seed0"
    stored.mkdir(parents=True)
    (stored / "eval.csv").write_text("step,reward,seed\n0,1,0\n50,2,0\n")
    ours, alone = script["panels"](tmp_path, "first")
    assert (ours.title, list(ours.curves), [band.label for band in ours.bands]) == (
        "walker-walk",
        ["a"],
        ["boom (repo: mean, standard deviation)"],
    )
    assert (alone.title, dict(alone.curves)) == ("dog-run", {})
    assert alone.bands[0].low.tolist() == [-2, 98, 198]
    assert alone.bands[0].high.tolist() == [2, 102, 202]


def test_the_published_curves_of_boom_are_whole():
    bands = read_published(RESULTS / "boom" / "published.csv")
    assert len(bands) == 14
    for task, found in bands.items():
        assert {band.method.partition("@")[0] for band in found} == {"tdmpc2", "bmpc", "boom"}, task
        assert {len(band.steps) for band in found} == {20 if task.startswith("h1hand") else 21}
    ends = {band.method.partition("@")[0]: band.mean[-1] for band in bands["humanoid-run"]}
    assert ends["boom"] > ends["tdmpc2"]
