"""Evaluation plays whole first episodes, always the same ones, and leaves no trace in the training."""

import csv
import math
import random
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from small import EPISODE, complete, config, differences
from toy import LIMIT, PointEnv, Toy, toy_config

from pompc import cli
from pompc.agent import MPPIRL
from pompc.data.vector import RepeatableEpisodes
from pompc.envs.acrobot import Acrobot
from pompc.errors import UserError
from pompc.training import play
from pompc.training.assemble import assemble
from pompc.training.evaluate import EvalResult, evaluate
from pompc.training.play import evaluate_checkpoint
from pompc.training.seeding import random_state
from pompc.training.video import record_episode


def parts(algo: str, env: str):
    torch.manual_seed(0)
    return assemble(config(Path("unused"), algo, env))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of adaptive_hrl on acrobot: 3 episodes an evaluation."""
    return complete(config(tmp_path_factory.mktemp("run"), "adaptive_hrl", "acrobot", "steps=64", "eval.episodes=3"))


@pytest.mark.parametrize(
    ("algo", "env"),
    [
        ("adaptive_hrl", "acrobot"),
        ("ppo", "acrobot"),
        ("mppi", "acrobot"),
        ("bmpc", "acrobot"),
        ("tdmpc2", "multitask"),
    ],
)
def test_evaluation_leaves_no_trace_and_is_the_same_every_time(algo, env):
    made = parts(algo, env)
    agent = made.agent
    if env == "multitask":
        agent.model.tasks.table.weight.data.mul_(100)  # longer than they ever are after an update
    for index, module in enumerate(agent.modules()):
        module.training = index % 2 == 0  # modes need not be the same everywhere
    torch.rand(5), random.random(), np.random.rand()  # noqa: NPY002
    if agent.planner is not None:
        agent.planner.model_steps = 17

    def state():
        modes = {name: module.training for name, module in agent.named_modules()}
        return {
            "modes": modes,
            "tensors": {name: tensor.clone() for name, tensor in agent.state_dict().items()},
            "training": agent.training_state(),
            "random": random_state(),
        }

    before = state()
    first = evaluate(agent, made.family, episodes=3, seed=5, noise_seed=3)
    assert differences(before, state()) == []
    torch.manual_seed(99)
    again = evaluate(agent, made.family, episodes=3, seed=5, noise_seed=3)
    assert differences(first.episodes, again.episodes) == []


def test_the_seed_decides_the_episodes_and_the_noise_seed_what_the_agent_draws():
    made = parts("mppi", "lunar_lander")

    def returns(seed: int, noise_seed: int) -> list[float]:
        result = evaluate(made.agent, made.family, episodes=2, seed=seed, noise_seed=noise_seed)
        return result.column("reward").tolist()

    assert returns(1, 3) == returns(1, 3)
    assert len({*returns(1, 3), *returns(2, 3), *returns(1, 4)}) == 6


def test_random_states_and_modes_come_back_when_an_evaluation_fails(monkeypatch):
    made = parts("ppo", "acrobot")
    monkeypatch.setattr(type(made.agent), "act", lambda *_: 1 / 0)
    made.agent.train()
    before = random_state()
    with pytest.raises(ZeroDivisionError):
        evaluate(made.agent, made.family, episodes=1, seed=0, noise_seed=3)
    assert differences(before, random_state()) == []
    assert all(module.training for module in made.agent.modules())


def test_only_first_episodes_count(tmp_path, monkeypatch):
    """Pushed to the right, points that start there end before the others, which are stepped on to their end."""

    def push(self, td, explore):
        td["action"] = torch.ones(len(td), 1)
        td["next", "memory"] = torch.zeros(len(td), 3)
        return td

    monkeypatch.setattr(Toy, "act", push)
    made = assemble(toy_config(tmp_path))
    result = evaluate(made.agent, made.family, episodes=6, seed=4, noise_seed=3)

    env = PointEnv(6, 4, "cpu")
    env.set_seed(4)
    start = env.reset()["observation"][:, 0].double()
    for place, episode in zip(start.tolist(), result.episodes, strict=True):
        path = [place + 0.2 * (step + 1) for step in range(LIMIT)]
        path = path[: next((i + 1 for i, x in enumerate(path) if i + 1 >= LIMIT - 3 * (x > 1.2)))]
        assert episode["length"] == len(path)
        assert episode["reward"] == pytest.approx(-sum(map(abs, path)), abs=1e-4)
        assert episode["success"] == float(any(abs(x) < 0.1 for x in path))
        assert episode["cost"] == sum(abs(x) > 1 for x in path)
    assert len({episode["length"] for episode in result.episodes}) > 1


def test_means_are_over_the_episodes_that_know_a_quantity():
    result = EvalResult([{"reward": 1.0, "lap": 3.0, "x": math.nan}, {"reward": 2.0, "lap": math.nan, "x": math.nan}])
    mean = result.mean()
    assert (mean["reward"], mean["lap"]) == (1.5, 3.0)
    assert math.isnan(mean["x"])


@pytest.mark.parametrize("algo", ["ppo", "mppi"])
def test_episodes_are_the_same_however_many_are_played_at_once(algo, monkeypatch):
    """No more copies than asked for, and in each round the environments that are next."""
    made = parts(algo, "acrobot")
    alive, most, make = [], [], type(made.family).make

    def counting(family, **options):
        env = make(family, **options)
        close = env.close
        alive.append(env)
        env.close = lambda: (alive.remove(env), close())
        most.append(len(alive))
        return env

    monkeypatch.setattr(type(made.family), "make", counting)
    seen, reset = [], RepeatableEpisodes.reset

    def watched(env, **options):
        observation, info = reset(env, **options)
        seen.append((env._index, tuple(observation)))
        return observation, info

    monkeypatch.setattr(RepeatableEpisodes, "reset", watched)
    rounds = {}
    for at_once in (None, 2, 1):
        alive.clear(), most.clear(), seen.clear()
        again = [evaluate(made.agent, made.family, episodes=5, seed=5, noise_seed=3, at_once=at_once) for _ in range(2)]
        assert again[0].episodes == again[1].episodes
        assert max(most) == (at_once or 5)
        assert len(again[0].episodes) == 5
        rounds[at_once] = dict(reversed(seen))  # of each environment the first
        if algo == "ppo":  # a planner's samples depend on how many plan together
            rounds[at_once, "return"] = again[0].column("reward")
    assert rounds[None] == rounds[2] == rounds[1]
    if algo == "ppo":
        for at_once in (2, 1):
            np.testing.assert_allclose(rounds[at_once, "return"], rounds[None, "return"], rtol=1e-6)


def test_nothing_is_made_to_read_how_long_an_episode_is(monkeypatch):
    made, make = [], Acrobot.make
    monkeypatch.setattr(Acrobot, "make", lambda family, **options: made.append(options) or make(family, **options))
    assembled = assemble(config(Path("unused"), "ppo", "acrobot", "num_envs=3"))
    assert assembled.agent.problem.episode_length == EPISODE
    assert made == [{}] * 3  # and none with a renderer
    assert assembled.family.episode_length == EPISODE
    assemble(config(Path("unused"), "ppo", "acrobot", "num_envs=3"), playing=True)
    assert len(made) == 4
    assert type(assembled.family)(assembled.family.config).episode_length == EPISODE  # alone it makes one, once
    assert len(made) == 5


def row(out: str, name: str) -> list[str]:
    """The cells of a line of the printed table."""
    line = next(line for line in out.splitlines() if line.strip("│ ").startswith(name))
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_the_best_checkpoint_has_what_playing_needs_and_nothing_of_the_past(finished):
    best, last = (torch.load(finished / "checkpoints" / name, weights_only=True) for name in ("best.pt", "last.pt"))
    assert last["training"].keys() - best["training"].keys() == {"replay"}


def test_eval_writes_its_episodes_as_a_table(finished, tmp_path, capsys):
    table = tmp_path / "episodes.csv"
    assert cli.main(["eval", str(finished), "--seed", "7", "--episodes", "2", "--csv", str(table)]) == 0
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["episode"] for row in rows] == ["0", "1"]
    assert all(float(row["reward"]) < 0 < float(row["length"]) for row in rows)
    assert cli.main(["eval", str(finished), "--csv", str(tmp_path)]) == 2


def test_pompc_eval_plays_what_the_training_evaluated(finished, capsys):
    with open(finished / "eval_episodes.csv", newline="") as file:
        last = [float(line["reward"]) for line in csv.DictReader(file) if line["step"] == "64"]
    assert cli.main(["eval", str(finished), "--seed", "1000"]) == 0
    out = capsys.readouterr().out
    assert f"{np.mean(last):.4g}" == row(out, "reward")[1]
    assert "mean of 3" in out
    title = f"{finished / 'checkpoints' / 'last.pt'}, step 64, the episodes of the evaluations in training, seed 1000"
    assert out.splitlines()[0] == title


def test_pompc_eval_plays_the_last_checkpoint_on_episodes_that_no_evaluation_has_played(finished, capsys, monkeypatch):
    seeds = []
    monkeypatch.setattr(
        play, "evaluate", lambda *_, seed, **options: seeds.append(seed) or EvalResult([{"reward": 1.0}])
    )
    for _ in range(2):
        assert cli.main(["eval", str(finished)]) == 0
        title = f"{finished / 'checkpoints' / 'last.pt'}, step 64, fresh episodes, seed 1001000"
        assert capsys.readouterr().out.splitlines()[0] == title
    assert cli.main(["eval", str(finished), "--seed", "7"]) == 0
    assert seeds == [1_001_000, 1_001_000, 7]
    family, base = assemble(config(Path("unused"), "ppo", "acrobot")).family, 1000
    known, fresh = (family.vectorise(20, seed=seed).reset()["observation"] for seed in (base, seeds[0]))
    assert not bool((known.unsqueeze(0) == fresh.unsqueeze(1)).all(-1).any())


def test_the_selected_checkpoint_says_that_it_is_and_what_its_maximum_is_worth(finished, capsys):
    best = finished / "checkpoints" / "best.pt"
    with open(finished / "eval.csv", newline="") as file:
        highest = max(float(line["reward"]) for line in csv.DictReader(file))
    said = f"selected: its return in training, {highest:.4g}, was the highest of all evaluations until then"
    for given, ends in (
        ([str(finished), "--best"], "the numbers below are not"),
        ([str(best)], "the numbers below are not"),
        ([str(best), "--seed", "1000"], "the numbers below, too, are of the episodes that selected it"),
    ):
        assert cli.main(["eval", *given, "--episodes", "1"]) == 0
        first, second = capsys.readouterr().out.splitlines()[:2]
        assert first.startswith(f"{best}, step ")
        assert second == f"{said}, and being the highest is biased upwards; {ends}"


def test_pompc_eval_takes_episodes_seed_and_overrides(finished, capsys):
    arguments = ["eval", str(finished), "--episodes", "2", "--seed", "7", "env.time_limit=5", "planner.num_samples=5"]
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert "mean of 2" in out
    assert "seed 7" in out
    assert row(out, "length")[1:] == ["5", "0", "5", "5"]


def test_pompc_eval_refuses_what_does_not_fit(finished, tmp_path, capsys):
    for overrides, said in (
        (["algo.hidden_sizes=[8]"], "does not fit the changed configuration"),
        (["env.x=1"], "env.x"),
    ):
        with pytest.raises(UserError, match=said) as error:
            evaluate_checkpoint(finished, overrides=overrides)
        assert "\n" not in str(error.value)
    assert cli.main(["eval", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def frames(path: Path) -> list[np.ndarray]:
    with imageio.get_reader(path) as reader:
        return list(reader.iter_data())


def test_a_video_of_a_checkpoint_can_be_read(finished, tmp_path, capsys):
    path = tmp_path / "new" / "acrobot.mp4"
    assert cli.main(["eval", str(finished), "--episodes", "1", "--video", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"video: {path}"
    seen = frames(path)
    assert len(seen) == EPISODE + 1  # and the end
    assert {frame.shape for frame in seen} == {(320, 320, 3)}
    assert np.ptp(seen[0]) > 100
    assert any(not np.array_equal(seen[0], frame) for frame in seen)


def test_a_racing_video_shows_the_planners_fan(tmp_path, monkeypatch):
    fast = ("steps=32", "eval.episodes=1", "planner.horizon=20", "planner.num_samples=64")
    run = complete(config(tmp_path / "run", "mppi", "carla_racing", *fast))
    evaluate_checkpoint(run, episodes=1, video=tmp_path / "fan.mp4")
    with monkeypatch.context() as patch:
        patch.setattr(MPPIRL, "overlay", lambda self, td: None)
        evaluate_checkpoint(run, episodes=1, video=tmp_path / "plain.mp4")
    fan, plain = (np.stack(frames(tmp_path / name)).astype(int) for name in ("fan.mp4", "plain.mp4"))
    assert fan.shape == plain.shape
    assert len(fan) == EPISODE + 1
    changed = (np.abs(fan - plain).max(axis=-1) > 60).mean(axis=(1, 2))
    assert changed[:-1].min() > 2e-4, changed  # at least 60 pixels; the last frame comes after the last plan
    assert changed.max() < 0.1, changed


def test_frames_of_odd_size_and_an_environment_without_an_overlay(tmp_path):
    made = assemble(toy_config(tmp_path))
    summary = record_episode(made.agent, made.family, path := tmp_path / "video.mp4", seed=0)
    assert {frame.shape for frame in frames(path)} == {(64, 96, 3)}
    assert math.isfinite(summary["return"])


def test_a_run_whose_film_fails_is_finished_all_the_same(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no display")

    monkeypatch.setattr("toy.PointGym.render", broken)
    with pytest.warns(UserWarning, match="no video .*no display.*everything else is written"):
        complete(toy_config(tmp_path, "steps=32", "eval.video=true"))
    assert not (tmp_path / "video.mp4").exists()
