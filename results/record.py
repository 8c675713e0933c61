"""Make and store the runs of a folder of results, and write its table.csv and the table of its README.md::

    python results/record.py zoo [RUN ...] --jobs 2

``runs.yaml`` of the folder says what is run and what is compared with what. A run whose files are stored is not run again;
a run that was stopped goes on from its checkpoint. In the end the command rewrites the tables, and the figure of every row
that has one: its runs, and published curves of files that the row names with their tasks.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pompc.report.curves import Panel, plot_panels
from pompc.report.learning_curves import read_curve
from pompc.report.published import matching, read_published, task_key

RESULTS = Path(__file__).parent
KEPT = ("eval.csv", "eval_episodes.csv", "config.yaml", "run.json")
COMMON = {"eval.video": False, "eval.seed": 1000, "wandb.mode": "disabled", "checkpoint.every": 20_000}
COLUMNS = ("success", "cost", "corrected", "feasible", "correction")


@dataclass(frozen=True)
class Job:
    """One run of one seed.

    Attributes:
        name: in ``runs.yaml``.
        seed: of the run.
        words: what to run.
        stored: the folder in which its files are stored.
        kept: these files.
        shifted: changes of the environment under which the trained agent is evaluated too, by name.
    """

    name: str
    seed: int
    words: Sequence[str]
    stored: Path
    kept: Sequence[str]
    shifted: Mapping[str, Mapping[str, Any]]


def jobs(folder: Path, chosen: Sequence[str] = ()) -> Iterator[Job]:
    """Yield the runs to make, all of them or the chosen ones, a seed of each before the next seed."""
    plan = read_plan(folder)
    runs, kept = plan["runs"], (*KEPT, *plan.get("keep", ()))
    for seed in range(max(run.get("seeds", 3) for run in runs.values())):
        for name, run in runs.items():
            if seed < run.get("seeds", 3) and (not chosen or name in chosen):
                values = {**COMMON}
                if "steps" in run:
                    values |= {"steps": run["steps"], "eval.every": run["steps"] // run.get("evals", 5)}
                values |= run.get("set", {})
                words = [
                    f"{key}={json.dumps(value) if isinstance(value, bool) else value}" for key, value in values.items()
                ]
                words = ["--algo", run["algo"], "--env", run["env"], "--seed", str(seed), *words]
                yield Job(name, seed, words, folder / name / f"seed{seed}", kept, run.get("shifted", {}))


def make(job: Job, scratch: Path) -> None:
    """Make a run unless its files are stored, and store them with what it cost."""
    if (job.stored / "cost.json").is_file():
        return
    directory = scratch / job.name / f"seed{job.seed}"
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pompc", "run", *job.words, f"run_dir={directory}"]
    started = commit()  # while a run goes on, another commit may come; its code was read at the start
    with open(directory / "log.txt", "a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    with open(directory / "cpu.txt", "a") as spent:
        print(usage.ru_utime + usage.ru_stime, file=spent)
    if process.returncode != 0:
        print(f"{job.name} seed {job.seed}: exit code {process.returncode}, see {directory}/log.txt", flush=True)
        return
    job.stored.mkdir(parents=True, exist_ok=True)
    for name in job.kept:
        shutil.copy(directory / name, job.stored)
    for name, changes in job.shifted.items():
        words = ["--seed", str(COMMON["eval.seed"]), "--csv", str(job.stored / f"shifted_{name}.csv")]
        words += [f"{key}={value}" for key, value in changes.items()]
        subprocess.run([sys.executable, "-m", "pompc", "eval", str(directory), *words], check=True)
    config = job.stored / "config.yaml"
    config.write_text(
        re.sub(r"(?m)^run_dir: .*$", "run_dir: null", config.read_text())
    )  # where it was is of no interest
    cpu = sum(float(line) for line in (directory / "cpu.txt").read_text().split())
    timing = rows(directory / "timing.csv")[-1]
    cost = {"cpu_s": round(cpu, 1), "model_steps": int(float(timing["model_steps"]))}
    cost |= {"commit": started, "words": list(job.words)}
    (job.stored / "cost.json").write_text(json.dumps(cost, indent=1) + "\n")
    print(f"{job.name} seed {job.seed}: {rows(job.stored / 'eval.csv')[-1]['reward']} ({cpu:.0f} s)", flush=True)


def commit() -> str:
    """Name the commit that runs."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=RESULTS, capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


def read_plan(folder: Path) -> dict[str, Any]:
    """Read what is to be run."""
    return yaml.safe_load((folder / "runs.yaml").read_text(encoding="utf-8"))


def rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table(folder: Path) -> list[dict[str, Any]]:
    """Collect a line per comparison and run: the last evaluation of its seeds, and what they cost."""
    plan = read_plan(folder)
    runs, lines = plan["runs"], []
    for row, about in plan["rows"].items():
        for name in about["runs"]:
            seeds = sorted((folder / name).glob("seed*/cost.json"))
            if not seeds:
                continue
            last = [rows(path.with_name("eval.csv"))[-1] for path in seeds]
            costs = [json.loads(path.read_text()) for path in seeds]
            about_run = {"row": row, "run": name, "algorithm": runs[name]["algo"], "environment": runs[name]["env"]}
            about_run |= {"steps": int(last[0]["step"]), "seeds": len(seeds)}
            spent = {
                "model_steps": int(np.mean([cost["model_steps"] for cost in costs])),
                "cpu_s": round(float(np.mean([cost["cpu_s"] for cost in costs]))),
                "commits": " ".join(sorted({cost["commit"] for cost in costs})),
            }
            lines.append({**about_run, **scores(last), **spent})
            for change in runs[name].get("shifted", {}):
                means = [mean(rows(path.with_name(f"shifted_{change}.csv"))) for path in seeds]
                lines.append({**about_run, "run": f"{name}, {change}", **scores(means), **spent})
    return lines


def mean(episodes: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Average the episodes of a CSV over those that know a quantity."""
    values = {key: [float(episode[key]) for episode in episodes] for key in episodes[0]}
    return {key: str(np.nanmean(found)) for key, found in values.items() if not np.isnan(found).all()}


def scores(last: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Write the evaluations of all seeds as the columns of a line."""
    returns = np.array([float(entry["reward"]) for entry in last])
    line = {"return": f"{returns.mean():.4g}", "points": " ".join(f"{score:.4g}" for score in returns)}
    for column in COLUMNS:
        found = [float(entry[column]) for entry in last if entry.get(column)]
        line[column] = f"{np.mean(found):.3g}" if found else ""
    return line


def markdown(lines: Sequence[Mapping[str, Any]]) -> str:
    """Write the table for README.md: a heading line per comparison, then its runs."""
    shown = ("steps", "return", "points", *COLUMNS[:4], "model_steps", "cpu_s")
    text = [f"| run | {' | '.join(name.replace('_', ' ') for name in shown)} |", "|---" * (len(shown) + 1) + "|"]
    row = None
    for line in lines:
        if line["row"] != row:
            row = line["row"]
            text.append(f"| **{row}** |" + " |" * len(shown))
        text.append(f"| `{line['run']}` | {' | '.join(str(line[name]) for name in shown)} |")
    return "\n".join(text)


def write(folder: Path) -> None:
    """Write table.csv, the figures, and the table between the marks of README.md."""
    lines = table(folder)
    with open(folder / "table.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, lines[0] if lines else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    for row, about in read_plan(folder)["rows"].items():
        if "figure" in about:
            plot_panels(panels(folder, row), folder / about["figure"]["file"])
    page = folder / "README.md"
    before, _, rest = page.read_text(encoding="utf-8").partition("<!-- table -->\n")
    _, _, after = rest.partition("<!-- end -->")
    page.write_text(f"{before}<!-- table -->\n{markdown(lines)}\n<!-- end -->{after}", encoding="utf-8")


def panels(folder: Path, row: str) -> list[Panel]:
    """Make the panels of a row's figure: one per task of its runs, then one per further task with a published curve.

    Args:
        folder: with ``runs.yaml``, whose ``figure`` of the row has ``published``: tasks by the file with their curves.
        row: one of its rows.
    """
    plan = read_plan(folder)
    bands = {}
    for name, tasks in plan["rows"][row]["figure"]["published"].items():
        path = folder / name
        bands |= {task_key(task): found for task, found in matching(tasks, read_published(path), path).items()}
    curves: dict[str, dict[str, Any]] = {}
    for name in plan["rows"][row]["runs"]:
        own = curves.setdefault(task_key(plan["runs"][name]["env"].rpartition("/")[2]), {})
        files = sorted((folder / name).glob("seed*/eval.csv"))
        if files and (curve := read_curve(files)) is not None:
            own[name.rpartition("/")[2]] = curve
    tasks = dict.fromkeys((*curves, *bands))
    return [Panel(title=task, curves=curves.get(task, {}), bands=bands.get(task, ())) for task in tasks]


def main() -> None:
    """Run what is missing, then write the tables."""
    parser = argparse.ArgumentParser(description="Make and store the runs of a folder of results.")
    folders = sorted(path.parent.name for path in RESULTS.glob("*/runs.yaml"))
    parser.add_argument("folder", choices=folders, help="a folder of results/ with runs.yaml")
    parser.add_argument("runs", nargs="*", help="names in runs.yaml; all by default")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; 0 writes the tables alone")
    parser.add_argument("--scratch", type=Path, default=Path("runs"), help="where the runs write, a folder each")
    arguments = parser.parse_args()
    folder = RESULTS / arguments.folder
    known = read_plan(folder)["runs"]
    if unknown := set(arguments.runs) - known.keys():
        parser.error(f"no such run: {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    if arguments.jobs:
        with ThreadPoolExecutor(arguments.jobs) as pool:
            scratch = arguments.scratch / folder.name
            list(pool.map(lambda job: make(job, scratch), jobs(folder, arguments.runs)))
    write(folder)


if __name__ == "__main__":
    main()
