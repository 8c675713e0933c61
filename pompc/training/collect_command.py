"""The arguments of ``pompc collect``. Building its parser imports no torch."""

from __future__ import annotations

import argparse
from pathlib import Path

from pompc.config.arguments import add_checkpoint, require_checkpoint, whole_number
from pompc.config.run_options import SEEDS
from pompc.system.graphics import prepare_graphics


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pompc collect`` to its parser."""
    parser.description = (
        "Play episodes with a checkpoint and write them as a Minari dataset. They are those of `pompc eval` with the same "
        "seed. A run with `data=FOLDER` learns from them."
    )
    add_checkpoint(parser)
    parser.add_argument("--episodes", metavar="N", type=whole_number(1), required=True, help="how many")
    parser.add_argument("--out", metavar="FOLDER", type=Path, required=True, help="a new folder")
    parser.add_argument("--best", action="store_true", help="take the checkpoint that evaluations selected")
    parser.add_argument(
        "--seed", metavar="S", type=whole_number(0, SEEDS), help="seed of the episodes; default: that of `pompc eval`"
    )
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
    require_checkpoint(args.path)
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
