"""``pompc carla``: look at a CARLA server, or run a stand-in for one. Building its parser imports no torch."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from dataclasses import fields

from .config import Address
from .standin.faults import Faults
from .standin.protocol import load_msgpack

PORTS = range(65536)


def add(parser: argparse.ArgumentParser) -> None:
    """Add the actions ``check`` and ``standin`` to the parser of ``pompc carla``."""
    parser.description = "For env.backend=carla of carla_racing: look at a server, or run a stand-in for one."
    actions = parser.add_subparsers(metavar="ACTION", required=True, title="actions")
    check = actions.add_parser("check", help="say what is at an address", description="Say what is at an address.")
    check.add_argument("address", metavar="HOST:PORT")
    check.set_defaults(handler=check_server)
    stand_in = actions.add_parser(
        "standin",
        help="serve the protocol of CARLA with the embedded physics, until Ctrl-C",
        description="Serve the protocol of CARLA with the embedded physics, until Ctrl-C: for tests without a simulator.",
    )
    stand_in.add_argument("--host", default="127.0.0.1", help="address to listen on; default: 127.0.0.1")
    stand_in.add_argument("--port", metavar="PORT", type=_port, default=2000, help="of the RPC; 0 takes a free one")
    stand_in.add_argument("--watch-stdin", action="store_true", help="end when the standard input does")
    group = stand_in.add_argument_group("faults")
    for entry in fields(Faults):
        flag = f"--{entry.name.replace('_', '-')}"
        group.add_argument(flag, type=type(entry.default), default=entry.default, **entry.metadata)
    stand_in.set_defaults(handler=serve)


def check_server(args: argparse.Namespace) -> int:
    """Print what is at ``args.address`` and whether ``env.backend=carla`` can use it: 0 if so, else 2."""
    from .server.check import check

    return check(Address.parse(args.address))


def serve(args: argparse.Namespace) -> int:
    """Run a stand-in until SIGINT or SIGTERM, and return the exit code 0.

    Raises:
        UserError: msgpack is not installed, or the port is taken.
    """
    load_msgpack()
    with contextlib.suppress(KeyboardInterrupt):
        from .standin.server import run  # takes seconds: only now that nothing can be wrong with the arguments

        faults = Faults(**{entry.name: getattr(args, entry.name) for entry in fields(Faults)})
        asyncio.run(run(args.host, args.port, faults, args.watch_stdin))
    return 0


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) not in PORTS:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: take 0 to {PORTS[-1]}")
    return int(text)
