"""The part of a checkpoint that plays: what a package ships as a demo."""

from __future__ import annotations

from pathlib import Path

from pompc.errors import UserError
from pompc.training import checkpoint
from pompc.training.opening import find_checkpoint

PLAYS = ("manifest", "config", "agent")
LEARNS = ("replay", "optimizers", "learned_parts")  # of the training state: what acting never reads
MAX_BYTES = 1_000_000


def export(source: Path, file: Path, *, best: bool = True) -> Path:
    """Write a checkpoint that ``pompc eval`` and ``pompc demo`` play and no run continues from.

    It keeps the manifest, the configuration, the weights and the dials. It drops the replay, the optimizers, the
    collector, the random states and the logs.

    Args:
        source: a run directory or a checkpoint file.
        file: where to write.
        best: of a run directory, take the checkpoint that the evaluations in training selected, not the last one.

    Returns:
        ``file``.

    Raises:
        UserError: there is no checkpoint, or what is left of it exceeds ``MAX_BYTES``.
    """
    state = checkpoint.load(find_checkpoint(source, best=best and source.is_dir()))
    kept = {name: state[name] for name in PLAYS}
    kept["training"] = {name: value for name, value in state["training"].items() if name not in LEARNS}
    checkpoint.save(file, kept)
    if (size := file.stat().st_size) >= MAX_BYTES:
        file.unlink()
        raise UserError(
            f"{source} plays with {size:,} bytes, a demo has less than {MAX_BYTES:,}: train a smaller network"
        )
    return file
