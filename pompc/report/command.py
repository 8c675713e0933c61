"""The arguments of ``pompc compare``. Building its parser imports neither torch nor numpy."""

from __future__ import annotations

import argparse
from pathlib import Path

SUFFIXES = (".html", ".png", ".svg", ".csv")
AXES = ("step", "seconds", "model_steps")
SCALES = ("linear", "log")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pompc compare`` to its parser."""
    parser.description = (
        "Show last evaluations and learning curves of runs: tables, a page for the browser, pictures and numbers. Runs of "
        "the same algorithm and configuration count as seeds. The score of a run is its mean over the episodes of its last "
        "evaluation."
    )
    parser.add_argument(
        "paths",
        metavar="RUNS",
        type=Path,
        nargs="+",
        help="run directories, folders above them, sweeps, or patterns in quotes ('runs/*/acrobot')",
    )
    _add_output(parser)
    parser.add_argument(
        "--metric",
        metavar="NAME",
        default="reward",
        help="a column of eval.csv; higher is better, but of cost and lap_time lower; default: reward",
    )
    parser.add_argument(
        "--threshold",
        metavar="SHARE",
        type=_share,
        default=0.95,
        help="show how soon runs reach this share of the best mean over all methods; default: 0.95",
    )
    parser.add_argument("--threshold-value", metavar="SCORE", type=float, help="show how soon they reach this score")
    parser.add_argument(
        "--split",
        metavar="KEY",
        action="append",
        default=[],
        help="an option (env.mass) whose values are to be compared apart, as environments are",
    )
    parser.add_argument("--baseline", metavar="METHOD", help="show what the other methods gain over this one")
    parser.add_argument(
        "--bounds",
        metavar="[ENV=]LOW:HIGH",
        action="append",
        default=[],
        help="scores that become 0 and 1 on the environments of this name (*-walk=0:1000), for one over all of them",
    )
    parser.set_defaults(handler=run)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        metavar="FILE.png",
        type=_output,
        default=Path("compare.png"),
        help="default: compare.png; an .html, an .svg, a .csv and a -pairs.csv lie beside it",
    )
    parser.add_argument("--axis", choices=AXES, default="step", help="of the pictures; default: step")
    parser.add_argument(
        "--scale", choices=SCALES, default="linear", help="of the metric in the pictures, if scores lie far apart: log"
    )
    parser.add_argument("--published", metavar="FILE.csv", type=Path, help="show published curves too")


def run(args: argparse.Namespace) -> int:
    """Do ``pompc compare``: write tables and curves of runs."""
    from pompc.report.compare import compare
    from pompc.report.comparison import CompareOptions
    from pompc.report.scores import Bounds

    options = CompareOptions(
        metric=args.metric,
        share=args.threshold,
        threshold=args.threshold_value,
        baseline=args.baseline,
        bounds=[Bounds.parse(text) for text in args.bounds],
        published=args.published,
        split=args.split,
    )
    return compare(args.paths, args.out, options, args.axis, args.scale)


def _output(text: str) -> Path:
    if not text.endswith(SUFFIXES):
        raise argparse.ArgumentTypeError(
            f"it names a .png file (and an .html, an .svg and a .csv beside it), not {text}"
        )
    return Path(text)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and at most 1")
    return value
