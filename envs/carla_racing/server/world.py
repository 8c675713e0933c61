"""Connect to a CARLA server: check its version and other clients, load the wanted world."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pompc.errors import UserError

from ..config import Address, CarlaRacingConfig
from ..track.track import Track
from .library import NoServer, ServerFault, asking, client_library

TAG = "pompc"
"""Prefix of the role name of every actor that this package spawns."""
LOADER = Path(__file__).with_name("loader.py")
GENERATED = "OpenDriveMap"
"""CARLA's name of a world made of an OpenDRIVE text."""
LOADING = 180.0  # s that a server may take to load a world
PLAYERS = ("vehicle.", "walker.", "sensor.", "controller.")


def connect(address: Address, timeout: float) -> Any:
    """Connect a client of the server's version, without reading the world.

    The order matters: reading the stream of another version aborts the process.

    Raises:
        ServerFault: no answer.
        UserError: the versions differ.
    """
    carla = client_library()
    try:
        socket.create_connection(address, timeout).close()  # fails at once; the client would fail after its time-out
    except OSError as error:
        raise NoServer(f"connect: {error.strerror or error}") from error
    client = carla.Client(address.host, address.port, worker_threads=1)
    client.set_timeout(timeout)
    with asking("ask for the version"):
        server, own = client.get_server_version(), client.get_client_version()
    if server != own:
        raise UserError(
            f"{address} is a CARLA server of version {server}, the client is {own}: start a server {own}, because data of "
            "another version abort the process"
        )
    return client


@contextmanager
def leased(address: Address) -> Iterator[None]:
    """Keep other processes of this user on this machine from using the server within the block.

    A lock on a file in the folder for temporary files, named after the server's address, excludes them. The lock of a dead
    process does not count.

    Raises:
        UserError: another process uses the server, even if it is just learning between two ticks.
    """
    from pompc.system.locking import (  # missing on Windows; the embedded simulator must be importable there
        InUse,
        exclusive,
    )

    try:
        host = socket.gethostbyname(address.host)
    except OSError:
        host = address.host  # connecting will say it better
    path = Path(tempfile.gettempdir(), f"pompc-carla-{os.getuid()}-{host}-{address.port}.lock")
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(path))
        except InUse as error:
            if error.pid == str(os.getpid()):
                raise UserError(f"{address} is used already in this process: name every server once") from None
            raise UserError(
                f"{address} is used by another run on this machine (pid {error.pid}): wait for it, or name another "
                "server in env.servers"
            ) from None
        except OSError as error:
            raise UserError(f"cannot write {path} ({error.strerror}): remove it, or set TMPDIR") from error
        yield


def take_over(address: Address, config: CarlaRacingConfig, track: Track) -> tuple[Any, Any]:
    """Connect to a server that no other client drives, and load the track's world if the server does not show it.

    Loading takes long and destroys all actors.

    Returns:
        The client, and the settings to restore at the end.

    Raises:
        ServerFault: no answer.
        UserError: the server is in use, or there is no such map.
    """
    client = connect(address, config.timeout)
    with asking("take over the server"):
        found = _free(client, address, config.timeout)
        if shows(client, config, track):
            return client, found
        _require_loadable(client, address, config)
        before = client.get_world().get_map().to_opendrive()
    del client  # a client must be gone before the world changes, see `loader`
    loaded = _load(address, config, track)
    client = connect(address, config.timeout)
    with asking("look at the new world"):
        # A server may return a text in another form. Then the loader, or a change of the text, shows that the world is new.
        present = client.get_world().get_map()
        loaded |= present.to_opendrive() != before
        if not (loaded and short(present.name) == (config.map or GENERATED)) and not shows(client, config, track):
            raise ServerFault("load the world: the server shows another one")
    return client, found


def short(name: str) -> str:
    """Strip the folders from a map's name."""
    return name.rpartition("/")[2]


def role(actor: Any) -> str:
    """Return the role name of an actor, or an empty string."""
    return actor.attributes.get("role_name", "")


def is_own(actor: Any) -> bool:
    """Whether this package has spawned an actor, in this process or in an earlier one."""
    parent = actor.parent
    return role(actor).startswith(TAG) or (parent is not None and role(parent).startswith(TAG))


def others(world: Any) -> list[str]:
    """Name the cars, walkers and sensors of other clients; actors of the map do not count."""
    players = [actor for actor in world.get_actors() if actor.type_id.startswith(PLAYERS) and not is_own(actor)]
    return [f"{actor.type_id} (id {actor.id}{', ' + role(actor) if role(actor) else ''})" for actor in players]


def is_driven(world: Any, seconds: float) -> bool:
    """Whether another client is seen to tick the server in synchronous mode within ``seconds``.

    One late answer to an old tick does not count.
    """
    frames, end = set(), time.monotonic() + seconds
    while world.get_settings().synchronous_mode and time.monotonic() < end:
        frames.add(world.get_snapshot().frame)
        if len(frames) > 3:
            return True
        time.sleep(0.01)
    return False


def _free(client: Any, address: Address, timeout: float) -> Any:
    """Refuse a server that another client drives; remove the leavings of a dead run; return the settings to restore."""
    carla, world = client_library(), client.get_world()
    if is_driven(world, timeout):
        raise UserError(
            f"{address} is driven by another client, which ticks it in synchronous mode: stop that client, or name another "
            "server in env.servers"
        )
    found = world.get_settings()
    if found.synchronous_mode:
        warnings.warn(
            f"{address} was left in synchronous mode by a client that has not ticked it for {timeout:g} s: repaired"
        )
        found.synchronous_mode, found.fixed_delta_seconds = False, None
        world.apply_settings(found)
    world.wait_for_tick(timeout)  # before the first tick no actor is known
    own = [actor for actor in world.get_actors() if is_own(actor)]
    if own:  # of a dead run, as are the settings: CARLA's defaults are the best guess at the earlier ones
        found.no_rendering_mode, found.substepping = False, True
        found.max_substep_delta_time, found.max_substeps = 0.01, 10
    client.apply_batch_sync([carla.command.DestroyActor(actor) for actor in own], False)
    return found


def shows(client: Any, config: CarlaRacingConfig, track: Track) -> bool:
    """Whether the server shows the wanted world."""
    present = client.get_world().get_map()
    if config.map is not None:
        return short(present.name) == config.map
    return present.to_opendrive().split() == track.text.split()


def _require_loadable(client: Any, address: Address, config: CarlaRacingConfig) -> None:
    """Refuse to destroy actors of other clients, and refuse maps that the server does not have."""
    world = client.get_world()
    if strangers := others(world):
        raise UserError(
            f"{address} shows {short(world.get_map().name)} with {len(strangers)} actors of other clients, which loading "
            f"{config.map or 'the track'} would destroy: remove {', '.join(strangers[:3])}"
            f"{', ..' if len(strangers) > 3 else ''} first"
        )
    towns = sorted(map(short, client.get_available_maps()))
    if config.map is not None and config.map not in towns:
        raise UserError(f"{address} has no map {config.map!r}: take one of {', '.join(towns)} for env.map")


def _load(address: Address, config: CarlaRacingConfig, track: Track) -> bool:
    """Load the world from another process.

    Returns:
        Whether that process ended well. If it did not, the world may still have changed.

    Raises:
        ServerFault: the server refused, or took too long.
    """
    order = {
        "host": address.host,
        "port": address.port,
        "patience": LOADING,
        "town": config.map,
        "definition": track.text,
        "walls": {"wall_height": config.wall_height, "additional_width": config.additional_width},
    }
    command, text = [sys.executable, str(LOADER)], json.dumps(order)
    options: dict[str, Any] = {"text": True, "capture_output": True, "timeout": 2 * LOADING, "start_new_session": True}
    try:
        done = subprocess.run(command, input=text, **options)
    except subprocess.TimeoutExpired:
        raise ServerFault(f"load the world: not done within {2 * LOADING:g} s") from None
    if done.returncode > 0:
        raise ServerFault(f"load the world: {done.stderr.strip().rpartition(chr(10))[2]}")
    return done.returncode == 0
