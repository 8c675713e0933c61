"""Say what is at an address and whether the racing task can use it."""

from __future__ import annotations

import time
from typing import Any

from pompc.errors import UserError

from ..config import Address, CarlaRacingConfig
from ..track.track import Track
from .library import ServerFault, asking
from .server import synchronous
from .world import connect, is_driven, is_own, leased, others, short, shows

USABLE, UNUSABLE = 0, 2
PATIENCE = 5.0  # s for an answer
MEASURED = 100  # ticks
LONGEST = 3.0  # s they may take


def check(address: Address) -> int:
    """Print a line per finding.

    Returns:
        0 if a run on the default track can use the server, else 2.

    Raises:
        UserError: the client is not installed.
    """
    try:
        client = connect(address, PATIENCE)
        print(f"{address}: a CARLA server of version {client.get_server_version()}, as the client")
        with leased(address), asking("look at the world"):
            return _look(client)
    except ServerFault as fault:
        print(f"{address}: no CARLA server can be used ({fault}): is it running, and has it finished loading?")
    except UserError as error:
        if str(address) not in str(error):
            raise
        print(error)
    return UNUSABLE


def _look(client: Any) -> int:
    world = client.get_world()
    print(f"map: {short(world.get_map().name)}")
    if is_driven(world, PATIENCE):
        print("mode: synchronous, and another client ticks it: stop that client, or take another server")
        return UNUSABLE
    settings = world.get_settings()
    if settings.synchronous_mode:
        print(f"mode: synchronous, and nobody has ticked it for {PATIENCE:g} s: left on by a client that is gone?")
        print("actors, speed: not asked for, because that needs ticks; the next run repairs it")
        return USABLE
    print("mode: asynchronous")
    world.wait_for_tick(PATIENCE)  # before the first tick no actor is known
    strangers = others(world)
    own = sum(is_own(actor) for actor in world.get_actors())
    print(f"actors of other clients: {', '.join(strangers) or 'none'}")
    if own:
        print(f"actors of an earlier run that did not end properly: {own}; the next run removes them")
    if strangers or own:
        print("speed: not measured, because that would disturb them")
        config = CarlaRacingConfig()
        if strangers and not shows(client, config, Track.load(config.track)):
            print("a run would have to load its world, which would destroy them: remove them, or take another server")
            return UNUSABLE
    else:
        print(f"speed: {_rate(world, settings):,.0f} ticks/s of 0.05 s without rendering")
    return USABLE


def _rate(world: Any, found: Any) -> float:
    """Measure ticks per second in the mode of the racing task; restore the settings afterwards."""
    with synchronous(world, CarlaRacingConfig(), found):
        begun, ticks = time.perf_counter(), 0
        while ticks < MEASURED and time.perf_counter() - begun < LONGEST:
            world.tick(PATIENCE)
            ticks += 1
        return ticks / (time.perf_counter() - begun)
