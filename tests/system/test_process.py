"""The set-up of a process: threads, memory, compiler."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pompc import cli
from pompc.errors import UserError
from pompc.system import process
from pompc.system.process import available_memory, keep_freed_memory, prepare, require_memory

# Blocks of malloc itself: which small ones lie between torch's own changes from process to process, and with it what glibc
# gives back.
FAULTS = """
import ctypes, resource, sys
from pompc.system.process import keep_freed_memory
assert sys.argv[1] == "as it is" or keep_freed_memory()
libc, size = ctypes.CDLL(None), 20_000_000
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
for round in range(20):
    if round == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [libc.malloc(size) for _ in range(4)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks:
        libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc: there is nothing to set")


def faults(memory: str) -> int:
    """Page faults of ten rounds that take and free four blocks of 20 MB, once the process is warm."""
    program = [sys.executable, "-c", FAULTS, memory]
    return int(subprocess.run(program, capture_output=True, text=True, check=True).stdout)


@glibc
def test_freed_memory_is_not_taken_from_the_kernel_again() -> None:
    assert faults("kept") < 100 < 1000 < faults("as it is")


def test_prepare_sets_the_threads_of_torch() -> None:
    before = torch.get_num_threads()
    try:
        prepare(before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        prepare(before)


@pytest.mark.parametrize(
    ("option", "env"), [("planner.compile", "acrobot"), ("algo.compile", "acrobot"), ("env.compile", "carla_racing")]
)
def test_what_is_to_be_compiled_without_a_compiler_is_one_line(
    option: str, env: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    run = ["run", "--algo", "tdmpc2", "--env", env, f"{option}=true", f"run_dir={tmp_path / 'run'}"]
    assert cli.main(run) == 2
    assert f"{option} needs a C++ compiler: install g++, or set CXX" in capsys.readouterr().err


def test_without_glibc_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: None) -> object:
        return object()

    monkeypatch.setattr("ctypes.CDLL", missing)
    assert not keep_freed_memory()


CPU = torch.device("cpu")


def test_memory_beyond_the_machine_is_refused_early() -> None:
    with pytest.raises(UserError, match=r"a replay needs 1,000,000\.0 GB of cpu memory, more than there is: make it"):
        require_memory("a replay", 10**15, CPU, "make it smaller")


def test_memory_that_is_not_free_now_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "available_memory", lambda device: 2_000_000)
    require_memory("a replay", 1_000_000, CPU, "make it smaller")
    with pytest.warns(UserWarning, match=r"a replay grows to 0\.0 GB of cpu memory, of which .* are free: make it"):
        require_memory("a replay", 3_000_000, CPU, "make it smaller")
    monkeypatch.setattr(process, "available_memory", lambda device: None)
    require_memory("a replay", 3_000_000, CPU, "make it smaller")


@pytest.mark.parametrize(("limit", "free"), [("3000000", 2_000_000), ("max", None), ("900000", 0)])
def test_a_control_group_limits_what_is_free(
    limit: str, free: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = available_memory(CPU)
    for name, text in (("max", limit), ("current", "1000000")):
        (tmp_path / f"memory.{name}").write_text(f"{text}\n")
    monkeypatch.setattr(process, "CONTROL_GROUP", tmp_path)
    if free is not None:
        assert available_memory(CPU) == free
    elif without is not None:
        assert available_memory(CPU) == pytest.approx(without, rel=0.5)
