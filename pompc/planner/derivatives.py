"""Jacobians of functions that are batched over leading dimensions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def jacobian(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Differentiate a function whose batch entries do not depend on each other, in one batched backward pass.

    Args:
        function: ``[..., input]`` -> ``[..., output]``.
        at: ``[..., input]``.

    Returns:
        ``[..., output, input]``.
    """
    rows = torch.func.jacrev(lambda x: function(x).flatten(0, -2).sum(0))(at)
    return rows.movedim(0, -2)  # pyright: ignore[reportAttributeAccessIssue]


def gradient_and_hessian(function: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """Differentiate ``[..., input]`` -> ``[...]`` twice, as :func:`jacobian` does once.

    Returns:
        ``[..., input]`` and ``[..., input, input]``.
    """
    gradient = torch.func.grad(lambda x: function(x).sum())
    return gradient(at), jacobian(gradient, at)


def raised(matrix: Tensor, least: float | Tensor) -> tuple[Tensor, Tensor]:
    """Raise the eigenvalues of symmetric matrices ``[..., n, n]`` to ``least``, a number or ``[..., 1]``.

    Returns:
        Eigenvalues ``[..., n]`` and eigenvectors ``[..., n, n]``, in columns.
    """
    value, vector = torch.linalg.eigh((matrix + matrix.mT) / 2)
    return torch.maximum(value, torch.as_tensor(least, dtype=value.dtype, device=value.device)), vector
