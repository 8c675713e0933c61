"""Names and sentences of the page."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pompc.report.tables import readable

if TYPE_CHECKING:
    from pompc.report.reaching import Reaching

SHORT = {"step": "steps", "seconds": "wall-clock", "model_steps": "model steps"}
"""Axes, as the page's switch calls them."""


def listed(names: Iterable[str]) -> str:
    """Join names to a list in a sentence: ``a, b and c``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def counted(number: int, noun: str) -> str:
    """Write a number and its noun: ``1 run``, ``3 runs``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def capitalised(note: str) -> str:
    """Make a sentence of a note."""
    return f"{note[:1].upper()}{note[1:]}."


def censored(reaching: Reaching, unit: str) -> str:
    """Say how many runs reach a threshold, and what is known of those that do not."""
    if reaching.reached == reaching.runs:
        return "all runs reach it" if reaching.runs > 1 else "its run reaches it"
    if not reaching.reached and reaching.runs > 1:
        return f"no run had reached it by {readable(reaching.censored_at)} {unit}"
    missing = reaching.runs - reaching.reached
    first = (
        f"{missing} of {counted(reaching.runs, 'run')} had not reached it by {readable(reaching.censored_at)} {unit}"
    )
    if math.isinf(reaching.median):
        return f"{first}, so the median is beyond that"
    return f"{first}; the median counts them as later than all others"
