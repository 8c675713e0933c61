"""Switch the precision of float32 matrix products for a block."""

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
    """Warn if ``centred`` products are slower than ``highest`` ones: on a processor without bfloat16 products."""
    if planning == "centred" and device.type == "cpu" and lacks_bfloat16():
        warnings.warn(
            "planner.matmul_precision=centred is several times slower than highest on this processor, which has no "
            "bfloat16 products"
        )


@contextmanager
def matmul_precision(value: str) -> Iterator[None]:
    """Round the factors of float32 matrix products in the block, as ``torch.set_float32_matmul_precision`` defines it.

    Sums, storage and all other operations stay float32, except convolutions on CUDA (TF32 unless ``highest``). If
    ``medium`` rounds nothing and is faster (:func:`onednn_is_float32`), it replaces ``highest`` and ``high``. ``centred``
    is ``highest``, and networks that support it (:func:`products_are_centred`) use bfloat16 for the differences between
    samples.
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
    """Say whether the block asks networks for bfloat16 products of the differences between samples."""
    return _centred


@cache
def onednn_is_float32() -> bool:
    """Say whether oneDNN, which torch uses with ``medium``, computes the same as MKL and faster on this machine.

    It does on AMD processors. oneDNN rounds factors to bfloat16 only for the tile units of other makers, and its float32
    kernels use vectors twice as wide as MKL's there. The function tries the rounding. With CUDA the answer is no, because
    ``medium`` rounds products there.
    """
    if torch.cuda.is_available() or cpu_vendor() != SLOW_IN_MKL:
        return False
    factor = torch.full((64, 64), 1 + 2.0**-12)  # 1 in bfloat16
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    product = factor @ torch.eye(64)
    torch.set_float32_matmul_precision(before)
    return torch.equal(product, factor)
