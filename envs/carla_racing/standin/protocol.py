"""msgpack-rpc as CARLA's client speaks it.

Request ``[0, id, name, [[asynchronous], argument, ...]]``, answer ``[1, id, error, result]``. Asynchronous calls are
answered too; the client ignores it. Structures travel as arrays, an optional as ``[false]`` or ``[true, value]``.
"""

from __future__ import annotations

import inspect
import sys
import traceback
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from pompc.errors import UserError

LARGEST_READ = 1 << 16

Call = Callable[..., Any]
"""A remote procedure: its arguments without the metadata; may be a coroutine function."""


class Refusal(Exception):
    """The server says no; the client raises RuntimeError with this message."""


class Bare(NamedTuple):
    """A result that is not wrapped: that of ``apply_batch``."""

    value: Any


def load_msgpack() -> Any:
    """Import the module ``msgpack``.

    Raises:
        UserError: it is not installed.
    """
    try:
        import msgpack  # pyright: ignore[reportMissingImports]  # of an extra
    except ImportError as error:
        raise UserError("the CARLA stand-in needs msgpack: pip install 'pompc[carla]'") from error
    return msgpack


def success(value: Any) -> list:
    """Make a ``Response<T>`` of a value, or a ``Response<void>`` of ``None``."""
    return [[False]] if value is None else [[1, value]]


def refused(message: str) -> list:
    """Make a ``Response<T>`` of an error; the client reads it as an error of ``Response<void>`` too."""
    return [[0, [message]]]


async def serve(
    reader: StreamReader, writer: StreamWriter, calls: dict[str, Call], before: Callable[[str], Awaitable[None]]
) -> None:
    """Answer the calls of one connection in order until it ends.

    Args:
        reader: of the connection.
        writer: of the connection.
        calls: remote procedures by name.
        before: awaited with the name before every call.
    """
    msgpack = load_msgpack()
    unpacker = msgpack.Unpacker(raw=False, unicode_errors="surrogateescape", max_buffer_size=1 << 28)
    while data := await reader.read(LARGEST_READ):
        unpacker.feed(data)
        for _, number, name, arguments in unpacker:
            await before(name)
            error, result = await _answer(calls, name, arguments[1:])
            writer.write(msgpack.packb([1, number, error, result], unicode_errors="surrogateescape"))
        await writer.drain()


async def _answer(calls: dict[str, Call], name: str, arguments: list) -> tuple[str | None, Any]:
    """Return error and result of one call."""
    call = calls.get(name)
    if call is None:
        return f"the CARLA stand-in has no procedure '{name}'", None
    try:
        result = call(*arguments)
        if inspect.isawaitable(result):
            result = await result
    except Refusal as refusal:
        return None, refused(str(refusal))
    except Exception as error:  # one bad request must not end the server
        traceback.print_exc(file=sys.stderr)
        return f"{name}: {error!r}", None
    return None, result.value if isinstance(result, Bare) else success(result)
