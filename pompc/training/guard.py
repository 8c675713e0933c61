"""Numbers that must be finite, and the evidence kept when one is not."""

from __future__ import annotations

from pathlib import Path

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.errors import NonFiniteError


def require_finite(name: str, tensor: Tensor | float, step: int) -> None:
    """Raise where ``tensor`` holds nan or inf.

    Raises:
        NonFiniteError: with the name, the environment step and the first bad index.
    """
    values = torch.as_tensor(tensor)
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        index = (~finite).nonzero()[0].tolist()
        raise NonFiniteError(name, f"at step {step}" + (f", index {index}" if index else ""))


def check_batch(data: TensorDictBase, step: int) -> None:
    """Check what came from the environments, ``data [num_envs, T]``; actions are checked before they are sent.

    Raises:
        NonFiniteError: observation or reward is not finite.
    """
    for key in ("observation", ("next", "reward"), ("next", "observation")):
        require_finite(" ".join(key) if isinstance(key, tuple) else key, data[key], step)


def check_metrics(metrics: dict[str, float], step: int) -> None:
    """Check every metric whose name starts with ``loss``.

    Raises:
        NonFiniteError: one of them is not finite.
    """
    for name, value in metrics.items():
        if name.startswith("loss"):
            require_finite(name, value, step)


def dump_batch(data: TensorDictBase, directory: Path, step: int) -> Path:
    """Write the batch to ``<directory>/crash/step_<step>.pt`` (a nested dict of tensors) and return that path."""
    path = directory / "crash" / f"step_{step}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(data.detach().cpu().to_dict(), path)
    return path
