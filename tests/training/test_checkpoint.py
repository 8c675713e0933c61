"""A checkpoint is whole or as before, whatever happens while it is written; other files are refused."""

import errno
import os
import pickle
import random
import resource
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from small import assert_same, complete, config, drawing, start_and_stop
from toy import toy_config

from pompc.errors import UserError
from pompc.training import checkpoint
from pompc.training.checkpoint import WriteError
from pompc.training.logger import CSVLog
from pompc.training.opening import find_checkpoint
from pompc.training.run import run

HEADER = {"algo": "toy", "env": "point", "seed": 0, "config_hash": "01234567"}


def content(step: int, size: int = 300) -> dict[str, Any]:
    return {"manifest": checkpoint.manifest(**HEADER, step=step), "weights": torch.full((size,), float(step))}


def refusal(path: Path) -> str:
    """Return the one line that a user sees."""
    with pytest.raises(UserError) as error:
        checkpoint.load(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value)


def write_for_ever(path: str) -> None:
    for step in range(1, 10**9):
        checkpoint.save(Path(path), content(step, 2_000_000))


def wait_until(happened: Callable[[], bool], process) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert process.exitcode is None, f"the process has ended with {process.exitcode}"
        assert time.monotonic() < deadline, "nothing is written"
        time.sleep(0.001)


def wait_for_another(path: Path, process) -> None:
    """Wait until another file has taken the place of this one."""

    def which() -> tuple[int, int]:
        found = path.stat()
        return found.st_ino, found.st_mtime_ns  # the number alone may be that of a file that is gone

    known = which()
    wait_until(lambda: which() != known, process)


def size(path: Path) -> int:
    """Return the size of a file in bytes; -1 if it is missing."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def test_a_kill_while_writing_leaves_a_whole_checkpoint(context, tmp_path):
    path, temporary = tmp_path / "last.pt", tmp_path / "last.pt.tmp"
    draw, kills, cut_off = random.Random(0), 0, 0
    while kills < 8 or not cut_off:  # until some have come in the middle of a write
        assert kills < 100, "no kill comes in the middle of a write"
        path.unlink(missing_ok=True)
        process = context.Process(target=write_for_ever, args=(str(path),))
        process.start()
        wait_until(path.exists, process)
        replaced = draw.randrange(4)
        for _ in range(replaced):
            wait_for_another(path, process)
        part = draw.randrange(-8_000_000, 8_000_000)  # of the next one's bytes; half of the kills come at once
        wait_until(lambda part=part: size(temporary) >= part, process)
        process.kill()
        process.join(30)
        state = checkpoint.load(path)
        step = state["manifest"]["step"]
        assert step > replaced
        assert torch.equal(state["weights"], torch.full((2_000_000,), float(step)))
        kills += 1
        cut_off += temporary.exists()
    checkpoint.save(path, content(7))
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_what_is_saved_comes_back(tmp_path):
    state = {"manifest": checkpoint.manifest(**HEADER, step=3), "list": [torch.arange(3), (1, 2.5, None, b"x", "y")]}
    checkpoint.save(tmp_path / "new" / "a.pt", state)
    loaded = checkpoint.load(tmp_path / "new" / "a.pt")
    assert loaded["manifest"] == state["manifest"]
    assert loaded["manifest"]["format"] == checkpoint.FORMAT
    assert loaded["manifest"]["versions"].keys() == {"pompc", "torch", "torchrl", "tensordict"}
    assert torch.equal(loaded["list"][0], state["list"][0])
    assert loaded["list"][1] == state["list"][1]


def peak_memory(path: str, size: int) -> None:
    state = content(1, size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    checkpoint.save(Path(path), state)
    Path(path).with_name("grown").write_text(str(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)))


def test_the_bytes_of_a_checkpoint_are_not_gathered_in_memory(context, tmp_path):
    process = context.Process(target=peak_memory, args=(str(tmp_path / "last.pt"), 50_000_000))
    process.start()
    process.join(60)
    assert (tmp_path / "last.pt").stat().st_size > 200_000_000
    assert int((tmp_path / "grown").read_text()) < 50_000_000


@pytest.mark.parametrize(
    ("bad", "path"),
    [({"a": [0, {1, 2}]}, "checkpoint.a[1] is a set"), ({"a": {"b": torch.Size([1])}}, "checkpoint.a.b is a Size")],
)
def test_what_would_not_come_back_is_not_saved(bad, path, tmp_path):
    with pytest.raises(TypeError) as error:
        checkpoint.save(tmp_path / "last.pt", bad)
    assert str(error.value).startswith(path)
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_or_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, content(1))
    whole = path.read_bytes()
    for size in [0, 1, *range(4, len(whole), len(whole) // 60), len(whole) - 22, len(whole) - 1]:
        path.write_bytes(whole[:size])
        assert "truncated or not a checkpoint of pompc: give another, or restore a copy" in refusal(path)
    start = whole.index(torch.ones(20).numpy().tobytes())
    path.write_bytes(whole[:start] + b"\x01" + whole[start + 1 :])
    assert "damaged" in refusal(path)


class Evil:
    def __reduce__(self):
        return os.mkdir, (str(Path(os.environ["EVIL"])),)


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.txt", "hello")


FOREIGN = {
    "zip": _zip,
    "pickle": lambda path: path.write_bytes(pickle.dumps({"manifest": {"format": checkpoint.FORMAT}})),
    "text": lambda path: path.write_text("step,reward\n"),
    "weights": lambda path: torch.save(torch.nn.Linear(2, 2).state_dict(), path),
    "module": lambda path: torch.save(torch.nn.Linear(2, 2), path),
    "list": lambda path: torch.save([1, 2], path),
    "manifest": lambda path: torch.save({"manifest": "mine"}, path),
    "format": lambda path: torch.save({"manifest": {"format": checkpoint.FORMAT}}, path),
    "code": lambda path: torch.save(Evil(), path),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_refused_and_never_executed(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("EVIL", str(tmp_path / "executed"))
    FOREIGN[kind](tmp_path / "last.pt")
    said = refusal(tmp_path / "last.pt")
    assert "not a checkpoint of pompc: " in said
    assert "`pompc convert` reads" in said
    assert "delete" not in said
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("saved", "number"),
    [({"format": checkpoint.FORMAT + 1}, checkpoint.FORMAT + 1), ({}, 1), ({"format": "pompc-checkpoint"}, 1)],
    ids=["a newer one", "no number", "the first release"],
)
def test_a_checkpoint_of_another_format_is_refused_with_what_to_do(saved, number, tmp_path):
    path = tmp_path / "last.pt"
    header = {**checkpoint.manifest(**HEADER, step=1), "versions": {"pompc": "9.9"}}
    del header["format"]
    torch.save({"manifest": {**header, **saved}}, path)
    assert refusal(path) == (
        f"{path} has checkpoint format {number}, this pompc reads format {checkpoint.FORMAT}: finish its run with pompc "
        "9.9, or start again with another run_dir="
    )


def test_a_folder_and_a_missing_checkpoint_are_refused(tmp_path):
    path = tmp_path / "last.pt"
    assert "no checkpoint" in refusal(path)
    path.mkdir()
    assert "a folder: give a run directory or a .pt file" in refusal(path)


@pytest.mark.parametrize("forgotten", [(), ("run.json",)], ids=["as it is", "run.json deleted"])
@pytest.mark.parametrize(
    ("algo", "change", "said"),
    [
        ("mppi", (), "(algo ppo, now mppi)"),
        ("ppo", ("algo.clip_epsilon=0.3",), "(config_hash "),
        ("ppo", ("seed=1",), "(seed 0, now 1)"),
    ],
)
def test_a_directory_of_another_run_is_refused(algo, change, said, forgotten, tmp_path):
    complete(config(tmp_path, "ppo", "acrobot", "eval.episodes=1", "steps=32"))
    for name in forgotten:
        (tmp_path / name).unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"}
    with pytest.raises(UserError) as error:
        run(config(tmp_path, algo, "acrobot", "eval.episodes=1", *change))
    assert said in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "give another run_dir=" in str(error.value)
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in before} == before


def test_a_truncated_checkpoint_stops_a_run_before_it_touches_anything(tmp_path):
    cfg = config(tmp_path, "ppo", "acrobot", "eval.episodes=1")
    start_and_stop(cfg, 3)
    last = tmp_path / "checkpoints" / "last.pt"
    last.write_bytes(last.read_bytes()[:-100])
    metrics = (tmp_path / "metrics.csv").read_bytes()
    with pytest.raises(UserError, match=r"truncated or not .*: restore a copy, or move it away to start again"):
        run(cfg)
    assert (tmp_path / "metrics.csv").read_bytes() == metrics
    last.unlink()
    assert run(cfg) == 0


def test_which_checkpoint_a_directory_stands_for(tmp_path):
    with pytest.raises(UserError, match="no checkpoint in"):
        find_checkpoint(tmp_path)
    last, best = (tmp_path / "checkpoints" / name for name in ("last.pt", "best.pt"))
    checkpoint.save(best, content(1))
    assert find_checkpoint(tmp_path) == find_checkpoint(tmp_path, best=True) == best
    checkpoint.save(last, content(1))
    assert find_checkpoint(tmp_path) == find_checkpoint(last) == last
    assert find_checkpoint(tmp_path, best=True) == find_checkpoint(best) == best
    with pytest.raises(UserError, match="--best chooses a checkpoint of a run directory"):
        find_checkpoint(last, best=True)
    best.unlink()
    with pytest.raises(UserError, match="was not evaluated yet: leave out --best"):
        find_checkpoint(tmp_path, best=True)


def full(*arguments) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_previous_checkpoint(call, tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    checkpoint.save(path, content(1))
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(
            WriteError, match=r"cannot write .*last.pt \(No space left on device\).*run the same command"
        ):
            checkpoint.save(path, content(2))
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]
    assert path.read_bytes() == before


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Let no file grow beyond ``size`` bytes in the block; writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("file", "limit", "batches"),
    # A checkpoint has 28 kB, the picture 42 kB; after 18 batches metrics.csv is larger than config.yaml with a long path.
    [("metrics.csv", None, 18), ("last.pt", 20_000, 14), ("curve.png", 35_000, 14)],
)
def test_a_run_that_meets_a_full_disk_fails_clearly_and_continues_later(file, limit, batches, tmp_path):
    whole, cut = (toy_config(tmp_path / name, "eval.every=320") for name in ("whole", "cut"))
    complete(whole)
    start_and_stop(cut, batches)
    last = (tmp_path / "cut" / "checkpoints" / "last.pt").read_bytes()
    limit = limit or (tmp_path / "cut" / "metrics.csv").stat().st_size + 20  # in the middle of a row
    with drawing(file == "curve.png"), file_limit(limit), pytest.raises(WriteError) as error:
        run(cut)
    assert str(error.value).startswith(f"cannot write {tmp_path / 'cut'}")
    assert file in str(error.value)
    assert (tmp_path / "cut" / "checkpoints" / "last.pt").read_bytes() == last or file == "curve.png"
    assert not list(tmp_path.rglob("*.tmp"))
    assert_same(tmp_path / "whole", complete(cut))


def test_a_row_is_written_whole_or_not_at_all(tmp_path):
    log = CSVLog(tmp_path / "a.csv")
    log.write({"step": 1, "text": "x" * 50})
    before = log.path.read_bytes()
    with file_limit(len(before) + 20), pytest.raises(WriteError, match="File too large"):
        log.write({"step": 2, "text": "y" * 50})
    assert log.path.read_bytes() == before
    log.write({"step": 3, "text": "z"})
    log.close()
    assert log.path.read_bytes() == before + b"3,z\n"


def test_a_first_row_that_failed_leaves_no_header(tmp_path):
    log = CSVLog(tmp_path / "a.csv")
    with file_limit(8), pytest.raises(WriteError):
        log.write({"step": 1, "text": "abcdef"})
    log.write({"step": 2, "text": "b"})
    log.close()
    assert log.path.read_text() == "step,text\n2,b\n"
