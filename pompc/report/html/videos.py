"""Choose the videos of a comparison: of every method the one of its best and of its worst run."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from pompc.report.runs import Run

EMBEDDED = 8_000_000
"""Bytes of video that a page holds at most; with more, all videos are linked."""


@dataclass(frozen=True, kw_only=True)
class Video:
    """One film.

    Attributes:
        run: whose film it is.
        words: why it was chosen, such as ``best run, seed 3``.
    """

    run: Run
    words: str


def choose(runs: Sequence[Run], scores: Sequence[float], sign: int = 1) -> list[Video]:
    """Choose the films of the best and the worst run of a method, by the score of the last evaluation.

    A run films one episode at its end, so these are episodes of the best and the worst run, and not the best and the worst
    episode. Of the runs without a film, none is chosen.

    Args:
        runs: the runs of a method.
        scores: their scores ``[run]``.
        sign: -1 if lower scores are better.
    """
    filmed = sorted(
        ((score, run) for run, score in zip(runs, scores, strict=True) if run.video is not None),
        key=lambda pair: -sign * pair[0],
    )
    if not filmed:
        return []
    (high, best), (low, worst) = filmed[0], filmed[-1]
    if best is worst:
        of = "its run" if len(runs) == 1 else "the run with a film"
        return [Video(run=best, words=f"{of}, seed {best.seed}, {high:.4g}")]
    return [
        Video(run=best, words=f"best run, seed {best.seed}, {high:.4g}"),
        Video(run=worst, words=f"worst run, seed {worst.seed}, {low:.4g}"),
    ]


def sources(videos: Sequence[Video], folder: Path) -> Mapping[Path, str]:
    """Give each film its address: the film itself if all are small enough together, else a path from ``folder``.

    Returns:
        The address of each film by its path.
    """
    files = list(dict.fromkeys(video.run.video for video in videos if video.run.video is not None))
    if sum(file.stat().st_size for file in files) <= EMBEDDED:
        return {file: "data:video/mp4;base64," + base64.b64encode(file.read_bytes()).decode() for file in files}
    return {file: quote(os.path.relpath(file, folder).replace(os.sep, "/")) for file in files}
