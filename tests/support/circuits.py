"""OpenDRIVE circuits for tests: the files in ``cases/tracks``, and changes to the plain one among them."""

from __future__ import annotations

from pathlib import Path

TRACKS = Path(__file__).parents[1] / "cases" / "tracks"
BASE = (TRACKS / "base.xodr").read_text(encoding="utf-8")
"""Two half circles of radius 60 m to the left, roads 1 and 2, one lane of 6 m to each side of the reference line."""
LENGTH = 188.495559215
"""Length of either road [m]."""


def changed(*pairs: tuple[str, str], count: int = -1) -> str:
    """Replace every ``(old, new)`` in the plain circuit, each in the first ``count`` places or in all."""
    text = BASE
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, count)
    return text


def with_objects(*objects: str) -> str:
    """Add objects to road 1 of the plain circuit."""
    return changed(("</planView>", f"</planView><objects>{''.join(objects)}</objects>"), count=1)


def danger(s: float, t: float, length: float, width: float, inner: str = "", **attributes: str) -> str:
    """Make a danger object with the children ``inner``."""
    more = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f'<object type="danger" id="7" s="{s}" t="{t}" length="{length}" width="{width}"{more}>{inner}</object>'


def lanes(text: str) -> str:
    """Put these elements in place of all lane sections of the plain circuit."""
    start, end = BASE.index("<laneSection"), BASE.index("</laneSection>") + len("</laneSection>")
    return BASE.replace(BASE[start:end], text)


def section(s: float, left: list[tuple[str, str]], right: list[tuple[str, str]]) -> str:
    """Make a lane section from lanes (type, children), from the middle outwards."""
    sides = []
    for sign, side in ((1, left), (-1, right)):
        sides.append("".join(f'<lane id="{sign * i}" type="{k}">{w}</lane>' for i, (k, w) in enumerate(side, 1)))
    return (
        f'<laneSection s="{s}"><left>{sides[0]}</left><center><lane id="0" type="none"/></center>'
        f"<right>{sides[1]}</right></laneSection>"
    )


def width(a: float, b: float = 0.0, offset: float = 0.0) -> str:
    """Make a lane's width: ``a + b h`` from ``offset`` on."""
    return f'<width sOffset="{offset}" a="{a}" b="{b}" c="0" d="0"/>'
