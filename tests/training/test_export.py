"""Agents that a package ships: what their file holds, that it plays, and the command that films it."""

import re
import sys
import types

import imageio.v2 as imageio
import pytest
import small

from pompc.cli import main
from pompc.errors import UserError
from pompc.registry import DEMOS, Entry
from pompc.training import checkpoint, export
from pompc.training.play import evaluate_checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small.complete(small.config(tmp_path_factory.mktemp("run"), "adaptive_hrl", "carla_racing"))


def table(output):
    """The means that ``pompc eval`` printed."""
    return {name: float(mean) for name, mean in re.findall(r"│ (\w+) +│ +(\S+) │", output)}


def test_an_exported_agent_keeps_weights_and_dials_and_nothing_that_only_learning_needs(run, tmp_path):
    file = export.export(run, tmp_path / "agent.pt")
    best, kept = checkpoint.load(run / "checkpoints" / "best.pt"), checkpoint.load(file)
    assert kept.keys() == {"manifest", "config", "agent", "training"}
    assert small.differences(kept["agent"], best["agent"]) == []
    assert kept["config"] == best["config"]
    assert kept["training"]["dials"] == best["training"]["dials"]
    assert not {"optimizers", "replay"} & kept["training"].keys()
    assert file.stat().st_size < (run / "checkpoints" / "best.pt").stat().st_size / 2


@pytest.mark.parametrize("algo", ["tdmpc2", "pompc"])
def test_an_exported_agent_plays_as_its_checkpoint_does(algo, tmp_path, capsys):
    run = small.complete(small.config(tmp_path / "run", algo, "gym/Pendulum-v1", "steps=48", "eval.every=1000"))
    file = export.export(run, tmp_path / "agent.pt", best=False)
    tables = []
    for source in (run / "checkpoints" / "last.pt", file):
        evaluate_checkpoint(source, episodes=3)
        tables.append(table(capsys.readouterr().out))
    assert tables[0] == tables[1]
    assert tables[0]["reward"] < 0


def test_an_agent_that_is_too_large_is_refused_and_leaves_no_file(run, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "MAX_BYTES", 1000)
    with pytest.raises(UserError, match="a demo has less than 1,000"):
        export.export(run, tmp_path / "agent.pt")
    assert list(tmp_path.iterdir()) == []


def test_pompc_demo_films_an_episode(run, tmp_path, monkeypatch, capsys):
    module = types.ModuleType("shipped")
    module.AGENT = export.export(run, tmp_path / "agent.pt")
    monkeypatch.setitem(sys.modules, "shipped", module)
    monkeypatch.setitem(DEMOS.builtin, "short", Entry("shipped:AGENT", "a car that has learned nothing"))
    film = tmp_path / "films" / "short.mp4"
    assert main(["demo", "short", "--out", str(film)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("short: a car that has learned nothing")
    assert re.fullmatch(r"return \S+  success 0  .*", lines[-2])
    assert lines[-1] == f"video: {film}"
    with imageio.get_reader(film) as reader:
        assert len(list(reader.iter_data())) == small.EPISODE + 1  # and the end


@pytest.mark.parametrize("name", DEMOS.builtin)
def test_this_pompc_plays_every_agent_that_it_ships(name):
    assert evaluate_checkpoint(DEMOS.resolve(name), episodes=1, overrides=["env.time_limit=0.5"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recing"], "did you mean 'racing'?"),
        (["racing", "--out", "lap.gif"], "--out writes an .mp4 file, not lap.gif"),
    ],
)
def test_pompc_demo_refuses_in_one_line(arguments, message, capsys):
    assert main(["demo", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_shipped_agents_are_small():
    for name in DEMOS.builtin:
        assert DEMOS.resolve(name).stat().st_size < export.MAX_BYTES


@pytest.mark.filterwarnings("error")
def test_the_shipped_racing_agent_drives_a_lap_without_a_violation(capsys):
    evaluate_checkpoint(DEMOS.resolve("racing"), episodes=1)
    means = table(capsys.readouterr().out)
    assert means["success"] == 1
    assert means["cost"] == 0
