"""Gradient steps."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.errors import NonFiniteError


def clipped_step(
    optimizer: torch.optim.Optimizer, loss: Tensor, max_grad_norm: float, *, name: str, batch: TensorDictBase
) -> Tensor:
    """Make one step of an optimizer with the gradient of a loss, clipped.

    Args:
        optimizer: of the parameters to change; no others get a gradient.
        loss: a scalar.
        max_grad_norm: largest norm of the gradient.
        name: of the loss, for messages.
        batch: the loss was computed from it; evidence if the loss is not finite.

    Returns:
        The norm of the gradient before clipping.

    Raises:
        NonFiniteError: the loss or the gradient; nothing has changed, and the batch is attached to the error.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer.zero_grad(set_to_none=True)
    loss.backward(inputs=parameters)
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    if not bool(torch.isfinite(loss.detach() + norm)):
        error = NonFiniteError(f"{name} loss", f"loss {loss.item():.6g}, gradient norm {norm.item():.6g}")
        error.batch = batch.detach()  # pyright: ignore[reportAttributeAccessIssue]
        raise error
    optimizer.step()
    return norm
