"""``pompc list``: the algorithms by the way they combine planning and learning, and the environments. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pompc.config import schema_file
from pompc.registry import ALGORITHMS, COMPONENTS, ENVIRONMENTS, WAYS, Entry

OTHERS = "from other packages"
HEADINGS = ("name", "lambda", "rho", "acts", "architecture", "")


def algorithms() -> str:
    """Write the table of the algorithms: dials, who acts, architecture and description, grouped by :data:`WAYS`."""
    rows: dict[str, list[Sequence[str]]] = {heading: [] for heading in (*WAYS.values(), OTHERS)}
    for name, entry in ALGORITHMS.items():
        rows[WAYS[entry.way] if entry.way else OTHERS].append((name, *point(name), entry.description))
    for setting, part in COMPONENTS.items():
        rows[WAYS[part.way]].append((setting, "", "", "", part.architecture or "-", part.description))
    return "\n".join(["algorithms:", *_grouped(rows), ""])


def environments() -> str:
    """Write the table of the environments."""
    return "\n".join(
        ["environments:", *_aligned((entry.form or name, entry.description) for name, entry in _all()), ""]
    )


def _all() -> Iterable[tuple[str, Entry]]:
    return ENVIRONMENTS.items()


def point(name: str) -> tuple[str, str, str, str]:
    """Describe where an algorithm stands by default.

    Args:
        name: of the algorithm or of a named setting.

    Returns:
        Lambda, rho, who acts and the architecture, in words.
    """
    entry = ALGORITHMS[name]
    if entry.way is None:
        return "?", "?", "?", "?"  # of another package, which a list does not import
    values = {**schema_file.options_of(ALGORITHMS, name).defaults(), **entry.settings}
    share = values.get("policy_share", 0.0)
    acts = f"policy {_written(share)}" if share else entry.acts
    return _written(values["kl_weight"]), _written(values["virtual_ratio"]), acts, entry.architecture or "-"


def _written(setting: Any) -> str:
    """Write a dial's setting: a number, or where a schedule starts and how it moves."""
    if not isinstance(setting, Mapping):
        return f"{setting:g}"
    start, kind = setting.get("initial", 0.0), setting.get("schedule", "inv")
    return (
        f"{start:g} to {setting['to']:g}" if "to" in setting and kind in ("linear", "switch") else f"{start:g} {kind}"
    )


def _grouped(groups: Mapping[str, list[Sequence[str]]]) -> Iterable[str]:
    """Write groups of rows under their headings, in columns of one width over all groups."""
    lines = iter(_aligned([HEADINGS, *(row for rows in groups.values() for row in rows)]))
    yield next(lines)
    for heading, rows in groups.items():
        if rows:
            yield from (f" {heading}:", *(next(lines) for _ in rows))


def _aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Write rows in columns, indented."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
