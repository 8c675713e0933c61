"""A gradient step that stops at the first number that is not finite, or skips it on a device."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.errors import NonFiniteError
from pompc.system.waiting import waits


def optimizer_step(
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    *,
    max_grad_norm: float,
    name: str,
    batch: TensorDictBase | None = None,
) -> Tensor:
    """Take one clipped gradient step on all parameters of an optimizer, and on nothing else.

    On a device other than the CPU nothing waits to know whether the numbers are finite. A bad step is skipped on the device
    and leaves parameters and moments as they were; the returned norm is then not finite, and training reports it.

    Args:
        optimizer: holds the parameters; on a device other than the CPU a fused one, which can skip a step.
        loss: a scalar.
        max_grad_norm: largest norm of the gradient, over all parameters.
        name: name of the loss in the error.
        batch: the batch behind the loss; attached to the error as evidence.

    Returns:
        The norm of the gradient before clipping, a scalar.

    Raises:
        NonFiniteError: the loss or the norm is not finite, on the CPU. The parameters are unchanged then.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    optimizer.zero_grad(set_to_none=True)
    loss.backward(inputs=parameters)
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    if waits(norm.device):
        total = loss.detach() + norm
        found: Any = optimizer
        found.found_inf = (~torch.isfinite(total)).float()  # as torch.amp.GradScaler tells a fused optimizer
        optimizer.step()
        return torch.where(torch.isfinite(total), norm, torch.nan)
    if not bool(torch.isfinite(loss.detach() + norm)):
        error = NonFiniteError(f"{name} loss", f"loss {loss.item():.6g}, gradient norm {norm.item():.6g}")
        if batch is not None:
            error.batch = batch.detach()  # pyright: ignore[reportAttributeAccessIssue]
        raise error
    optimizer.step()
    return norm
