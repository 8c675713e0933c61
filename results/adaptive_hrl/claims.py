"""Judge the claims about the second dial from the stored runs: claims.csv, the tables of README.md, a picture each::

    python results/adaptive_hrl/claims.py

The rows of ``runs.yaml`` say what is compared, by which quantity, and against what. A comparison is made as soon as two of
its runs are stored.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pompc.report.curves import Panel, plot_panels
from pompc.report.learning_curves import curve, on_places
from pompc.report.reaching import Reaching, steps_to_best
from pompc.report.runs import Run, find_runs
from pompc.report.scores import run_scores
from pompc.report.statistics import FEWEST_RUNS, bootstrap_interval, gain, iqm, probability_of_improvement

HERE = Path(__file__).parent


def judge(name: str, about: Mapping[str, Any], runs: Mapping[str, Sequence[Run]]) -> Iterator[dict[str, Any]]:
    """Yield a line per method of a comparison.

    Args:
        name: of the comparison.
        about: its row of ``runs.yaml``.
        runs: the stored runs of its methods.
    """
    metric = about["metric"]
    scores = {method: run_scores(seeds)[metric] for method, seeds in runs.items()}
    reached = until(metric, runs)
    for method, seeds in runs.items():
        low, high = bootstrap_interval([scores[method]]) if len(seeds) >= FEWEST_RUNS else (math.nan, math.nan)
        line = {"comparison": name, "method": method, "runs": len(seeds), "metric": metric}
        line |= {"iqm": iqm(scores[method]), "low": low, "high": high, "mean": scores[method].mean()}
        line |= {
            f"last_{key}": values.mean() for key, values in run_scores(seeds).items() if key in ("success", "cost")
        }
        line |= {"threshold": reached[method].threshold, "reached": reached[method].reached}
        line |= {"steps": reached[method].median, "censored": reached[method].censored_at}
        for other in about["against"]:
            if other in runs and other != method:
                better = probability_of_improvement(scores[method], scores[other])
                more = gain(scores[method], scores[other])
                which = other.partition("/")[2]
                line |= {f"p_{which}": better.value, f"p_{which}_low": better.low, f"p_{which}_high": better.high}
                line |= {f"points_{which}": more.points.value, f"relative_{which}": more.relative.value}
        yield line


def until(metric: str, runs: Mapping[str, Sequence[Run]]) -> dict[str, Reaching]:
    """Find when the runs reach 95 % of the best mean over all methods; those that never do are censored and counted."""
    lines = {method: curve(seeds, metric, "step").lines for method, seeds in runs.items()}
    steps = np.unique(np.concatenate([line.places for found in lines.values() for line in found]))
    return steps_to_best(steps, {method: on_places(found, steps) for method, found in lines.items()})


def markdown(name: str, about: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> str:
    """Write the table of a comparison."""
    metric, threshold = lines[0]["metric"], lines[0]["threshold"]
    others = [other.partition("/")[2] for other in about["against"]]
    others = [other for other in others if any(f"p_{other}" in line for line in lines)]
    heads = ["method", "runs", f"{metric}, IQM", "violations", f"reach {threshold:.3g}", "median steps"]
    heads += [f"P(better than {other})" for other in others] + [f"gain over {others[-1]}"] * bool(others)
    text = [f"### {name}", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for line in lines:
        span = "" if math.isnan(line["low"]) else f" ({line['low']:.3g} to {line['high']:.3g})"
        steps = f"> {line['censored']:,.0f}" if math.isinf(line["steps"]) else f"{line['steps']:,.0f}"
        cells = [
            f"`{line['method']}`",
            line["runs"],
            f"{line['iqm']:.3g}{span}",
            f"{line.get('last_cost', math.nan):.2g}",
        ]
        cells += [f"{line['reached']} of {line['runs']}", steps]
        cells += [probability(line, other) for other in others]
        if others:
            points, relative = (line.get(f"{kind}_{others[-1]}") for kind in ("points", "relative"))
            cells.append("" if points is None else f"{points:+.3g} ({relative:+.0%})")
        text.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*text, "", f"![{name}]({slug(name)}.png)"])


def probability(line: Mapping[str, Any], other: str) -> str:
    """Write a probability of improvement with its interval; empty with too few runs for one."""
    low, high = (line.get(f"p_{other}_{end}", math.nan) for end in ("low", "high"))
    return "" if math.isnan(low) else f"{line[f'p_{other}']:.2f} ({low:.2f} to {high:.2f})"


def slug(name: str) -> str:
    """Make the name of a comparison's picture."""
    return re.sub(r"\W+", "_", name.lower()).strip("_")


def comparisons() -> Iterator[tuple[str, Mapping[str, Any], dict[str, Sequence[Run]]]]:
    """Yield the comparisons of which two methods are stored: name, row of ``runs.yaml``, and the runs by method."""
    for name, about in yaml.safe_load((HERE / "runs.yaml").read_text(encoding="utf-8"))["rows"].items():
        stored = [method for method in about["runs"] if any((HERE / method).glob("seed*/cost.json"))]
        if len(stored) > 1:
            yield name, about, {method: find_runs([HERE / method]) for method in stored}


def judge_all(draw: bool = False) -> tuple[list[dict[str, Any]], str]:
    """Judge every comparison: the lines of claims.csv, and the tables of README.md.

    Args:
        draw: also draw the learning curves.
    """
    lines, tables = [], []
    for name, about, runs in comparisons():
        found = list(judge(name, about, runs))
        lines += found
        tables.append(markdown(name, about, found))
        if draw:
            curves = {method.partition("/")[2]: curve(seeds, about["metric"], "step") for method, seeds in runs.items()}
            plot_panels([Panel(title=name, curves=curves)], HERE / f"{slug(name)}.png", column=about["metric"])
    return lines, "\n\n".join(tables)


def main() -> None:
    """Write claims.csv, the tables between the marks of README.md, and the pictures."""
    lines, tables = judge_all(draw=True)
    with open(HERE / "claims.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for line in lines for key in line)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    page = HERE / "README.md"
    before, _, rest = page.read_text(encoding="utf-8").partition("<!-- claims -->\n")
    _, _, after = rest.partition("<!-- end of claims -->")
    page.write_text(f"{before}<!-- claims -->\n{tables}\n<!-- end of claims -->{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
