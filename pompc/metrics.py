"""Metrics: the mean over several calls, and what the terms of a policy loss weigh."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

TERMS = ("return", "kl")
"""The terms that lambda weighs against each other."""
TERM_METRICS = tuple(f"{term}_{what}" for what in ("term", "grad_norm") for term in TERMS)


def term_metrics(terms: Mapping[str, Tensor], parameters: Iterable[Tensor], *, gradients: bool) -> dict[str, Tensor]:
    """Value and gradient norm of the terms of a loss, before their weights; the graph is kept for the step that follows.

    Nothing is drawn and nothing but the result is written, so that the step is the same with and without them.

    Args:
        terms: scalars by name, functions of the parameters.
        parameters: of the policy.
        gradients: measure the gradients, which costs a backward pass each.

    Returns:
        ``<name>_term`` and, where asked, ``<name>_grad_norm``.
    """
    found = {f"{name}_term": term.detach() for name, term in terms.items()}
    if gradients:
        chosen = list(parameters)
        for name, term in terms.items():
            found[f"{name}_grad_norm"] = _gradient_norm(term, chosen)
    return found


def _gradient_norm(term: Tensor, parameters: list[Tensor]) -> Tensor:
    if not term.requires_grad:  # no function of the policy
        return torch.zeros_like(term)
    return get_total_norm(torch.autograd.grad(term, parameters, retain_graph=True, materialize_grads=True))


def mean_metrics(results: Sequence[Mapping[str, Any]], last: tuple[str, ...] = ()) -> dict[str, float]:
    """Average every metric over the calls that report it.

    Args:
        results: the metrics of each call, which may differ in what they report.
        last: metrics that are counts or settings, of which the last value is taken.
    """
    found: dict[str, list[Any]] = {}
    for metrics in results:
        for name, value in metrics.items():
            found.setdefault(name, []).append(value)
    return {name: _mean(values[-1:] if name in last else values) for name, values in found.items()}


def _mean(values: list[Any]) -> float:
    return torch.stack([torch.as_tensor(value, dtype=torch.float64, device="cpu") for value in values]).mean().item()
