"""Tables of recorded results follow from the stored files; every run is a configuration, and every one is compared."""

import runpy
from pathlib import Path

import pytest

from pompc.config.spec import configure
from pompc.registry import ALGORITHMS

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
