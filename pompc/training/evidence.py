"""The evidence kept when a run stops on a number that is not finite."""

from __future__ import annotations

from pathlib import Path

import torch
from tensordict import TensorDictBase


def dump_batch(batch: TensorDictBase, directory: Path, step: int) -> str:
    """Write ``batch`` to ``<directory>/crash/step_<step>.pt`` (nested dicts of tensors); return a note on it."""
    path = directory / "crash" / f"step_{step}.pt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(batch.detach().cpu().to_dict(), path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as either
        return f"the batch could not be written to {path} ({error})"
    return f"the batch is in {path}"
