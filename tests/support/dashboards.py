"""Run directories for dashboards, and what a dashboard says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stored_runs import write_run

CURVE = (1.0, 2.0, 3.0)
METRICS = "step,return,virtual_ratio,uncertainty\n100,1.0,0.3,0.5\n"


def write(
    path: Path,
    algo: str = "ppo",
    env: str = "acrobot",
    seed: int = 0,
    wandb: dict[str, Any] | None = None,
    code: str = "code",
) -> Path:
    """Write a run directory; ``wandb`` is the node of its configuration."""
    config = {"seed": seed, "algo": {"name": algo}, "env": {"name": env}, "wandb": wandb or {"project": "pompc"}}
    return write_run(path, CURVE, seed, algo, env, config, METRICS, config_hash=code)


def started(run: Path, *parts: int, synced: tuple[int, ...] = ()) -> None:
    """Put the files of offline starts into a run directory."""
    for part in parts:
        folder = run / "wandb" / f"offline-run-2026010{part}_000000-abc"
        folder.mkdir(parents=True)
        (folder / "run-abc.wandb").write_text("")
        if part in synced:
            (folder / "run-abc.wandb.synced").write_text("")


def one_line(capsys: Any) -> str:
    """Return the only line of the errors that is not wandb's."""
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("wandb:")]
    return line
