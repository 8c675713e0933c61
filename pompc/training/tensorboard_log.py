"""Log event files for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import imageio.v2 as imageio

from pompc.errors import UserError

if TYPE_CHECKING:
    from pompc.training.trackers import Axes

FOLDER = "tensorboard"


def require_tensorboard() -> None:
    """Refuse ``tensorboard=true`` without the package.

    Raises:
        UserError: it is not installed.
    """
    if find_spec("tensorboard") is None:
        raise UserError("tensorboard=true needs the package tensorboard: pip install 'pompc[tensorboard]'")


class TensorBoardLog:
    """Event files in ``<directory>/tensorboard``, over environment steps.

    A resumed run purges what earlier starts wrote after the step it continues from.

    Args:
        directory: the run directory.
        start: the step that the run continues from; 0 for a new run.
    """

    def __init__(self, directory: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(directory / FOLDER), purge_step=start + 1 if start else 0)

    def log(self, group: str, axes: Axes, numbers: Mapping[str, int | float]) -> None:
        """Log numbers as ``group/name``."""
        for name, number in numbers.items():
            self._writer.add_scalar(f"{group}/{name}", number, axes.step)

    def media(self, name: str, axes: Axes, path: Path) -> None:
        """Log a picture (.png). TensorBoard shows no films: an .mp4 stays in the run directory."""
        if path.suffix == ".png":
            self._writer.add_image(name, imageio.imread(path)[..., :3], axes.step, dataformats="HWC")

    def close(self, summary: Mapping[str, float]) -> None:
        """Write what is pending; TensorBoard has no summary of a run."""
        self._writer.close()
