"""Precision of float32 matrix products, switched for a block, and products of what samples differ in."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from pompc.system.process import cpu_vendor, lacks_bfloat16

PRECISIONS = ("highest", "high", "medium")
PLANNING = (*PRECISIONS, "centred")
SLOW_IN_MKL = "AuthenticAMD"  # MKL leaves half of these processors' vector units unused

_centred = False


def warn_of_slow_products(planning: str, device: torch.device) -> None:
    """Say so where ``centred`` products will be slower than ``highest``: on a processor without those of bfloat16."""
    if planning == "centred" and device.type == "cpu" and lacks_bfloat16():
        warnings.warn(
            "planner.matmul_precision=centred is several times slower than highest on this processor, which has no "
            "bfloat16 products"
        )


@contextmanager
def matmul_precision(value: str) -> Iterator[None]:
    """Inside the block, float32 matrix products round their factors as ``torch.set_float32_matmul_precision`` says.

    Sums, storage and everything that is not a matrix product or, on CUDA, a convolution (TF32 unless ``highest``) stay
    float32. Where ``medium`` rounds nothing and is faster
    (:func:`onednn_is_float32`), it stands for all three. ``centred`` is ``highest``, and networks that can
    (:func:`products_are_centred`) use bfloat16 for what their rows differ in.
    """
    global _centred
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, _centred
    plain = "highest" if value == "centred" else value
    torch.set_float32_matmul_precision("medium" if onednn_is_float32() else plain)
    torch.backends.cudnn.allow_tf32 = plain != "highest"
    _centred = value == "centred"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
        _centred = before[2]


def products_are_centred() -> bool:
    """Whether the block asks networks for bfloat16 products of what their rows differ in."""
    return _centred


@cache
def onednn_is_float32() -> bool:
    """Whether this machine is one on which oneDNN, which ``medium`` lets torch use, computes exactly what MKL does, faster.

    That is so on AMD processors: oneDNN rounds factors to bfloat16 only for the tile units of others, and its float32
    kernels use vectors of twice the width of MKL's there. The rounding is tried, not assumed. Not where there is CUDA,
    whose products ``medium`` rounds.
    """
    if torch.cuda.is_available() or cpu_vendor() != SLOW_IN_MKL:
        return False
    factor = torch.full((64, 64), 1 + 2.0**-12)  # 1 in bfloat16
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    product = factor @ torch.eye(64)
    torch.set_float32_matmul_precision(before)
    return torch.equal(product, factor)
