"""What must be finite beyond single steps, and the evidence kept when a run stops on a bad number."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from tensordict import TensorDictBase

from pompc.errors import NonFiniteError


def check_metrics(metrics: dict[str, float]) -> None:
    """Check every metric whose name starts with ``loss``.

    Raises:
        NonFiniteError: one of them is not finite.
    """
    for name, value in metrics.items():
        if name.startswith("loss") and not math.isfinite(value):
            raise NonFiniteError(name, f"{value}")


def dump_batch(batch: TensorDictBase, directory: Path, step: int) -> str:
    """Write ``batch`` to ``<directory>/crash/step_<step>.pt`` (a nested dict of tensors); returns what became of it."""
    path = directory / "crash" / f"step_{step}.pt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(batch.detach().cpu().to_dict(), path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as either
        return f"the batch could not be written to {path} ({error})"
    return f"the batch is in {path}"
