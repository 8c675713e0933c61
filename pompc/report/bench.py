"""``pompc bench``: run the measurements of the registry on this machine.

Absolute times depend on the machine; ratios compare two ways of doing the same within one run.
"""

from __future__ import annotations

import csv
import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import tensordict
import torch
import torchrl
from rich.console import Console
from rich.table import Table

from pompc import __version__
from pompc.errors import UserError
from pompc.registry import BENCHMARKS
from pompc.system.files import require_writable
from pompc.system.process import cpu_model, prepare
from pompc.system.timing import threads
from pompc.training.assemble import resolve_device
from pompc.training.seeding import isolated

from .measurement import CUDA, UNITS, BenchSettings, Measurement

OUTPUT = Path("bench.json")
Results = dict[str, dict[str, float]]


def bench(only: str | None, settings: BenchSettings | None = None, out: Path = OUTPUT) -> int:
    """Measure, print a table and write it to a file.

    Args:
        only: name of one measurement; by default all but those on request.
        settings: sizes; by default those of the racing runs.
        out: the file, ``.json`` or ``.csv``.

    Returns:
        The exit code 0.

    Raises:
        UserError: no such measurement, or it cannot run here, or its result cannot be written.
    """
    if out.suffix not in WRITERS:
        raise UserError(f"--out {out}: take a name that ends in {' or '.join(WRITERS)}")
    chosen = _unrequested() if only is None else {only: BENCHMARKS.resolve(only)}
    require_writable(out)
    settings = settings or BenchSettings()
    results, console = {}, Console()
    with threads(1), isolated(0, resolve_device("auto")):
        prepare(1)
        for name, measure in chosen.items():
            for device in _present(measure.devices):
                key = name if device == measure.devices[0] else f"{name} ({device})"
                with console.status(f"measuring {key}"):
                    results[key] = measure(replace(settings, device=device), BENCHMARKS[name].subject or name)
    console.print(_table(results))
    WRITERS[out.suffix](out, results)
    console.print(f"written: {out}", highlight=False)
    return 0


def _write_json(path: Path, results: Results) -> None:
    content = {"machine": machine(), "measurements": results}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_csv(path: Path, results: Results) -> None:
    """Write a row per number; the machine stands in every row, so that files of several machines can be joined."""
    about = machine()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["measurement", "name", "value", *about])
        writer.writeheader()
        for measurement, values in results.items():
            writer.writerows({"measurement": measurement, "name": n, "value": v, **about} for n, v in values.items())


WRITERS: dict[str, Callable[[Path, Results], None]] = {".json": _write_json, ".csv": _write_csv}
"""How results are written, by the ending of the file's name."""


def _unrequested() -> Mapping[str, Measurement]:
    found = {name: BENCHMARKS.resolve(name) for name in BENCHMARKS}
    return {name: measure for name, measure in found.items() if not measure.on_request}


def _present(devices: tuple[str, ...]) -> list[str]:
    return [device for device in devices if device != CUDA or torch.cuda.is_available()]


def machine() -> dict[str, Any]:
    """Describe the machine and the versions that the numbers depend on."""
    cuda = {"cuda_device": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        **cuda,
        "threads": 1,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchrl": torchrl.__version__,
        "tensordict": tensordict.__version__,
        "pompc": __version__,
    }


def _table(results: Results) -> Table:
    table = Table("measurement", "name", "value", "unit", title="speed on this machine, one thread where not said")
    table.columns[2].justify = "right"
    for measurement, values in results.items():
        for name, value in values.items():
            suffix = next(suffix for suffix in UNITS if name.endswith(suffix))
            table.add_row(measurement, name.removesuffix(suffix), f"{value:,.4g}", UNITS[suffix])
    return table
