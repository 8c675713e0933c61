"""The CARLA client library, which only an extra installs, and exceptions for its failures."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from pompc.errors import UserError


class Interrupted(Exception):
    """An episode cannot continue, through no fault of its driver."""


class ServerFault(Interrupted):
    """A server, or the connection to it, has failed; another connection may help."""


class NoServer(ServerFault):
    """Nothing listens at the address."""


def client_library() -> Any:
    """Import the module ``carla``.

    Raises:
        UserError: it is not installed.
    """
    try:
        return import_module("carla")
    except ImportError:
        here = f"Python {sys.version_info[0]}.{sys.version_info[1]} on {platform.system()} {platform.machine()}"
        raise UserError(
            "env.backend=carla needs the CARLA client: pip install 'pompc[carla]' (there are wheels for Python 3.10, "
            f"3.11 and 3.12 on 64-bit Linux; this is {here})"
        ) from None


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn a failure of the calls in the block into a :class:`ServerFault` that says ``what`` was asked.

    The client raises a bare ``RuntimeError`` both for a missing answer and for a refusal.
    """
    try:
        yield
    except RuntimeError as error:
        raise ServerFault(f"{what}: {_reason(error)}") from error


def _reason(error: RuntimeError) -> str:
    """Shorten the client's message."""
    text = " ".join(str(error).split())
    late = re.match(r"time-out of (\d+)ms", text)
    return f"no answer within {int(late[1]) / 1000:g} s" if late else text
