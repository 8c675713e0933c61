"""``pompc sweep``: its parser, and what it does. Building the parser imports no torch."""

from __future__ import annotations

import argparse
import re

from pompc.config.arguments import whole_number
from pompc.errors import UserError

DESCRIPTION = """Do a run for every combination of values, several runs at a time, or search values with search=TRIALS.

The same command continues where it stopped; finished runs are not run again. A run that fails does not stop the others."""
EPILOG = """several values of a key, in Hydra's grammar:
  key=a,b   key=choice(a,b)   key=range(1,4)           one run each; [a,b] is one value
  key=interval(0,1)   key=tag(log,interval(1e-4,1e-2)) a range, with search=TRIALS
options of the sweep (docs/sweep.md has all):
  launcher=local|slurm|ray   slurm.minutes=60   ray.address=auto   search=20   objective=last|best"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pompc sweep``."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    for key, what in (("algo", "algorithms"), ("env", "environments"), ("seed", "seeds"), ("preset", "presets")):
        parser.add_argument(f"--{key}", metavar="A,B", help=f"{what}; short for {key}=A,B")
    parser.add_argument(
        "--jobs", metavar="N", type=whole_number(1), help="runs at a time; default: as many as there is room for"
    )
    parser.add_argument("--name", metavar="NAME", help="of the folder in sweeps/; default: a hash of what is run")
    parser.add_argument("--dry-run", action="store_true", help="list the runs and start none")
    parser.add_argument(
        "overrides",
        metavar="key=value",
        nargs="*",
        help="any key of `pompc run`, with one value or several, and the options of the sweep",
    )
    parser.set_defaults(handler=sweep)


def sweep(args: argparse.Namespace) -> int:
    """Do ``pompc sweep``: 0 when all runs are done, 1 if some failed, 130 if it was stopped.

    Raises:
        UserError: something is wrong with a run, the options or the launcher; nothing has started.
    """
    from pompc.sweep import launchers, words  # reads the schema: not for --help

    if args.name is not None and not re.fullmatch(r"\w[\w.+-]*", args.name):
        raise UserError(f"--name {args.name!r}: take letters, digits, and . + - _ inside")
    flags = {key: getattr(args, key) for key in ("algo", "env", "seed", "preset")}
    given = [f"{key}={value}" for key, value in flags.items() if value is not None]
    request = words.read([*given, *args.overrides])
    launcher = launchers.find(request.options.launcher)
    if request.options.search is not None:
        launchers.require("optuna", "search=", "search")
    from pompc.sweep.runs import check

    runs = check(request)
    from pompc.sweep.folder import SweepFolder  # imports torch: not before everything is composed
    from pompc.sweep.start import show, start

    folder = SweepFolder(args.name or request.code, request.code)
    return show(runs, folder) if args.dry_run else start(request, runs, folder, launcher, args.jobs)
