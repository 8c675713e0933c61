"""The command line: parse the arguments, then hand over. Help and errors never import torch.

Exit codes: 0 done, 1 a failure with its traceback, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

from pompc import __version__, handlers
from pompc.config.arguments import add_checkpoint, whole_number
from pompc.config.run_options import SEEDS
from pompc.errors import UserError
from pompc.registry import ALGORITHMS, BENCHMARKS, COMMANDS, DEMOS, ENVIRONMENTS, Entry

BAD_INPUT, INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the arguments after the program's name; those of the process by default.
    """
    try:
        _find_modules_here()
        args = _parse(argv)
        return args.handler(args)
    except UserError as error:
        print(f"pompc: error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("pompc: interrupted", file=sys.stderr)
        return INTERRUPTED
    finally:
        handlers.flush()


def _find_modules_here() -> None:
    """Find ``my_module:MyEnv-v0`` in the current folder too, as ``python -m`` does; an installed module comes first."""
    with suppress(FileNotFoundError):  # a folder that was deleted
        here = os.getcwd()
        if not sys.flags.safe_path and here not in sys.path:
            sys.path.append(here)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors look like all other errors of the program.

    Args:
        fill: adds the arguments when the parser is first used.
        options: arguments of ``argparse.ArgumentParser``.
    """

    def __init__(self, *, fill: Callable[[argparse.ArgumentParser], None] | None = None, **options) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self._fill = fill

    def parse_known_args(self, args=None, namespace=None):
        """Parse, after adding the arguments of the first use."""
        self.fill()
        return super().parse_known_args(args, namespace)

    def fill(self) -> None:
        """Add the arguments of the first use."""
        fill, self._fill = self._fill, None
        if fill is not None:
            fill(self)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see `{self.prog} --help`)")


def make_parser(first: str | None = None) -> argparse.ArgumentParser:
    """Make the parser of all commands.

    Args:
        first: the first argument of the program. Other packages are searched for commands only if pompc has none of this
            name.
    """
    parser = _Parser(prog="pompc", description="MPPI-based reinforcement learning.")
    parser.add_argument("--version", action="version", version=f"pompc {__version__}", help="print the version")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    for add in (
        _add_run,
        _add_demo,
        _add_eval,
        _add_convert,
        _add_bench,
        _add_list,
        _add_show,
    ):
        add(commands)
    _add_contributed(commands, COMMANDS.builtin)
    if first not in commands.choices:
        _add_contributed(commands, COMMANDS.external())
    return parser


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments; ``key=value`` may stand anywhere after the command."""
    parser = make_parser(first=next(iter(sys.argv[1:] if argv is None else argv), None))
    args, rest = parser.parse_known_args(argv)
    for text in rest:
        if text.startswith("-") or not hasattr(args, "overrides"):
            parser.error(f"unknown argument {text!r}")
    if rest:
        args.overrides = [*args.overrides, *rest]
    return args


def _add_run(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "run",
        help="train an agent, or continue where the same command stopped",
        description="Train an agent. The same command resumes where it stopped; a finished run says so.",
        epilog=_names(),
    )
    _add_composition(parser)
    parser.set_defaults(handler=handlers.run)


def _add_demo(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "demo",
        help="film an agent that comes with the package: nothing is trained",
        description="Play an episode with an agent that comes with the package, and film it.",
        epilog="\n".join(["demos:", *(f"  {name}  {entry.description}" for name, entry in DEMOS.builtin.items())]),
    )
    first = next(iter(DEMOS.builtin))
    parser.add_argument("name", metavar="NAME", nargs="?", default=first, help=f"default: {first}")
    parser.add_argument("--out", metavar="FILE.mp4", type=Path, default=Path("demo.mp4"), help="default: demo.mp4")
    parser.set_defaults(handler=handlers.demo)


def _add_eval(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "eval",
        help="play episodes with a checkpoint",
        description="Play fresh episodes with the last checkpoint of a run: a table of them and, with --video, a film.",
    )
    add_checkpoint(parser)
    parser.add_argument(
        "--best", action="store_true", help="play the checkpoint that the evaluations in training selected"
    )
    parser.add_argument(
        "--episodes", metavar="N", type=whole_number(1, SEEDS), help="default: eval.episodes of the run"
    )
    parser.add_argument(
        "--seed",
        metavar="S",
        type=whole_number(0, SEEDS),
        help="seed of the episodes; default: fresh ones",
    )
    parser.add_argument("--video", metavar="FILE.mp4", type=Path, help="record an episode")
    parser.add_argument("--csv", metavar="FILE.csv", type=Path, help="write the episodes, a row each")
    _add_overrides(parser, "changes to the run's configuration, such as env.time_limit=20")
    parser.set_defaults(handler=handlers.evaluate)


def _add_convert(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "convert",
        help="make a run directory from the weights of a released checkpoint",
        description="Make a run directory from a checkpoint of the codes released with TD-MPC2, TD-M(PC)^2, BMPC or BOOM. "
        "`pompc eval` plays it. The weights decide the sizes of the model.",
        epilog=_names(),
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="a .pt file of those codes")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="default: runs/<algo>/<env>/converted-<name of the file>"
    )
    _add_composition(parser)
    parser.set_defaults(handler=handlers.convert)


def _add_bench(commands: argparse._SubParsersAction) -> None:
    known = BENCHMARKS.builtin.items()
    parser = commands.add_parser(
        "bench",
        help="measure speed on this machine",
        description="Measure speed on this machine.",
        epilog="\n".join(["measurements:", *(f"  {name:<16} {entry.description}" for name, entry in known)]),
    )
    parser.add_argument("--only", metavar="NAME", help="one measurement instead of all")
    parser.add_argument("--quick", action="store_true", help="small sizes, less than a minute")
    parser.add_argument("--out", metavar="FILE", help="where to write: .json (by default bench.json) or .csv")
    parser.set_defaults(handler=handlers.bench)


def _add_list(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "list", help="name the algorithms and environments", description="Name the algorithms and environments."
    )
    parser.add_argument("what", nargs="?", choices=["algos", "envs"], help="only one of the two")
    parser.set_defaults(handler=handlers.list_names)


def _add_show(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "show",
        help="print the resolved configuration",
        description="Print the configuration of `pompc run` with the same arguments: run directory, all keys, meanings.",
        epilog=_names(),
    )
    _add_composition(parser)
    parser.set_defaults(handler=handlers.show)


def _add_contributed(commands: argparse._SubParsersAction, entries: Mapping[str, Entry]) -> None:
    """Add sub-commands of the registry; their modules are imported when their parser is first used."""
    for name, entry in entries.items():
        if name not in commands.choices:
            fill = partial(_fill, name)
            commands.add_parser(name, help=entry.description, description=_sentence(entry.description), fill=fill)


def _fill(name: str, parser: argparse.ArgumentParser) -> None:
    COMMANDS.resolve(name)(parser)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _add_composition(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--algo", metavar="NAME", help="the algorithm; short for algo=NAME")
    parser.add_argument("--env", metavar="NAME", help="the environment; short for env=NAME")
    parser.add_argument("--seed", metavar="N", help="seed of every random generator; short for seed=N")
    parser.add_argument("--preset", metavar="NAME", help="a named set of values; short for preset=NAME")
    _add_overrides(parser, "any key that `pompc show` prints, such as planner.horizon=30")


def _add_overrides(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("overrides", metavar="key=value", nargs="*", help=text)


def _names() -> str:
    envs = ", ".join(entry.form or name for name, entry in ENVIRONMENTS.builtin.items())
    return f"algorithms: {', '.join(ALGORITHMS.builtin)}\nenvironments: {envs}\n`pompc list` describes them."
