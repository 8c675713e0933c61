"""Set up the process: threads of torch, memory that it keeps, and the processor it runs on."""

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
    """Set up the process of a run, an evaluation or a benchmark.

    Args:
        threads: number of torch threads.
    """
    torch.set_num_threads(threads)
    # Convolutions of pixel encoders and of generalised advantages: float32 by default, and repeatable.
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Let glibc keep the memory that tensors free, instead of returning it to the kernel.

    An activation of the planner has a few MB. By default glibc maps and unmaps each one, and every page costs a page
    fault. The process keeps at most 1 GiB; no result changes.

    Returns:
        Whether it could be set: False without glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all(mallopt(option, value) for option, value in KEPT.items())


def available_memory(device: torch.device) -> int | None:
    """Count the free bytes of a device, on the CPU within the limit of its control group; ``None`` if that is unknown."""
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
    """Read the number in a file; ``None`` for a missing file or a word such as ``max``."""
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdecimal() else None


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means too little memory; torch's CPU allocator has no exception for it."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)


def require_memory(what: str, need: int, device: torch.device, fix: str) -> None:
    """Refuse or warn early if something needs more memory than there is.

    On the CPU a large tensor takes memory as it is written. One that is larger than the free memory is a warning, because
    it may never be written to its end.

    Args:
        what: name of the thing that needs the memory.
        need: bytes that it needs.
        device: device of the memory.
        fix: what to do about it.

    Raises:
        UserError: the memory cannot be allocated.
    """
    free = available_memory(device)  # before the trial, because torch keeps memory of an accelerator for a while
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
    """Check that ``torch.compile`` can work on the CPU.

    Args:
        what: the option that needs it.

    Raises:
        UserError: there is no C++ compiler.
    """
    if not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
        raise UserError(f"{what} needs a C++ compiler: install g++, or set CXX")


def cpu_vendor() -> str:
    """Read the maker of the processor (``GenuineIntel``, ``AuthenticAMD``); empty if it is unknown."""
    return _cpuinfo("vendor_id") or platform.processor().rpartition(", ")[2]


def cpu_model() -> str:
    """Read the name of the processor."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def lacks_bfloat16() -> bool:
    """Say whether the processor lacks instructions for bfloat16 products; False if that is unknown."""
    flags = (_cpuinfo("flags") or _cpuinfo("Features")).split()  # of x86, of ARM
    return bool(flags) and not any("bf16" in flag for flag in flags)


def _cpuinfo(field: str) -> str:
    """Read a field of Linux's description of the first processor; empty if it is missing."""
    lines = _lines(Path("/proc/cpuinfo"))
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field), "")
