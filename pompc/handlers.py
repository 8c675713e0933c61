"""What every command of the command line hands over to. Torch is imported where a command needs it, never before.

Each takes the parsed arguments, returns the exit code and raises ``UserError`` for bad input.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress

from pompc.errors import UserError
from pompc.registry import ALGORITHMS, ENVIRONMENTS, Registry


def run(args: argparse.Namespace) -> int:
    """``pompc run``."""
    cfg = _fitted(args)
    from pompc.training.run import run

    return run(cfg)


def show(args: argparse.Namespace) -> int:
    """``pompc show``: the resolved configuration and the run directory it has."""
    cfg = _fitted(args)
    from pompc.config.compose import run_directory, to_yaml

    flush(f"# run directory: {run_directory(cfg)}\n{to_yaml(cfg)}")
    return 0


def _fitted(args: argparse.Namespace):
    from pompc.config.compose import fit_num_envs, follow_family

    cfg = _composed(args)
    _prepare_graphics()
    return follow_family(fit_num_envs(cfg, args.overrides))


def _composed(args: argparse.Namespace):
    from pompc.config.compose import compose

    seed = [] if args.seed is None else [f"seed={args.seed}"]
    return compose(args.algo, args.env, [*seed, *args.overrides], args.preset)


def evaluate(args: argparse.Namespace) -> int:
    """``pompc eval``."""
    if not args.path.exists():
        raise UserError(f"there is no {args.path}: give a run directory or a checkpoint file")
    if args.video is not None and args.video.suffix != ".mp4":
        raise UserError(f"--video writes an .mp4 file, not {args.video}")
    _prepare_graphics()
    from pompc.training.play import evaluate_checkpoint

    return evaluate_checkpoint(
        args.path,
        best=args.best,
        episodes=args.episodes,
        seed=args.seed,
        video=args.video,
        overrides=args.overrides,
    )


def convert(args: argparse.Namespace) -> int:
    """``pompc convert``."""
    cfg = _composed(args)
    if not args.checkpoint.is_file():
        raise UserError(f"there is no file {args.checkpoint}: give a checkpoint of TD-MPC2, TD-M(PC)^2 or BMPC")
    _prepare_graphics()
    from pompc.config.compose import follow_family
    from pompc.convert.convert import convert

    chosen = {"--algo": args.algo, "--env": args.env, "--seed": args.seed, "--preset": args.preset}
    given = [word for option, value in chosen.items() if value is not None for word in (option, value)]
    return convert(args.checkpoint, follow_family(cfg), out=args.out, given=[*given, *args.overrides])


def compare(args: argparse.Namespace) -> int:
    """``pompc compare``."""
    if args.out.suffix != ".png":
        raise UserError(f"--out writes a .png file (and a .csv beside it), not {args.out}")
    from pompc.report.compare import compare
    from pompc.report.scores import Bounds

    return compare(args.paths, args.out, args.published, [Bounds.parse(text) for text in args.bounds])


def bench(args: argparse.Namespace) -> int:
    """``pompc bench``."""
    _prepare_graphics()
    from pompc.report.bench import bench

    return bench(args.only)


def list_names(args: argparse.Namespace) -> int:
    """``pompc list``."""
    tables = {"algos": ("algorithms", ALGORITHMS), "envs": ("environments", ENVIRONMENTS)}
    chosen = [tables[args.what]] if args.what else list(tables.values())
    flush("\n".join(_table(title, registry) for title, registry in chosen))
    return 0


def _table(title: str, registry: Registry) -> str:
    rows = {entry.form or name: entry.description for name, entry in registry.items()}
    width = max(map(len, rows))
    return "\n".join([f"{title}:", *(f"  {name:<{width}}  {text}" for name, text in rows.items()), ""])


def _prepare_graphics() -> None:
    """Before TorchRL imports MuJoCo where it finds it: a back-end that cannot be loaded costs pictures, not the command."""
    from pompc.system import graphics

    if graphics.VARIABLE in os.environ:
        with suppress(ModuleNotFoundError):
            graphics.import_with_or_without_gl("mujoco")


def flush(text: str = "") -> None:
    """Write, and stay silent where the reader (``| head``) has gone."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
