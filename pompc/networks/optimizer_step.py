"""A gradient step that stops at the first number that is not finite."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.errors import NonFiniteError


def optimizer_step(
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    *,
    max_grad_norm: float,
    name: str,
    batch: TensorDictBase | None = None,
) -> Tensor:
    """Take one clipped gradient step on all parameters of an optimizer, and on nothing else.

    Args:
        optimizer: holds the parameters.
        loss: a scalar.
        max_grad_norm: largest norm of the gradient, over all parameters.
        name: name of the loss in the error.
        batch: the batch behind the loss; attached to the error as evidence.

    Returns:
        The norm of the gradient before clipping, a scalar.

    Raises:
        NonFiniteError: the loss or the norm is not finite. The parameters are unchanged then.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    optimizer.zero_grad(set_to_none=True)
    loss.backward(inputs=parameters)
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    if not bool(torch.isfinite(loss.detach() + norm)):
        error = NonFiniteError(f"{name} loss", f"loss {loss.item():.6g}, gradient norm {norm.item():.6g}")
        if batch is not None:
            error.batch = batch.detach()  # pyright: ignore[reportAttributeAccessIssue]
        raise error
    optimizer.step()
    return norm
