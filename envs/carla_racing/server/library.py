"""The CARLA client library, which only an extra installs, and what its failures are called here."""

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
    """An episode cannot go on, through no fault of its driver."""


class ServerFault(Interrupted):
    """A server, or the way to it, has failed; another connection may help."""


class NoServer(ServerFault):
    """Nothing listens at the address."""


def client_library() -> Any:
    """The module ``carla``.

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
    """A block of calls to a server whose failure is a :class:`ServerFault` that says ``what`` was asked.

    The client raises a bare ``RuntimeError`` both where a server does not answer and where it refuses.
    """
    try:
        yield
    except RuntimeError as error:
        raise ServerFault(f"{what}: {_reason(error)}") from error


def _reason(error: RuntimeError) -> str:
    """The client's message in a few words."""
    text = " ".join(str(error).split())
    late = re.match(r"time-out of (\d+)ms", text)
    return f"no answer within {int(late[1]) / 1000:g} s" if late else text
