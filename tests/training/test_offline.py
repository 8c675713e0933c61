"""``data=FOLDER``: an off-policy agent learns from stored episodes; the environment is only evaluated in."""

import numpy as np
import pytest
import small
import torch
from gymnasium import spaces

from pompc.config.spec import configure
from pompc.data.dataset import DatasetWriter, Episode
from pompc.data.frozen_replay import FrozenReplay
from pompc.errors import UserError
from pompc.training.assemble import make_family
from pompc.training.directory import RunDirectory
from pompc.training.opening import open_checkpoint
from pompc.training.session import Session

pytest.importorskip("minari")
pytest.importorskip("h5py")

RUN = ("steps=64", "eval.every=32", "checkpoint.every=16", "eval.diagnose=false", "eval.compare_policy=false")


def episode(rng, steps=8, observation=2, action=1, low=-1.0, high=1.0, **changes):
    """Make an episode of a stable system under random actions."""
    parts = {
        "observations": rng.normal(size=(steps + 1, observation)).astype(np.float32),
        "actions": rng.uniform(low, high, (steps, action)).astype(np.float32),
        "rewards": rng.normal(size=steps).astype(np.float32),
        "terminations": np.zeros(steps, bool),
        "truncations": np.arange(steps) == steps - 1,
    }
    return Episode(**{**parts, **changes})


def write(folder, episodes, low=-1.0, high=1.0, **metadata):
    shape, size = episodes[0].observations.shape[1:], episodes[0].actions.shape[-1]
    seen = spaces.Box(-np.inf, np.inf, shape, np.float32)
    acted = spaces.Box(low, high, (size,), np.float32)
    with DatasetWriter(folder, seen, acted, {"dataset_id": "tests/random-v0", **metadata}) as writer:
        for one in episodes:
            writer.add(one)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    rng = np.random.default_rng(0)
    return write(tmp_path_factory.mktemp("sets") / "set", [episode(rng, steps) for steps in (8, 5, 9, 2)])


def spec(directory, folder, algo="tdmpc2", *overrides):
    return small.config(directory, algo, "linear_system", *RUN, f"data={folder}", *overrides)


def session(directory, folder, algo="tdmpc2", *overrides):
    return Session(spec(directory, folder, algo, *overrides), RunDirectory(directory))


def test_a_run_learns_from_the_dataset_and_steps_no_environment(folder, tmp_path, monkeypatch, capsys):
    from pompc.data import collector

    monkeypatch.setattr(collector.ResumableCollector, "__init__", None)  # to collect would fail
    small.complete(spec(tmp_path, folder))
    said = capsys.readouterr().out
    assert f"learns from {folder}: 4 episodes, 24 steps, mean return" in said
    header, *rows = (tmp_path / "metrics.csv").read_text().splitlines()
    last = dict(zip(header.split(","), rows[-1].split(","), strict=True))
    assert float(last["step"]) == 64
    assert float(last["updates"]) == 32, "half an update per stored step, and no seed phase"
    assert len((tmp_path / "eval.csv").read_text().splitlines()) == 4


@pytest.mark.learning
def test_a_planner_learned_from_random_episodes_is_far_better_than_they_are(tmp_path):
    """Random actions return -590 on average, the untrained agent -800; after 160 updates three seeds
    reach -102, -4 and -15."""
    base = [*small.ALGORITHMS["tdmpc2"], "env.time_limit=20", "eval.video=false", "wandb.mode=disabled"]
    episodes = random_episodes(make_family(configure("tdmpc2", "linear_system", base)), 100)
    folder = write(tmp_path / "set", episodes)
    learning = ("num_envs=1", "algo.update_to_data=1", "algo.batch_size=64", "algo.learning_rate=1e-3", "steps=160")
    checked = ("eval.every=160", "eval.episodes=10", "eval.diagnose=false", "eval.compare_policy=false")
    options = [*base, "planner.horizon=3", *learning, *checked, "eval.at_start=false", f"data={folder}"]
    small.complete(configure("tdmpc2", "linear_system", [*options, f"run_dir={tmp_path / 'run'}"]))
    row = (tmp_path / "run" / "eval.csv").read_text().splitlines()[-1]
    behind = np.mean([one.rewards.sum() for one in episodes])
    assert behind < -400
    assert float(row.split(",")[1]) > -250


def random_episodes(family, count):
    """Play an episode of random actions in each of ``count`` environments."""
    env, draws = family.vectorise(count, seed=0), torch.Generator().manual_seed(0)
    td, steps = env.reset(), []
    for _ in range(family.episode_length):
        td["action"] = torch.rand(*env.action_spec.shape, generator=draws) * 2 - 1
        stepped = env.step(td)
        steps.append(stepped)
        td = stepped["next"].exclude("reward")
    data = torch.stack(steps, 1)
    after, length = data["next"], len(steps)
    observed = torch.cat([data["observation"], after["observation"][:, -1:]], 1)
    parts = (observed, data["action"], after["reward"][..., 0], after["terminated"][..., 0])
    last = np.arange(length) == length - 1
    return [Episode(*(part[env].numpy() for part in parts), last) for env in range(count)]


def test_the_episodes_of_the_dataset_are_what_the_log_counts(folder, tmp_path):
    begun = session(tmp_path, folder)
    batches = [begun.collector.rollout() for _ in range(11)]  # row 0 has episodes of 8 and 9 steps, row 1 of 5 and 2
    begun.close()
    data = torch.cat(batches, 1)
    assert data.shape == (2, 11)
    assert data["next", "done"][..., 0].nonzero().tolist() == [[0, 7], [1, 4], [1, 6]]
    expected = data["next", "reward"][0, :8].sum()
    torch.testing.assert_close(data["next", "episode_reward"][0, 7], expected[None])
    assert data["next", "step_count"][1, :7, 0].tolist() == [1, 2, 3, 4, 5, 1, 2]
    torch.testing.assert_close(data["observation"][:, 1], data["next", "observation"][:, 0])
    torch.testing.assert_close(data["observation"][1, 7], data["observation"][1, 0])  # and begins again


@pytest.mark.parametrize("algo", ["tdmpc2", "bmpc"])
def test_a_stopped_run_goes_on_to_the_same_bits(algo, tmp_path):
    rng = np.random.default_rng(1)
    plans = {"plan_mean": rng.uniform(-1, 1, (9, 1)), "plan_std": np.full((9, 1), 0.5)}
    infos = {name: value.astype(np.float32) for name, value in plans.items()}
    folder = write(tmp_path / "set", [episode(rng, infos=infos) for _ in range(3)])
    small.complete(spec(tmp_path / "whole", folder, algo))
    small.start_and_stop(spec(tmp_path / "parts", folder, algo), 4)
    small.complete(spec(tmp_path / "parts", folder, algo))
    small.assert_same(tmp_path / "whole", tmp_path / "parts")
    state = torch.load(tmp_path / "whole" / "checkpoints" / "last.pt", weights_only=True)["training"]["replay"]
    renewed = {"bmpc": {"plan_mean", "plan_std"}, "tdmpc2": set()}[algo]
    assert set(state["updated"]) == renewed, "a checkpoint has no more of the dataset than has changed"
    assert open_checkpoint(tmp_path / "whole" / "checkpoints" / "last.pt").parts.agent.updates == 32


def test_the_replay_of_a_dataset_is_that_of_a_collector_with_the_same_data(folder, tmp_path):
    from pompc.data.replay import SliceReplay

    begun = session(tmp_path, folder)
    replay, rng = begun.agent.replay, np.random.default_rng(0)
    begun.close()
    assert isinstance(replay, FrozenReplay)
    collected = SliceReplay(replay.capacity, 1, replay.slice_steps, extras=replay.extras)
    for steps in (8, 5, 9, 2):
        slots = replay.transitions(torch.arange(steps) + len(collected))
        slots["next", "done"] = (torch.arange(steps) == steps - 1).unsqueeze(-1)
        torch.testing.assert_close(slots["action"].numpy(), episode(rng, steps).actions)
        collected.extend(slots.unsqueeze(0))
    assert len(collected) == len(replay) == 28
    assert collected.num_starts == replay.num_starts
    for which in (replay, collected):
        torch.manual_seed(0)
        batch, indices = which.sample(64)
        if which is replay:
            expected = batch, indices
    assert torch.equal(indices, expected[1])
    assert small.differences(batch.to_dict(), expected[0].to_dict()) == []


def test_actions_of_other_bounds_are_scaled_and_plans_that_nobody_reads_stood_in_for(tmp_path):
    made = episode(np.random.default_rng(2), low=-2.0, high=6.0)
    begun = session(tmp_path / "run", write(tmp_path / "set", [made], low=-2.0, high=6.0))
    batch, _ = begun.agent.replay.sample(50)
    begun.close()
    first = batch[0]
    torch.testing.assert_close(first["plan_mean"], first["action"])
    known = {tuple(row) for row in np.round((made.actions - 2.0) / 4.0, 4).tolist()}
    assert {tuple(row) for row in first["action"].numpy().round(4).tolist()} <= known


def refused(tmp_path, dataset, message, algo="tdmpc2", *overrides):
    with pytest.raises(UserError, match=message) as found:
        session(tmp_path / "run", dataset, algo, *overrides)
    assert "\n" not in str(found.value)


def test_on_policy_agents_refuse(folder, tmp_path):
    refused(tmp_path, folder, "ppo learns from its own actions only; take one of tdmpc2", "ppo")


@pytest.mark.parametrize(
    ("algo", "overrides", "message"),
    [
        ("bmpc", (), "lacks plan_mean, plan_std, which BMPC learns from: collect it with a run of the same algorithm"),
        ("tdmpc2", ("kl_weight=1.0",), "lacks plan_mean, plan_std, which TDMPC2"),
        ("trust_expert", (), "lacks plan_mean, plan_std, actor, chosen, which TrustExpert"),
        ("tdmpc2", ("planner.horizon=20",), r"no episode .* has the 20 steps of a sequence \(the longest has 9\)"),
        ("tdmpc2", ("data=/nowhere",), "no dataset in /nowhere: give a folder of `pompc collect`"),
    ],
)
def test_what_the_dataset_cannot_give_is_one_line(algo, overrides, message, folder, tmp_path):
    refused(tmp_path, folder, message, algo, *overrides)


def test_another_environment_or_action_repeat_is_one_line(tmp_path):
    rng = np.random.default_rng(3)
    wide = write(tmp_path / "wide", [episode(rng, observation=3)])
    refused(tmp_path, wide, r"an observation has the shape \[3\], in the environment \[2\]")
    repeated = write(tmp_path / "repeated", [episode(rng)], pompc={"action_repeat": 2})
    refused(tmp_path, repeated, "repeated 2 times, in the environment 1: set env.action_repeat=2")
    broken = write(tmp_path / "broken", [episode(rng, rewards=np.full(8, np.nan, np.float32))])
    refused(tmp_path, broken, "a number that is not finite")


def test_a_dataset_that_has_changed_is_refused(tmp_path):
    rng = np.random.default_rng(4)
    folder = write(tmp_path / "set", [episode(rng)])
    small.start_and_stop(spec(tmp_path / "run", folder), 3)
    folder.rename(tmp_path / "before")
    write(folder, [episode(rng)])
    with pytest.raises(UserError, match="the dataset has changed since this run began"):
        session(tmp_path / "run", folder)


def test_the_path_of_a_dataset_means_the_same_in_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = configure("tdmpc2", "linear_system", ["data=set"])
    assert here.options.data == str(tmp_path / "set")
    assert here.config_hash == configure("tdmpc2", "linear_system", [f"data={tmp_path}/set"]).config_hash
    assert here.config_hash != configure("tdmpc2", "linear_system").config_hash
