"""Read the transaction logs that wandb writes offline: a log of LevelDB with wandb's records in it."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

MAGIC, BLOCK, HEAD = b":W&B", 32_768, struct.Struct("<IHB")
FULL, LAST = 1, 4
"""Kinds of chunks that end a record."""


def records(file: Path) -> Iterator[Any]:
    """Yield the records of a ``.wandb`` file, joined from their chunks; one that is being written is left out."""
    data = file.read_bytes()
    assert data.startswith(MAGIC) or not data
    place, begun = len(MAGIC) + 3, b""
    while place + HEAD.size <= len(data):
        if (left := BLOCK - place % BLOCK) < HEAD.size:
            place += left
            continue
        _, length, kind = HEAD.unpack_from(data, place)
        place += HEAD.size
        if place + length > len(data):
            return
        begun, place = begun + data[place : place + length], place + length
        if kind in (FULL, LAST):
            yield Record.FromString(begun)
            begun = b""


def parts(run: Path) -> list[Path]:
    """List the files of all starts of a run directory that have ended, the first start first.

    Wandb writes in a process of its own, which takes a moment after the end of a run.
    """
    starts, deadline = list((run / "wandb").glob("offline-run-*")), time.monotonic() + 60
    assert starts, "wandb wrote nothing here"
    while len(files := _ended(starts)) < len(starts):
        assert time.monotonic() < deadline, "a file of wandb has no end"
        time.sleep(0.05)
    return sorted(files, key=_began)


def _ended(starts: list[Path]) -> list[Path]:
    """List the files of starts whose end is written."""
    return [file for start in starts for file in start.glob("*.wandb") if of_kind(file, "exit")]


def _began(file: Path) -> float:
    start = next(record.run.start_time for record in records(file) if record.WhichOneof("record_type") == "run")
    return start.seconds + start.nanos * 1e-9


def of_kind(file: Path, kind: str) -> list[Any]:
    """List the records of one kind, such as ``history`` or ``stats``."""
    return [getattr(record, kind) for record in records(file) if record.WhichOneof("record_type") == kind]


def history(file: Path) -> list[dict[str, Any]]:
    """Read the rows that a start logged."""
    return [_items(row.item) for row in of_kind(file, "history")]


def summary(file: Path) -> dict[str, Any]:
    """Read the summary that a start left."""
    return {name: value for record in of_kind(file, "summary") for name, value in _items(record.update).items()}


def config(file: Path) -> dict[str, Any]:
    """Read the configuration that a start sent first."""
    return _items(of_kind(file, "run")[0].config.update)


def _items(items: Any) -> dict[str, Any]:
    """Decode the values; the keys of a picture's facts are joined by slashes."""
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
