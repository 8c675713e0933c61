"""A start without a checkpoint, or with one that exceeds the memory, loses no file."""

import shutil

import pytest
import torch
from toy import toy_config

from pompc.errors import UserError
from pompc.training import checkpoint
from pompc.training.run import run

SHORT = ("steps=160", "eval.every=80", "checkpoint.every=80")


def test_without_its_checkpoint_a_run_starts_again_and_keeps_its_files(tmp_path, capsys):
    assert run(toy_config(tmp_path, *SHORT)) == 0
    before = {
        name: (tmp_path / name).read_bytes() for name in ("metrics.csv", "eval.csv", "eval_episodes.csv", "timing.csv")
    }
    for number in (1, 2):
        shutil.rmtree(tmp_path / "checkpoints")
        capsys.readouterr()
        longer = (*SHORT, f"steps={160 + 160 * number}")
        assert run(toy_config(tmp_path, *longer)) == 0
        out = capsys.readouterr().out
        assert "starts in" in out
        assert f"the files of an earlier start are in {tmp_path / f'earlier-{number}'}" in out
    for name, content in before.items():
        assert (tmp_path / "earlier-1" / name).read_bytes() == content
        if name != "timing.csv":
            assert (tmp_path / name).read_bytes().startswith(content), "the same steps again, and more"


def test_a_start_that_was_lost_before_its_first_checkpoint_leaves_nothing_aside(tmp_path):
    cfg = toy_config(tmp_path, *SHORT)
    assert run(cfg) == 0
    shutil.rmtree(tmp_path / "checkpoints")
    status = (tmp_path / "run.json").read_text()
    (tmp_path / "run.json").write_text(status.replace('"step": 160', '"step": 0').replace("finished", "running"))
    assert run(cfg) == 0
    assert not list(tmp_path.glob("earlier*"))


@pytest.mark.parametrize("name", ["metrics.csv", "eval.csv"])
def test_a_folder_with_files_of_something_else_is_refused(name, tmp_path):
    (tmp_path / name).write_text("mine\n")
    with pytest.raises(
        UserError, match="holds files of something else, which a run would replace: give another run_dir="
    ):
        run(toy_config(tmp_path, *SHORT))
    assert (tmp_path / name).read_text() == "mine\n"
    assert not (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")],
)
def test_a_checkpoint_that_does_not_fit_into_the_memory_is_not_called_damaged(error, tmp_path, monkeypatch):
    def load(*_, **__):
        raise error

    assert run(toy_config(tmp_path, *SHORT)) == 0
    last = tmp_path / "checkpoints" / "last.pt"
    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(UserError, match=r"last\.pt does not fit into the memory: free some, it is unharmed"):
        checkpoint.load(last)
