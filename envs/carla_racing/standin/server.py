"""The two ports and the clock."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
from asyncio import Event, StreamReader, StreamWriter
from socket import IPPROTO_TCP, TCP_NODELAY
from threading import Thread

from pompc.errors import UserError

from .calls import Calls, procedures
from .faults import VERSION, Faults
from .protocol import serve
from .streams import Streams
from .world import World


async def _own_clock(world: World, mode_changed: Event) -> None:
    """Tick in real time while the episode is asynchronous."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        if world.settings.synchronous:
            mode_changed.clear()
            await mode_changed.wait()
            due = loop.time()
            continue
        due = max(due + world.settings.step, loop.time())
        await asyncio.sleep(due - loop.time())
        if not world.settings.synchronous:
            await world.tick()


def _await_end_of_input(loop: asyncio.AbstractEventLoop, stop: Event) -> None:
    while os.read(0, 1):
        pass
    with contextlib.suppress(RuntimeError):  # the loop has ended already
        loop.call_soon_threadsafe(stop.set)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror}: take another --port") from error


async def run(host: str, port: int, faults: Faults, watch_stdin: bool) -> None:
    """Serve until SIGINT or SIGTERM. The port of the RPC opens when the server can answer, not before.

    Args:
        host: the address to listen on.
        port: of the RPC; 0 takes a free one. The streams take another free one.
        faults: the faults from the start.
        watch_stdin: end with the standard input, and so with the process that started this one.

    Raises:
        UserError: the port is not free.
    """
    loop, stop, mode_changed = asyncio.get_running_loop(), Event(), Event()
    with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt instead
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
    if watch_stdin:
        Thread(target=_await_end_of_input, args=(loop, stop), daemon=True).start()
    streams = Streams(faults)
    world = World(streams, faults)
    calls = procedures(Calls(world, mode_changed))

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        # asyncio does so only for sockets that it makes; without it every answer takes 40 ms more.
        writer.get_extra_info("socket").setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        # Cancelled at the end of the server, of which asyncio would complain.
        with contextlib.suppress(ConnectionError, asyncio.CancelledError), contextlib.closing(writer):
            await serve(reader, writer, calls, faults.before_call)

    stream_server = await asyncio.start_server(streams.serve, host, 0)
    streams.port = stream_server.sockets[0].getsockname()[1]
    gc.freeze()  # keeps the garbage collector off imported objects, so that ticks stay even
    listener = _listen(host, port)
    host, port = listener.getsockname()[:2]
    rpc_server = await asyncio.start_server(answer, sock=listener)
    clock = asyncio.create_task(_own_clock(world, mode_changed))
    clock.add_done_callback(lambda _: stop.set())
    print(f"carla stand-in ready on {host}:{port} (CARLA {VERSION} protocol)", flush=True)
    await stop.wait()
    rpc_server.close()
    stream_server.close()
    if clock.done():
        clock.result()  # the clock ends only with an error: show it
    clock.cancel()
