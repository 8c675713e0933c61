"""Predictions of several heads of one model, as one: their mean, or a part of a batch from each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def mean_of(predictions: Sequence[Tensor]) -> Tensor:
    """Average the predictions of heads ``[...]``; that of an only head stays as it is, to the last bit."""
    return predictions[0] if len(predictions) == 1 else torch.stack(list(predictions)).mean(0)


def dealt(predictions: Sequence[Tensor]) -> Tensor:
    """Deal the sequences of a batch out to the heads, in equal parts.

    Args:
        predictions: what every head predicts ``[time, batch, ...]``.

    Returns:
        ``[time, batch, ...]``, of every sequence the prediction of one head.
    """
    if len(predictions) == 1:
        return predictions[0]
    parts = [each.tensor_split(len(predictions), dim=1) for each in predictions]
    return torch.cat([part[head] for head, part in enumerate(parts)], dim=1)


@torch.no_grad()
def disagreement(predictions: Sequence[Tensor]) -> Tensor:
    """Measure how far heads predict ``[...]`` from their mean: the root mean square of all entries, a scalar."""
    return torch.stack(list(predictions)).var(0, correction=0).mean().sqrt()
