"""A file that an environment reads belongs to the run by its content, wherever it lies."""

import json

import pytest
from circuits import BASE
from omegaconf import OmegaConf
from small import config

from pompc.errors import UserError
from pompc.training.directory import RunDirectory
from pompc.training.play import evaluate_checkpoint
from pompc.training.run import run
from pompc.training.session import Session


def words(path):
    return f"env.track={path}", "env.time_limit=0.3", "eval.at_start=false"


@pytest.fixture
def track(tmp_path, monkeypatch):
    """A circuit in the present folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my.xodr"
    path.write_text(BASE)
    return path


def test_a_run_knows_its_track_by_what_is_in_it(track, tmp_path, monkeypatch, capsys, recwarn):
    directory = tmp_path / "run"
    assert run(config(directory, "ppo", "carla_racing", *words("my.xodr"))) == 0
    assert OmegaConf.load(directory / "config.yaml").env.track == str(track.resolve())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    track.rename(tmp_path / "elsewhere" / "moved.xodr")
    longer = config(directory, "ppo", "carla_racing", *words("moved.xodr"), "steps=192")
    assert run(longer) == 0, "the same circuit in another place is the same run"
    assert "continues at step 128" in capsys.readouterr().out
    assert evaluate_checkpoint(directory / "checkpoints" / "last.pt", episodes=1) == 0
    assert not [entry for entry in recwarn if "another content" in str(entry.message)]
    (tmp_path / "elsewhere" / "moved.xodr").write_text(BASE.replace('a="6"', 'a="5"'))
    with pytest.raises(UserError, match=r"run with another configuration .*config_hash"):
        run(config(directory, "ppo", "carla_racing", *words("moved.xodr"), "steps=256"))
    with pytest.warns(UserWarning, match=r"trained with another content of env\.track"):
        evaluate_checkpoint(directory / "checkpoints" / "last.pt", episodes=1)


def test_a_file_that_changes_while_a_run_is_at_work_changes_nothing_of_it(track, tmp_path):
    directory = RunDirectory(tmp_path / "run")
    session = Session(config(directory.path, "ppo", "carla_racing", *words("my.xodr")), directory)
    try:
        known = session.identity["config_hash"]
        track.write_text(BASE.replace('a="6"', 'a="5"'))
        assert session._state()["manifest"]["config_hash"] == known
        assert session.family.make().track.half_width.max() == pytest.approx(6.0)
        assert json.dumps(session.identity)
    finally:
        session.close()
