"""A tiny client for tests: it switches faults and reads counters, without the package ``carla``."""

from __future__ import annotations

import socket
from typing import Any

from .protocol import LARGEST_READ, load_msgpack


def call(host: str, port: int, name: str, *arguments: Any, timeout: float = 10.0) -> Any:
    """Call a procedure on a new connection; return the value of its answer.

    Raises:
        RuntimeError: the server refuses.
        ConnectionError: the server has gone.
        TimeoutError: no answer.
    """
    msgpack = load_msgpack()
    unpacker = msgpack.Unpacker(raw=False)
    with socket.create_connection((host, port), timeout) as connection:
        connection.sendall(msgpack.packb([0, 0, name, [[False], *arguments]]))
        while data := connection.recv(LARGEST_READ):
            unpacker.feed(data)
            for _, _, error, result in unpacker:
                if error is not None:
                    raise RuntimeError(error)
                ok, *value = result[0]
                if value and not ok:
                    raise RuntimeError(value[0][0])
                return value[0] if value else None
    raise ConnectionError(f"the server on {host}:{port} ended the connection")


def set_fault(host: str, port: int, name: str, value: float | int | str) -> None:
    """Switch a fault of ``faults.Faults`` on a running stand-in.

    Raises:
        RuntimeError: no such fault.
        ConnectionError: the fault was ``kill`` at once.
    """
    call(host, port, "standin_fault", name, value)


def state(host: str, port: int) -> dict[str, Any]:
    """Ask a running stand-in for its state: frame, episode, map, mode, names of its actors, listeners, faults."""
    return call(host, port, "standin_state")
