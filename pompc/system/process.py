"""How this process computes: threads of torch, memory that is kept between operations, and on what processor."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import warnings
from pathlib import Path

import torch

from pompc.errors import UserError

# Of glibc's malloc.h. The largest threshold that glibc takes is 32 MiB.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
MIB = 1 << 20
CONTROL_GROUP = Path("/sys/fs/cgroup")  # as a container sees its own
KEPT = {MMAP_THRESHOLD: 32 * MIB, TRIM_THRESHOLD: 1024 * MIB, TOP_PAD: 64 * MIB}


def prepare(threads: int) -> None:
    """Set what a run, an evaluation and a benchmark have in common.

    Args:
        threads: torch threads.
    """
    torch.set_num_threads(threads)
    # Convolutions of pixel encoders and of generalised advantages: float32 where not asked otherwise, and repeatable.
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Let glibc keep what tensors free, instead of handing it to the kernel and taking it back a page fault at a time.

    An activation of the planner has a few MB; by default each is mapped and unmapped anew. Costs at most 1 GiB that stays
    with the process; changes no result.

    Returns:
        Whether it could be set: false without glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all(mallopt(option, value) for option, value in KEPT.items())


def available_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device, for the CPU also by the limit of its control group; none where it is not known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    known = _meminfo("MemAvailable")
    limit, used = (_file_number(CONTROL_GROUP / f"memory.{name}") for name in ("max", "current"))
    free = [known] if known is not None else []
    if limit is not None and used is not None:
        free.append(max(limit - used, 0))
    return min(free, default=None)


def _meminfo(field: str) -> int | None:
    line = next((line for line in _lines(Path("/proc/meminfo")) if line.startswith(f"{field}:")), None)
    return None if line is None else 1024 * int(line.split()[1])


def _file_number(path: Path) -> int | None:
    """The number that a file holds; none where there is no file, or a word such as ``max``."""
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdecimal() else None


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was asked for that is not there; torch's allocator for the CPU has no exception of its own."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)


def require_memory(what: str, need: int, device: torch.device, fix: str) -> None:
    """Say before it is too late that something will not find its memory.

    On the CPU a large tensor takes memory as it is written: one that is larger than what is free is a warning, because
    it may never be written to its end.

    Args:
        what: what needs the memory.
        need: how much of it, in bytes.
        device: where.
        fix: what to do about it.

    Raises:
        UserError: it cannot be had at all.
    """
    free = available_memory(device)  # asked before, because torch keeps a while what it had on an accelerator
    sizes = f"{need / 1e9:,.1f} GB of {device} memory"
    try:
        torch.empty(need, dtype=torch.uint8, device=device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"{what} needs {sizes}, more than there is: {fix}") from error
    if free is not None and need > free:
        warnings.warn(
            f"{what} grows to {sizes}, of which {free / 1e9:,.1f} GB are free: {fix}, unless the run ends before"
        )


def require_compiler(what: str) -> None:
    """``torch.compile`` can work on the CPU.

    Args:
        what: the option that asks for it.

    Raises:
        UserError: there is no C++ compiler.
    """
    if not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
        raise UserError(f"{what} needs a C++ compiler: install g++, or set CXX")


def cpu_vendor() -> str:
    """Who made the processor, as it says itself (``GenuineIntel``, ``AuthenticAMD``); empty where it cannot be read."""
    return _cpuinfo("vendor_id") or platform.processor().rpartition(", ")[2]


def cpu_model() -> str:
    """The processor's name."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def lacks_bfloat16() -> bool:
    """Whether the processor has no instructions for bfloat16 products, as it says itself; false where it cannot be read."""
    flags = (_cpuinfo("flags") or _cpuinfo("Features")).split()  # of x86, of ARM
    return bool(flags) and not any("bf16" in flag for flag in flags)


def _cpuinfo(field: str) -> str:
    """A field of Linux's description of the first processor; empty where there is none."""
    lines = _lines(Path("/proc/cpuinfo"))
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field), "")
