"""Metrics: means over several calls, and the terms of a policy loss."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

TERMS = ("return", "kl")
"""The terms that lambda weighs against each other."""
TERM_METRICS = tuple(f"{term}_{what}" for what in ("term", "grad_norm") for term in TERMS)


def term_metrics(terms: Mapping[str, Tensor], parameters: Iterable[Tensor], *, gradients: bool) -> dict[str, Tensor]:
    """Measure value and gradient norm of the terms of a loss, before their weights.

    It draws nothing, keeps the graph and changes no gradient, so the optimizer step stays the same.

    Args:
        terms: scalars by name, functions of the parameters.
        parameters: parameters of the policy.
        gradients: measure the gradient norms too; each costs a backward pass.

    Returns:
        ``<name>_term`` and, with ``gradients``, ``<name>_grad_norm``.
    """
    found = {f"{name}_term": term.detach() for name, term in terms.items()}
    if gradients:
        chosen = list(parameters)
        for name, term in terms.items():
            found[f"{name}_grad_norm"] = _gradient_norm(term, chosen)
    return found


def _gradient_norm(term: Tensor, parameters: list[Tensor]) -> Tensor:
    if not term.requires_grad:  # the term does not depend on the policy
        return torch.zeros_like(term)
    return get_total_norm(torch.autograd.grad(term, parameters, retain_graph=True, materialize_grads=True))


def warn_of_skipped_steps(metrics: Mapping[str, float], step: int) -> None:
    """Warn of optimizer steps that a device skipped; see :func:`pompc.networks.optimizer_step.optimizer_step`.

    Args:
        metrics: of a row of metrics.csv; a skipped step makes the means of its loss and its gradient norm nan.
        step: environment steps so far.
    """
    bad = [name for name, value in metrics.items() if name.endswith(("_grad_norm", "_loss")) and math.isnan(value)]
    if bad:
        warnings.warn(
            f"at environment step {step} a loss or a gradient was not finite ({', '.join(bad)}): its optimizer steps were "
            "skipped"
        )


def mean_metrics(results: Sequence[Mapping[str, Any]], last: tuple[str, ...] = ()) -> dict[str, float]:
    """Average every metric over the calls that report it.

    Args:
        results: the metrics of each call, which may differ in what they report.
        last: metrics that are counts or settings, whose last value is taken.
    """
    return {name: _mean(values[-1:] if name in last else values) for name, values in by_name(results).items()}


def by_name(results: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Collect the values that several calls report of every metric, in order."""
    found: dict[str, list[Any]] = {}
    for metrics in results:
        for name, value in metrics.items():
            found.setdefault(name, []).append(value)
    return found


def _mean(values: list[Any]) -> float:
    return torch.stack([torch.as_tensor(value, dtype=torch.float64, device="cpu") for value in values]).mean().item()
