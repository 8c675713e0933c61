"""How this process computes: threads of torch, and memory that is kept between operations."""

from __future__ import annotations

import ctypes

import torch

# Of glibc's malloc.h. The largest threshold that glibc takes is 32 MiB.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
MIB = 1 << 20
KEPT = {MMAP_THRESHOLD: 32 * MIB, TRIM_THRESHOLD: 1024 * MIB, TOP_PAD: 64 * MIB}


def prepare(threads: int) -> None:
    """Set what a run, an evaluation and a benchmark have in common.

    Args:
        threads: torch threads.
    """
    torch.set_num_threads(threads)
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
