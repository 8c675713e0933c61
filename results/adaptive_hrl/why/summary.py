"""Write the tables into why.md and draw its figures, from the tables that the other scripts wrote::

python results/adaptive_hrl/why/summary.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from coverage import CAUSES
from frozen_data import CASES, SOURCES
from news import news
from tables import Table, cell, markdown, written
from value_learning import BATCHES, FEW, MEASURED, TARGETS_OF, VARIANTS

FOLDER = Path(__file__).parent
VALUES, TARGETS, COVERAGE = (Table(FOLDER / f"{name}.csv") for name in ("values", "targets", "coverage"))
NUM_ENVS, GAE_LAMBDA = 16, 0.97


def groups(table: Table) -> list[tuple[str, str]]:
    """Cases and policies of a table."""
    return list(dict.fromkeys((row["case"], row["policy"]) for row in table.rows))


def add_std(table: Table) -> None:
    """Add the standard deviation of the error, which a common bias leaves out, to every row."""
    for row in table.rows:
        if row.get("rmse"):
            row["std"] = str(max(float(row["rmse"]) ** 2 - float(row["bias"]) ** 2, 0.0) ** 0.5)


def of(table: Table, column: str, **key: object) -> np.ndarray:
    """A column of the rows with these entries, averaged by seed ``[seed]``."""
    return table.by_seed(column, lambda row: all(row.get(name, "") == written(value) for name, value in key.items()))


def values_text() -> Iterator[str]:
    """Errors of the values after some updates, by variant; then by size of the batch."""
    for case, policy in groups(VALUES):
        key = {"case": case, "policy": policy}
        yield (f"\n{case}, {policy} policy, batches of {TARGETS_OF}\n")
        columns = {f"bias after {n}": ("bias", n) for n in (0, 2, 5, 10)} | {
            f"std after {n}": ("std", n) for n in (0, 10)
        }
        own = {**key, "batch": TARGETS_OF}
        cells = {
            variant: [cell(of(VALUES, column, update=n, variant=variant, **own)) for column, n in columns.values()]
            for variant in VARIANTS
        }
        fitted = {"variant": "fitted to returns", **key}
        cells["fitted to returns"] = [
            "",
            "",
            "",
            *(cell(of(VALUES, column, **fitted)) for column in ("bias",)),
            "",
            cell(of(VALUES, "std", **fitted)),
        ]
        yield (markdown(list(columns), cells))
        yield (f"\n{case}, {policy} policy: bias after the last update, by size of the batch\n")
        cells = {
            variant: [
                cell(of(VALUES, "bias", update=BATCHES[size], variant=variant, batch=size, **key)) for size in MEASURED
            ]
            for variant in MEASURED[128]
        }
        yield (markdown([f"{size}, {BATCHES[size]} updates" for size in MEASURED], cells))


def targets_text() -> Iterator[str]:
    """Errors of targets at states with known returns, by update."""
    for case, policy in groups(TARGETS):
        yield (f"\n{case}, {policy} policy: bias of targets, no virtual data, batches of {TARGETS_OF}\n")
        updates = (0, 1, 2, 5, 10)
        cells = {}
        for target, gae_lambda in [("real", x) for x in (0.9, 0.97, 1.0)] + [
            (s, x) for s in SOURCES for x in (0.97, 1.0)
        ]:
            key = {"case": case, "policy": policy, "target": target, "lambda": gae_lambda}
            line = [cell(of(TARGETS, "bias", update=n, variant="no virtual data", **key)) for n in updates]
            cells[f"{target}, lambda {gae_lambda}"] = [
                *line,
                cell(of(TARGETS, "bias", variant="fitted to returns", **key)),
            ]
        yield (markdown([*(f"after {n}" for n in updates), "of values fitted to returns"], cells))


def coverage_text() -> Iterator[str]:
    """Distances, ends by cause, agreement of model and plant, errors of values near the end of rollouts."""
    for case, policy in groups(COVERAGE):
        key = {"case": case, "policy": policy}
        yield (f"\n{case}, {policy} policy: share of rollout states far from all real ones (of another environment)\n")
        far = ("far, of any", "far, of another environment")
        cells = {
            f"{source}, batch of {size}": [
                "; ".join(cell(of(COVERAGE, name, source=source, batch=size, step=n, **key)) for name in far)
                for n in (5, 10, 20)
            ]
            for source in SOURCES
            for size in BATCHES
        }
        yield (markdown([f"step {n}" for n in (5, 10, 20)], cells))
        yield (f"\n{case}, {policy} policy: ends of episodes per 1,000 transitions\n")
        columns = ("ends", *CAUSES)
        cells = {
            source: [cell(of(COVERAGE, name, measure="ends", source=source, **key)) for name in columns]
            for source in ("real", *SOURCES)
        }
        yield (markdown(columns, cells))
        yield (f"\n{case}, {policy} policy: rollouts that end within the horizon\n")
        columns = ("said", "really", "true", "missed")
        cells = {
            source: [cell(of(COVERAGE, name, measure="outcome", source=source, **key), 4) for name in columns]
            for source in SOURCES
        }
        yield (markdown(columns, cells))
        yield (f"\n{case}, {policy} policy: values five steps before a rollout ends\n")
        columns = ("bias", "rmse")
        cells = {
            variant: [cell(of(COVERAGE, name, measure="boundary", variant=variant, **key)) for name in columns]
            for variant in FEW
        }
        yield (markdown(columns, cells))


def predicted(size: int, virtual_ratio: float, horizon: int) -> float:
    """Share of a common error that one update takes away if nothing ends and the targets are learned to the end."""
    return (1 - virtual_ratio) * news(size // NUM_ENVS, GAE_LAMBDA) + virtual_ratio * news(horizon, GAE_LAMBDA)


def draw_values(case: str, policy: str) -> None:
    """Bias by update and size of the batch, mean over seeds, with the prediction from the shares of rewards dashed."""
    horizon = CASES[case].configure().algorithm_config.planner.horizon
    figure, axes = plt.subplots(1, len(MEASURED), figsize=(4.2 * len(MEASURED), 4), sharey=True)
    for axis, size in zip(axes, MEASURED, strict=True):
        for index, variant in enumerate(MEASURED[128]):
            own = {"case": case, "policy": policy, "batch": size, "variant": variant}
            updates = np.arange(BATCHES[size] + 1)
            bias = np.array([of(VALUES, "bias", update=n, **own) for n in updates])
            axis.plot(updates, bias.mean(1), color=f"C{index}", label=variant)
            axis.fill_between(updates, bias.min(1), bias.max(1), color=f"C{index}", alpha=0.15)
            if "news" not in variant:
                rate = predicted(size, float(VARIANTS[variant]["virtual_ratio"]), horizon)
                axis.plot(
                    updates, bias[0].mean() * (1 - rate) ** updates, color=f"C{index}", linestyle="--", linewidth=1
                )
        axis.set(title=f"batches of {size}", xlabel="update")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("bias of the values, in standard deviations of the return")
    axes[-1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(FOLDER / f"{case}_{policy}.png", dpi=90)
    plt.close(figure)


def write(page: Path) -> None:
    """Replace what stands between the marks of the page by the tables."""
    tables = {"values": values_text, "targets": targets_text, "coverage": coverage_text}
    text = page.read_text(encoding="utf-8")
    for name, lines in tables.items():
        before, rest = text.split(f"<!-- {name} -->")
        text = "\n".join([f"{before}<!-- {name} -->", *lines(), "", f"<!-- end of {name} -->"])
        text += rest.split(f"<!-- end of {name} -->")[1]
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    add_std(VALUES)
    write(FOLDER.with_suffix(".md"))
    for case, policy in groups(VALUES):
        draw_values(case, policy)
