"""The second port: the client connects once per stream, names it and receives its messages."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from itertools import count

from . import wire
from .faults import Faults

LARGEST_BACKLOG = 1 << 26
"""Bytes waiting for a client that does not read, from which on its messages are dropped."""


class Streams:
    """All streams and their listeners.

    Args:
        faults: the active faults.
    """

    def __init__(self, faults: Faults) -> None:
        self.port, self._faults = 0, faults
        self._numbers = count(1)
        self._listeners: dict[int, set[StreamWriter]] = {}

    def open(self) -> int:
        """Open a stream; return its id."""
        number = next(self._numbers)
        self._listeners[number] = set()
        return number

    def close(self, stream: int) -> None:
        """Forget a stream. Its connections stay until the client ends them, because it would reconnect for ever."""
        self._listeners.pop(stream, None)

    def token(self, stream: int) -> bytes:
        """Make the token with which a client listens to a stream; empty for stream 0."""
        return wire.token(stream, self.port) if stream else b""

    def heard(self, stream: int) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners.get(stream))

    @property
    def connections(self) -> int:
        """Number of connections that listen to a stream."""
        return sum(map(len, self._listeners.values()))

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Hold one connection until the client ends it."""
        ends = (IncompleteReadError, ConnectionError, asyncio.CancelledError)
        with contextlib.suppress(*ends), contextlib.closing(writer):
            (stream,) = wire.STREAM_ID.unpack(await reader.readexactly(wire.STREAM_ID.size))
            await asyncio.sleep(self._faults.slow_stream)
            listeners = self._listeners.get(stream, set())
            listeners.add(writer)
            try:
                await reader.read()
            finally:
                listeners.discard(writer)

    def publish(self, stream: int, message: bytes) -> None:
        """Send a message to all listeners."""
        framed = wire.FRAME.pack(len(message)) + message
        for writer in self._listeners[stream]:
            if not writer.is_closing() and writer.transport.get_write_buffer_size() < LARGEST_BACKLOG:
                writer.write(framed)

    def cut(self, stream: int, message: bytes) -> None:
        """Send half of a message and end the connections."""
        framed = wire.FRAME.pack(len(message)) + message
        for writer in self._listeners[stream]:
            writer.write(framed[: len(framed) // 2])
            asyncio.get_running_loop().call_soon(writer.close)
