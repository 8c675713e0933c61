"""``python -m pompc.testing.carla_standin``: serve until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import fields

from pompc.errors import UserError

from .faults import Faults
from .protocol import load_msgpack


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM: the exit code.

    Args:
        arguments: command line; none means ``sys.argv``.
    """
    parser = argparse.ArgumentParser(prog="carla_standin", description="A stand-in for the CARLA 0.9.16 server.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=2000, help="of the RPC; 0 takes a free one")
    parser.add_argument("--watch-stdin", action="store_true", help="end when the standard input does")
    group = parser.add_argument_group("faults")
    for entry in fields(Faults):
        flag = f"--{entry.name.replace('_', '-')}"
        group.add_argument(flag, type=type(entry.default), default=entry.default, **entry.metadata)
    options = vars(parser.parse_args(arguments))
    host, port, watch_stdin = options.pop("host"), options.pop("port"), options.pop("watch_stdin")
    if not 0 <= port < 65536:
        return _complain(f"--port {port} is no port: take 0 to 65535")
    try:
        load_msgpack()
        with contextlib.suppress(KeyboardInterrupt):
            from .server import run  # takes seconds: only now that nothing can be wrong with the arguments

            asyncio.run(run(host, port, Faults(**options), watch_stdin))
    except UserError as error:
        return _complain(str(error))
    return 0


def _complain(line: str) -> int:
    print(line, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
