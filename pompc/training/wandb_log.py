"""Log to a Weights & Biases run."""

from __future__ import annotations

import netrc
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from pompc import __version__
from pompc.config.run_options import WandbConfig
from pompc.training.metric_names import METRICS, MODEL_STEPS, SECONDS, STEP

if TYPE_CHECKING:
    from pompc.training.trackers import Axes

JOB_TYPE = "train"
LONGEST_TAG = 64  # of wandb's server


def is_logged_in() -> bool:
    """Say whether wandb finds a key without asking, in its environment variable or a netrc entry."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    candidates = (
        [Path(os.environ["NETRC"])] if "NETRC" in os.environ else [Path.home() / ".netrc", Path.home() / "_netrc"]
    )
    for path in candidates:
        try:
            if netrc.netrc(path).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def wandb_mode(requested: str) -> str:
    """Resolve ``auto`` to WANDB_MODE if set, else to ``online`` with a login and ``offline`` without; keep other modes."""
    if requested != "auto":
        return requested
    return os.environ.get("WANDB_MODE") or ("online" if is_logged_in() else "offline")


def run_group(identity: Mapping[str, Any], group: str | None) -> str:
    """Name the group of a run: ``group`` if there is one, else ``<algo>/<env>/<hash of the configuration>``.

    The seeds of a method share it.
    """
    return group or "{algo}/{env}/{config_hash}".format_map(identity)


def _run_id(file: Path, is_new: bool) -> str:
    """Read or create the id of the directory's wandb run: two directories of one configuration are two runs."""
    if is_new or not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(uuid.uuid4().hex[:12], encoding="utf-8")
    return file.read_text(encoding="utf-8")


class WandbLog:
    """A wandb run. Its steps are environment steps, so that the parts of a run that was resumed offline fit together.

    Args:
        directory: the run directory; the files go to ``<directory>/wandb``.
        identity: ``algo``, ``env``, ``seed`` and ``config_hash``.
        options: the ``wandb`` node.
        values: the resolved configuration.
        is_new: the training starts; otherwise the wandb run of the directory continues.
        logged: the last environment step that earlier starts logged, by group or medium. What a resumed run makes again is
            not logged again.
    """

    def __init__(
        self,
        directory: Path,
        identity: Mapping[str, Any],
        options: WandbConfig,
        values: Mapping[str, Any],
        *,
        is_new: bool = True,
        logged: Mapping[str, int] | None = None,
    ) -> None:
        import wandb

        self._wandb: Any = wandb
        self._logged = dict(logged or {})
        facts = {
            "algorithm": identity["algo"],
            "environment": identity["env"],
            "config_hash": identity["config_hash"],
            "version": __version__,
        }
        tags = (identity["algo"], identity["env"], f"pompc-{__version__}", *options.tags)
        self._run: Any = wandb.init(
            mode=wandb_mode(options.mode),  # pyright: ignore[reportArgumentType] - WANDB_MODE is checked by wandb
            dir=str(directory),
            id=_run_id(directory / "wandb" / "run_id", is_new),
            name="{algo}-{env}-{config_hash}-{seed}".format_map(identity),
            resume="allow",
            project=options.project,
            group=run_group(identity, options.group),
            job_type=JOB_TYPE,
            tags=list(dict.fromkeys(tag[:LONGEST_TAG] for tag in tags)),
            config={**values, **facts},
            # Otherwise a process whose earlier run never finished would log into that one.
            settings=wandb.Settings(silent=True, console="off", reinit="create_new"),
        )
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP)
        for name, metric in METRICS.items():
            if metric.best is not None:
                self._run.define_metric(name, step_metric=STEP, summary=metric.summary)

    def log(self, group: str, axes: Axes, numbers: Mapping[str, int | float]) -> None:
        """Log numbers as ``group/name``, with all axes."""
        if axes.step > self._logged.get(group, -1):
            self._send(axes, {f"{group}/{name}": number for name, number in numbers.items()})

    def media(self, name: str, axes: Axes, path: Path) -> None:
        """Log a picture (.png) or a film (.mp4)."""
        kinds = {
            ".png": lambda: self._wandb.Image(str(path)),
            ".mp4": lambda: self._wandb.Video(str(path), format="mp4"),
        }
        if axes.step > self._logged.get(name, -1):
            self._send(axes, {name: kinds[path.suffix]()})

    def _send(self, axes: Axes, values: Mapping[str, Any]) -> None:
        place = {STEP: axes.step, SECONDS: axes.seconds, MODEL_STEPS: axes.model_steps}
        # wandb drops a step below its own, which after a resume is one more than the last.
        self._run.log({**place, **values}, step=max(axes.step, self._run.step))

    def close(self, summary: Mapping[str, float]) -> None:
        """Finish the run with its summary."""
        self._run.summary.update(dict(summary))
        self._run.finish()
