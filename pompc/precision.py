"""Precision of float32 matrix products, switched for a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pompc.errors import UserError

PRECISIONS = ("highest", "high", "medium")


def check_precision(key: str, value: str) -> None:
    """A config value that :func:`matmul_precision` takes.

    Raises:
        UserError: it is none of ``highest`` (float32), ``high`` (TF32 where the device has it), ``medium`` (bfloat16).
    """
    if value not in PRECISIONS:
        raise UserError(f"unknown {key} {value!r}; there are: {', '.join(PRECISIONS)}")


@contextmanager
def matmul_precision(value: str) -> Iterator[None]:
    """Inside the block, float32 matrix products round their factors as ``torch.set_float32_matmul_precision`` says.

    Sums, storage and everything that is not a matrix product stay float32.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(value)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
