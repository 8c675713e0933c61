"""How a process computes."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from pompc.process import keep_freed_memory, prepare

FAULTS = """
import resource, torch
from pompc.dynamics.layers import mlp
from pompc.process import keep_freed_memory
assert keep_freed_memory()
network, rows = mlp([384, 384, 384]), torch.ones(1536, 384)
with torch.no_grad():
    for round in range(20):
        if round == 10:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        network(rows)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc: there is nothing to set")


def faults() -> int:
    """Page faults of a planner's network, once it is warm: 2 MB an activation."""
    program = [sys.executable, "-c", FAULTS]
    return int(subprocess.run(program, capture_output=True, text=True, check=True).stdout)


@glibc
def test_freed_memory_is_not_taken_from_the_kernel_again() -> None:
    # One activation is 576 pages. One or two may still find no place in what was freed; without the setting it is, by the
    # layout of the heap that day, none or about fifty.
    assert faults() < 5 * 576


def test_prepare_sets_the_threads_of_torch() -> None:
    before = torch.get_num_threads()
    try:
        prepare(before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        prepare(before)


def test_without_glibc_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: None) -> object:
        return object()

    monkeypatch.setattr("ctypes.CDLL", missing)
    assert not keep_freed_memory()
