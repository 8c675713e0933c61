"""The two ports and the clock."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from asyncio import Event, StreamReader, StreamWriter
from socket import IPPROTO_TCP, TCP_NODELAY, socket
from threading import Thread

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


async def run(listener: socket, faults: Faults, watch_stdin: bool) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        listener: the socket of the RPC. The streams take a free port beside it.
        faults: what goes wrong from the start.
        watch_stdin: end when the standard input ends: with the process that started this one.
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
        # asyncio does so for sockets that it makes itself; without it every answer waits 40 ms.
        writer.get_extra_info("socket").setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        # Cancelled at the end of the server, of which asyncio would complain.
        with contextlib.suppress(ConnectionError, asyncio.CancelledError), contextlib.closing(writer):
            await serve(reader, writer, calls, faults.before_call)

    host, port = listener.getsockname()
    stream_server = await asyncio.start_server(streams.serve, host, 0)
    streams.port = stream_server.sockets[0].getsockname()[1]
    rpc_server = await asyncio.start_server(answer, sock=listener)
    clock = asyncio.create_task(_own_clock(world, mode_changed))
    clock.add_done_callback(lambda _: stop.set())
    gc.freeze()  # the collector does not look at what was imported again: ticks stay even
    print(f"carla stand-in ready on {host}:{port} (CARLA {VERSION} protocol)", flush=True)
    await stop.wait()
    rpc_server.close()
    stream_server.close()
    if clock.done():
        clock.result()  # the clock ends by itself only with an error: show it
    clock.cancel()
