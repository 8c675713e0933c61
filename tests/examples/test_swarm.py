"""A batched environment of a user, straight from a module in the folder: 2,048 environments in one batch."""

import sys
from pathlib import Path

import pytest
import small
import torch

from pompc import cli
from pompc.config.spec import configure
from pompc.training.assemble import assemble

FOLDER = Path(__file__).parents[2] / "examples" / "swarm"
MANY = 2048
ENV = ("env.episode_steps=50", "env.info_keys=[success]", "eval.episodes=2", "eval.video=false", "wandb.mode=disabled")
ALGORITHMS = {
    "ppo": (*small.ALGORITHMS["ppo"], "algo.minibatch_size=4096", f"algo.batch_size={8 * MANY}", f"steps={16 * MANY}"),
    "tdmpc2": (
        *small.ALGORITHMS["tdmpc2"],
        "planner.num_samples=8",
        "algo.update_to_data=0.0002",
        f"steps={53 * MANY}",
    ),
}
LEARNED = {"ppo": "policy_loss", "tdmpc2": "updates"}
"""A metric that is zero before the first update."""


@pytest.fixture(autouse=True)
def _in_the_folder(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    sys.modules.pop("pompc_swarm", None)


def arguments(algo, directory, *overrides):
    seeds = (f"algo.seed_steps={MANY}", "algo.pretrain_updates=2") if algo == "tdmpc2" else ()
    found = (*ENV, *ALGORITHMS[algo], *seeds, f"num_envs={MANY}", f"eval.every={100 * MANY}", f"run_dir={directory}")
    return ["--algo", algo, "--env", "envbase/pompc_swarm:Reach", *found, *overrides]


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_thousands_of_environments_learn_as_one_batch(algo, tmp_path):
    assert cli.main(["run", *arguments(algo, tmp_path)]) == 0
    header, *rows = (tmp_path / "metrics.csv").read_text().splitlines()
    last = dict(zip(header.split(","), rows[-1].split(","), strict=True))
    assert float(last["step"]) >= 16 * MANY
    assert float(last[LEARNED[algo]]) != 0
    played = dict(zip(*[line.split(",") for line in (tmp_path / "eval.csv").read_text().splitlines()[:2]], strict=True))
    assert float(played["length"]) == 50
    assert 0 <= float(played["success"]) <= 1


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path):
    def spec(name):
        short = arguments("ppo", tmp_path / name, f"algo.batch_size={64 * 30}", f"steps={64 * 120}", "num_envs=64")
        return configure("ppo", "envbase/pompc_swarm:Reach", short[4:])

    small.complete(spec("whole"))
    small.start_and_stop(spec("parts"), 2)
    small.complete(spec("parts"))
    small.assert_same(tmp_path / "whole", tmp_path / "parts")


def test_an_episode_is_decided_by_the_seed():
    def starts(seed):
        spec = configure("ppo", "envbase/pompc_swarm:Reach", ["num_envs=4", f"seed={seed}"])
        return assemble(spec).env.reset()["observation"]

    assert torch.equal(starts(1), starts(1))
    assert not torch.equal(starts(1), starts(2))
