"""The table of results/zoo follows from the stored files, and every system of the zoo has a row."""

import runpy
from pathlib import Path

import pytest
import yaml

from pompc.config.spec import configure
from pompc.registry import ALGORITHMS

ZOO = Path(__file__).parents[2] / "results" / "zoo"
PLAN = yaml.safe_load((ZOO / "runs.yaml").read_text())
SURVEY = ("imitate", "dagger", "plannetx", "trust_expert", "hrl_mpc", "subgoal", "polo", "cacto", "dtc")


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ZOO / "run.py"))


def test_the_tables_are_of_the_stored_runs(script):
    lines = script["table"](PLAN["runs"], PLAN["rows"])
    stored = script["rows"](ZOO / "table.csv")
    assert [{key: str(value) for key, value in line.items()} for line in lines] == stored, "run.py --jobs 0 writes it"
    assert script["markdown"](lines) in (ZOO / "README.md").read_text()


def test_every_run_is_in_a_row_and_every_system_is_run():
    assert {name for about in PLAN["rows"].values() for name in about["runs"]} == PLAN["runs"].keys()
    assert set(SURVEY) <= {run["algo"] for run in PLAN["runs"].values()} & ALGORITHMS.builtin.keys()


def test_every_run_is_a_configuration(script):
    for job in script["jobs"](PLAN["runs"], []):
        if job.seed == 0:
            algo, env, overrides = job.words[1], job.words[3], job.words[6:]
            assert configure(algo, env, overrides).options.steps == PLAN["runs"][job.name]["steps"]
