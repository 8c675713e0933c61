"""Handlers of the commands. A handler imports torch only when it needs it.

Each handler takes the parsed arguments, returns the exit code and raises ``UserError`` for bad input.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pompc.config.arguments import require_checkpoint
from pompc.errors import UserError
from pompc.registry import DEMOS
from pompc.system.graphics import prepare_graphics

if TYPE_CHECKING:
    from pompc.config.spec import RunSpec


def run(args: argparse.Namespace) -> int:
    """Do ``pompc run``: train, or continue a run."""
    spec = _fitted(args)
    from pompc.training.run import run

    return run(spec)


def show(args: argparse.Namespace) -> int:
    """Do ``pompc show``: print the resolved configuration, the meaning of every option, and the run directory."""
    spec = _fitted(args)
    from pompc.config.documentation import explained

    flush(f"# run directory: {spec.directory}\n{explained(spec.values)}")
    return 0


def _fitted(args: argparse.Namespace) -> RunSpec:
    """Resolve the configuration; ``num_envs`` fits the environment unless the arguments set it."""
    values = _composed(args)
    prepare_graphics()
    from pompc.config.overrides import keys
    from pompc.config.spec import resolve

    return resolve(values, fit_num_envs="num_envs" not in keys(args.overrides))


def _composed(args: argparse.Namespace) -> dict[str, Any]:
    """Compose the values of the arguments; errors appear before torch is imported."""
    from pompc.config.compose import compose

    seed = [] if args.seed is None else [f"seed={args.seed}"]
    return compose(args.algo, args.env, [*seed, *args.overrides], args.preset)


def evaluate(args: argparse.Namespace) -> int:
    """Do ``pompc eval``: play episodes with a checkpoint."""
    require_checkpoint(args.path)
    _require_film(args.video, "--video")
    prepare_graphics()
    from pompc.training.play import evaluate_checkpoint

    return evaluate_checkpoint(
        args.path,
        best=args.best,
        episodes=args.episodes,
        seed=args.seed,
        video=args.video,
        table=args.csv,
        overrides=args.overrides,
    )


def demo(args: argparse.Namespace) -> int:
    """Do ``pompc demo``: film an agent that comes with a package."""
    _require_film(args.out, "--out")
    entry = DEMOS[args.name]
    prepare_graphics()
    from pompc.training.play import film_checkpoint

    flush(f"{args.name}: {entry.description}; the film takes some seconds\n")
    return film_checkpoint(DEMOS.resolve(args.name), args.out)


def _require_film(file: Path | None, option: str) -> None:
    if file is not None and file.suffix != ".mp4":
        raise UserError(f"{option} writes an .mp4 file, not {file}")


def convert(args: argparse.Namespace) -> int:
    """Do ``pompc convert``: make a run directory from released weights."""
    values = _composed(args)
    if not args.checkpoint.is_file():
        raise UserError(f"there is no file {args.checkpoint}: give a checkpoint of TD-MPC2, TD-M(PC)^2, BMPC or BOOM")
    prepare_graphics()
    from pompc.config.spec import resolve
    from pompc.convert.convert import convert

    chosen = {"--algo": args.algo, "--env": args.env, "--seed": args.seed, "--preset": args.preset}
    given = [word for option, value in chosen.items() if value is not None for word in (option, value)]
    return convert(args.checkpoint, resolve(values), out=args.out, given=[*given, *args.overrides])


def bench(args: argparse.Namespace) -> int:
    """Do ``pompc bench``: measure speed on this machine."""
    prepare_graphics()
    from pompc.report.bench import OUTPUT, bench
    from pompc.report.measurement import QUICK, BenchSettings

    out = OUTPUT if args.out is None else Path(args.out)
    return bench(args.only, QUICK if args.quick else BenchSettings(), out)


def list_names(args: argparse.Namespace) -> int:
    """Do ``pompc list``: name the algorithms and environments."""
    from pompc import listing

    tables = {"algos": listing.algorithms, "envs": listing.environments}
    chosen = [tables[args.what]] if args.what else list(tables.values())
    flush("\n".join(table() for table in chosen))
    return 0


def flush(text: str = "") -> None:
    """Write ``text`` and flush; ignore a reader (``| head``) that has gone."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
