"""``pompc collect``: a dataset holds the episodes that an evaluation plays."""

from pathlib import Path

import numpy as np
import pytest
import small
import torch

from pompc import cli
from pompc.data import dataset
from pompc.data.dataset import DatasetWriter, Episode, open_dataset
from pompc.training.evaluate import evaluate
from pompc.training.opening import open_checkpoint

minari = pytest.importorskip("minari")
pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    made = {}

    def get(algo, env="linear_system", *options):
        if (algo, env, *options) not in made:
            made[algo, env, *options] = small.complete(
                small.config(tmp_path_factory.mktemp(algo), algo, env, "eval.diagnose=false", *options)
            )
        return made[algo, env, *options]

    return get


def collected(run, out, *arguments):
    assert cli.main(["collect", str(run), "--episodes", "3", "--out", str(out), *arguments]) == 0
    return list(open_dataset(out))


@pytest.mark.parametrize("algo", ["tdmpc2", "ppo"])
def test_the_episodes_are_those_of_an_evaluation(algo, runs, tmp_path, capsys):
    episodes = collected(runs(algo), tmp_path / "set", "--seed", "5")
    opened = open_checkpoint(runs(algo) / "checkpoints" / "last.pt")
    parts, options = opened.parts, opened.spec.options
    expected = evaluate(parts.agent, parts.family, episodes=3, seed=5, noise_seed=options.seed, at_once=2).episodes
    assert [float(episode.rewards.sum()) for episode in episodes] == pytest.approx([e["reward"] for e in expected])
    assert [len(episode) for episode in episodes] == [e["length"] for e in expected]
    said = capsys.readouterr().out
    assert f"3 episodes, {3 * small.EPISODE} steps, mean return" in said
    assert f"{expected[1]['reward']:.6g}" in said


def test_an_episode_is_repeated_by_its_seed_and_its_actions(runs, tmp_path):
    options = ("env.kwargs={max_episode_steps: 5}",)
    run = runs("ppo", "gym/Pendulum-v1", *options)
    collected(run, tmp_path / "set", "--explore")
    data = minari.MinariDataset(tmp_path / "set" / "data")
    env = open_checkpoint(run / "checkpoints" / "last.pt").parts.family.make()
    for index, episode in enumerate(data.iterate_episodes()):
        observation, _ = env.reset(seed=data.storage.get_episode_metadata([index]).__next__()["seed"])
        for step, action in enumerate(episode.actions):
            np.testing.assert_array_equal(observation, episode.observations[step])
            observation, reward, *_ = env.step(action)
            assert reward == pytest.approx(episode.rewards[step])
        np.testing.assert_array_equal(observation, episode.observations[-1])
        assert episode.truncations.tolist() == [False] * 4 + [True]
        assert not episode.terminations.any()
    assert index == 2


def test_minari_finds_the_dataset_by_its_path(runs, tmp_path, monkeypatch):
    collected(runs("tdmpc2"), tmp_path / "mine" / "linear-v0")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    data = minari.load_dataset("mine/linear-v0")
    assert data.total_episodes == 3
    assert data.action_space.low.tolist() == [-1.0] * data.action_space.shape[0]
    assert data.storage.metadata["pompc"]["env"] == "linear_system"
    assert data.storage.metadata["algorithm_name"] == "tdmpc2"


def test_the_plans_are_stored_and_exploring_adds_what_only_learning_needs(runs, tmp_path):
    run = runs("adaptive_pompc", "linear_system", "virtual_ratio=0.5", "steps=64")
    plain, explored = collected(run, tmp_path / "a"), collected(run, tmp_path / "b", "--explore")
    assert "planned" not in plain[0].infos
    assert explored[0].infos["planned"].shape[:2] == (small.EPISODE + 1, 2)
    for episode in (*plain, *explored):
        assert (episode.infos["plan_std"][:-1] > 0).all()
        assert (episode.infos["plan_std"][-1] == 0).all(), "no plan was made at the final observation"
    noise = (explored[0].actions - explored[0].infos["plan_mean"][:-1]) / explored[0].infos["plan_std"][:-1]
    assert 0.1 < np.abs(noise).mean() < 2.0, "actions are drawn from the plans, and clipped"


def test_the_bare_policy_collects_if_asked(runs, tmp_path):
    run = runs("tdmpc2")
    (episode, *_) = collected(run, tmp_path / "set", "eval.policy=true")
    agent = open_checkpoint(run / "checkpoints" / "last.pt").parts.agent
    with torch.no_grad():
        mean = agent.policy.sample(agent.encode(torch.as_tensor(episode.observations[:-1]))).mean
        expected = agent.policy.action(mean)
    torch.testing.assert_close(torch.as_tensor(episode.actions), expected)
    assert "plan_mean" not in episode.infos


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "there"], "there is there already: name another folder, or delete it"),
        (["--out", "new", "--explore", "eval.policy=true"], "leave out one of them"),
        (["--out", "there/file.txt/set"], "cannot write there/file.txt/set"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments, message, runs, tmp_path, monkeypatch, capsys):
    run = runs("tdmpc2")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file.txt").write_text("mine")
    assert cli.main(["collect", str(run), "--episodes", "1", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_missing_package_is_one_line(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dataset, "PACKAGES", ("minari", "no_such_package"))
    assert cli.main(["collect", str(runs("tdmpc2")), "--episodes", "1", "--out", str(tmp_path / "set")]) == 2
    assert "needs no_such_package: pip install 'pompc[minari]'" in capsys.readouterr().err


def test_a_relative_folder_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = minari.dataset.minari_storage.gym.spaces.Box(-1, 1, (1,), np.float32)
    made = Episode(np.zeros((3, 1)), np.zeros((2, 1)), np.ones(2), np.zeros(2, bool), np.array([False, True]))
    with DatasetWriter(Path("new/set"), space, space, {"dataset_id": "a/b-v0"}) as writer:
        writer.add(made)
    assert [len(episode) for episode in open_dataset(Path("new/set"))] == [2]


def test_an_interrupted_collection_leaves_nothing(tmp_path):
    space = minari.dataset.minari_storage.gym.spaces.Box(-1, 1, (1,), np.float32)
    with pytest.raises(KeyboardInterrupt), DatasetWriter(tmp_path / "set", space, space, {"dataset_id": "a/b-v0"}):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
