"""The arguments of ``pompc dashboard``, and what they lead to. Building its parser imports neither torch nor wandb."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from pompc.report.runs import Run

QUESTION = "Which method learns fastest, and which one ends best?"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pompc dashboard`` to its parser."""
    parser.description = (
        "Make a wandb workspace and a report that compare runs, and print their addresses. Without a login, or with "
        "WANDB_MODE=offline, say what to upload, and write and open a page that compares the runs."
    )
    parser.add_argument(
        "paths",
        metavar="RUNS",
        type=Path,
        nargs="*",
        default=[Path("runs")],
        help="run directories, folders above them, sweeps, or patterns in quotes; default: runs",
    )
    parser.add_argument("--project", metavar="NAME", help="wandb project; default: that of the runs")
    parser.add_argument("--entity", metavar="NAME", help="wandb user or team; default: that of the login")
    parser.add_argument("--title", metavar="TEXT", help="default: the algorithms and environments")
    parser.add_argument("--question", metavar="TEXT", default=QUESTION, help=f"of the report; default: {QUESTION}")
    parser.add_argument(
        "--out", metavar="FILE.html", type=_page, default=Path("dashboard.html"), help="default: dashboard.html"
    )
    parser.add_argument("--no-open", action="store_true", help="do not open the page")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Do ``pompc dashboard``.

    Raises:
        UserError: a path holds no evaluated run; with a login, what :func:`pompc.report.dashboard.online.publish` raises.
    """
    from pompc.report.dashboard.subject import Subject
    from pompc.report.runs import find_runs
    from pompc.training.wandb_log import wandb_mode

    runs = find_runs(args.paths)
    console = Console()
    if wandb_mode("auto") == "online":
        from pompc.report.dashboard.online import publish

        subject = Subject.of(runs, project=args.project, title=args.title)
        published = publish(subject, entity=args.entity, question=args.question)
        _say(console, f"workspace: {published.workspace}", f"report: {published.report}", *_uploads(runs, args))
    else:
        _say(
            console, "wandb is offline: there is no login (`wandb login`), or WANDB_MODE says so", *_uploads(runs, args)
        )
        _write(args.paths, args.out)
        _say(console, f"written: {args.out}")
        if not args.no_open and _has_display():
            webbrowser.open(args.out.resolve().as_uri())
    return 0


def _uploads(runs: Sequence[Run], args: argparse.Namespace) -> list[str]:
    """Say what to type so that wandb has all runs."""
    from pompc.report.dashboard.uploads import sync_commands, without_wandb

    commands = sync_commands(runs, project=args.project, entity=args.entity)
    lines = ["to upload what it does not have, type:", *(f"  {line}" for line in commands)] if commands else []
    if missing := without_wandb(runs):
        lines.append(f"without wandb files, as with wandb.mode=disabled: {', '.join(map(str, missing))}")
    return lines


def _write(paths: Sequence[Path], page: Path) -> None:
    """Write the page that compares the runs."""
    from pompc.report.compute import make_comparison
    from pompc.report.html.page import write

    write(make_comparison(paths), page)


def _has_display() -> bool:
    """Say whether somebody sits here who would see a browser."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.stdout.isatty() and (sys.platform in ("darwin", "win32") or any(map(os.environ.get, screens)))


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _page(text: str) -> Path:
    if not text.endswith(".html"):
        raise argparse.ArgumentTypeError(f"it names an .html file, not {text}")
    return Path(text)
