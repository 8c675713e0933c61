"""What the terms of a policy loss weigh: their values and the norms of their gradients, as metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
