"""Tests whose body is a client of the stand-in.

The client ends its process when a message is malformed, so every body runs in another process; its end is a failed test.
This module, run as a script, is that process. ``POMPC_CARLA_PYTHON`` names another interpreter for it (with carla, msgpack
and pytest, without torch), because the client has different wheels for every version of Python.
"""

import functools
import importlib.util
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from pompc.envs.carla_racing.standin import control
from pompc.envs.carla_racing.standin.faults import Faults

DT = 0.05
DEFAULT_MAP = "Town10HD_Opt"
PYTHON = os.environ.get("POMPC_CARLA_PYTHON", sys.executable)


def require_carla():
    """Skip the module if the stand-in or its client lacks a package."""
    pytest.importorskip("msgpack", reason="the stand-in needs msgpack: pip install 'pompc[carla]'")
    try:
        found = version("carla")
    except PackageNotFoundError:
        pytest.skip("needs the CARLA client: pip install 'pompc[carla]'", allow_module_level=True)
    if found != "0.9.16":
        pytest.skip(f"needs the CARLA client 0.9.16, not {found}", allow_module_level=True)


ATTEMPTS = 6
"""Runs of a body whose client aborts. On two busy cores 25 of 441 runs of `test_load_world` aborted."""


class ClientAborted(AssertionError):
    """The client aborted its process while the world changed, a fault of the client's (`loader`)."""


def renew(server):
    """Switch off all faults and begin a fresh episode."""
    for name, value in asdict(Faults()).items():
        server.fault(name, value)
    control.call(server.host, server.port, "load_new_episode", DEFAULT_MAP, True, 0)


def in_client(body):
    """Make a test that runs ``body(client, world)`` in another process on the shared server; again if the client aborts."""

    @functools.wraps(body)
    def test(server):
        for attempt in range(ATTEMPTS):
            try:
                run(body, server)
                return
            except ClientAborted:
                if attempt == ATTEMPTS - 1:
                    raise
                renew(server)

    test.body = body
    del test.__wrapped__  # or pytest would look for fixtures named client and world
    return test


def run(body, server, **arguments):
    """Run ``body(client, world, **arguments)``, a function of a test module, in another process; return its result."""
    path = body.__code__.co_filename
    command = [PYTHON, __file__, path, body.__name__, str(server.port), json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode == -signal.SIGABRT and "close: Bad file descriptor" in done.stderr:
        raise ClientAborted(done.stderr)
    assert done.returncode == 0, f"the client ended with {done.returncode}:\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


def synchronous(world, **settings):
    """Let the client tick the world, as the racing family does."""
    wanted = world.get_settings()
    wanted.synchronous_mode = True
    wanted.fixed_delta_seconds = DT
    wanted.max_substep_delta_time = 0.01
    wanted.max_substeps = 10
    for name, value in settings.items():
        setattr(wanted, name, value)
    world.apply_settings(wanted)
    return world


def spawn(world, name, place=0, attach_to=None, **attributes):
    """Spawn an actor at a spawn point by number, or at a transform."""
    import carla

    blueprint = world.get_blueprint_library().find(name)
    for key, value in attributes.items():
        blueprint.set_attribute(key, value)
    if not isinstance(place, carla.Transform):
        place = world.get_map().get_spawn_points()[place]
    return world.spawn_actor(blueprint, place, attach_to=attach_to)


def fault(name, value):
    """Switch a fault of the server from within a client's process."""
    control.set_fault("127.0.0.1", int(sys.argv[3]), name, value)


def refusal(function, *arguments):
    """Return the message with which a call fails."""
    try:
        function(*arguments)
    except RuntimeError as error:
        return str(error)
    raise AssertionError("the call did not fail")


def _main(path, name, port, arguments):
    import carla

    spec = importlib.util.spec_from_file_location("body", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, name)
    client = carla.Client("127.0.0.1", int(port), worker_threads=1)
    client.set_timeout(10.0)
    result = getattr(function, "body", function)(client, client.get_world(), **json.loads(arguments))
    print(json.dumps(result), flush=True)
    # The client's own threads release callbacks of stopped sensors, which aborts while the interpreter is being taken
    # down, which is not under test.
    os._exit(0)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    _main(*sys.argv[1:])
