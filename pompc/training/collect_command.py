"""The arguments of ``pompc collect``. Building its parser imports no torch."""

from __future__ import annotations

import argparse
from pathlib import Path

from pompc.config.run_options import SEEDS
from pompc.errors import UserError
from pompc.system.graphics import prepare_graphics


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pompc collect`` to its parser."""
    parser.description = (
        "Play episodes with a checkpoint and write them as a Minari dataset. They are those of `pompc eval` with the same "
        "seed. A run with `data=FOLDER` learns from them."
    )
    parser.add_argument("path", metavar="RUN_DIR_OR_CHECKPOINT", type=Path, help="a run directory, or a .pt file")
    parser.add_argument("--episodes", metavar="N", type=_positive, required=True, help="how many")
    parser.add_argument("--out", metavar="FOLDER", type=Path, required=True, help="a new folder")
    parser.add_argument("--best", action="store_true", help="take the checkpoint that evaluations selected")
    parser.add_argument("--seed", metavar="S", type=_seed, help="seed of the episodes; default: that of `pompc eval`")
    parser.add_argument(
        "--explore", action="store_true", help="act as in training, with its noise; default: as evaluations do"
    )
    parser.add_argument(
        "overrides",
        metavar="key=value",
        nargs="*",
        help="changes to the run's configuration; eval.policy=true collects with the bare policy",
    )
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Do ``pompc collect``: play and write."""
    if not args.path.exists():
        raise UserError(f"there is no {args.path}: give a run directory or a checkpoint file")
    prepare_graphics()
    from pompc.data.dataset import require_minari, require_new

    require_minari()
    require_new(args.out)
    from pompc.training.collect import collect

    return collect(
        args.path,
        args.out,
        episodes=args.episodes,
        best=args.best,
        seed=args.seed,
        explore=args.explore,
        overrides=args.overrides,
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= SEEDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0 and below {SEEDS}")
    return int(text)
