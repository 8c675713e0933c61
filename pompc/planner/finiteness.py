"""Find numbers that are not finite in a plan: at once on a CPU, without waiting for it on any other device."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pompc.errors import NonFiniteError
from pompc.planner.inputs import Probe
from pompc.system.waiting import waits


def finite_costs(
    costs: Tensor, charged: Callable[[], Tensor], violation: Tensor | None, probe: Probe, drop: bool
) -> Tensor:
    """Return costs if they may be weighed; the cost of a dropped sample is infinite.

    On a device other than the CPU nothing is raised, because a plan would wait for the device to know. The costs of all
    samples are nan instead, and so are the weights, the plan and the action: whoever copies the action to the host sees it.

    Args:
        costs: ``[batch, candidate, sample]``.
        charged: makes the charges behind them ``[batch, candidate, sample, horizon + 1]``, to find the first bad step.
        violation: sums of violations, to tell margins from costs; ``None`` without margins.
        probe: the inputs.
        drop: drop samples of a cost that is not finite.

    Raises:
        NonFiniteError: an input is not finite, or a cost is not finite and may not be dropped.
    """
    if waits(costs.device):
        return _marked(costs, probe, drop)
    if math.isfinite(costs.sum() + probe.total):
        return costs
    probe.raise_if_nonfinite()
    finite = torch.isfinite(costs)
    if finite.all():  # only the sum over all samples overflowed
        return costs
    if drop and bool(finite.any(-1).all()):
        return costs.masked_fill(~finite, torch.inf)
    bad = (~torch.isfinite(charged())).nonzero()
    if len(bad) == 0:
        raise NonFiniteError("planner cost", "the sum over the horizon overflows")
    batch, candidate, sample, step = bad[0].tolist()
    is_cost = violation is None or math.isfinite(violation[batch, candidate, sample])
    raise NonFiniteError(
        "planner cost" if is_cost else "planner margin",
        f"environment {batch}, candidate {candidate}, sample {sample}, step {step}",
    )


def _marked(costs: Tensor, probe: Probe, drop: bool) -> Tensor:
    """Make all costs nan if an input is bad or a cost that may not be dropped, without a look at the numbers."""
    finite = torch.isfinite(costs)
    enough = finite.any(-1).all() if drop else finite.all()
    fine = enough & probe.is_finite()
    return torch.where(fine, costs.masked_fill(~finite, torch.inf), torch.nan)
