"""Racing families on CARLA stand-ins, and steps that tests share."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from pompc.envs.carla_racing import CarlaRacing, CarlaRacingConfig
from pompc.envs.carla_racing.server.world import GENERATED, LOADER, short

COAST = np.array([0.0, 0.3], np.float32)


def address(server: Any) -> str:
    """Return ``host:port`` of a stand-in."""
    return f"{server.host}:{server.port}"


def nobody() -> str:
    """Return an address without a server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def family(*servers: Any, **options: Any) -> CarlaRacing:
    """Make the family on these servers."""
    names = tuple(map(address, servers))
    return CarlaRacing(CarlaRacingConfig(backend="carla", servers=names, **{"timeout": 5.0, "retries": 1, **options}))


def embedded(**options: Any) -> CarlaRacing:
    """Make the family on the embedded simulator."""
    return CarlaRacing(CarlaRacingConfig(**options))


def drive(env: Any, steps: int, action: np.ndarray = COAST) -> list[tuple]:
    """Step several times; return the results."""
    return [env.step(action) for _ in range(steps)]


def broken(results: list[tuple]) -> list[float]:
    """Return the ``broken`` flag of every step."""
    return [info["broken"] for *_, info in results]


def client(server: Any, code: str) -> Any:
    """Run ``code`` with ``client``, ``world`` and ``carla`` in another process; return the value it gives to ``result``.

    Code that ends its process (``os._exit``) leaves its actors and settings behind, like a killed client.
    """
    script = (
        "import carla, json, os\n"
        f"client = carla.Client({server.host!r}, {server.port}, worker_threads=1)\n"
        f"client.set_timeout(5.0)\nworld = client.get_world()\nresult = None\n{code}\nprint(json.dumps(result), flush=True)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) if done.stdout else None


def replace_world(server: Any, definition: str) -> None:
    """Make a world of an OpenDRIVE text on a stand-in, with the loader, because a client may abort then."""
    order = {
        "host": server.host,
        "port": server.port,
        "patience": 30.0,
        "town": None,
        "definition": definition,
        "walls": {},
    }
    subprocess.run([sys.executable, str(LOADER)], input=json.dumps(order), text=True, capture_output=True, timeout=60)
    assert short(server.state()["map"]) == GENERATED


def _mode(synchronous: bool, step: float | None) -> str:
    """Make code for :func:`client`: set the world's mode and the seconds per tick."""
    return (
        "settings = world.get_settings()\n"
        f"settings.synchronous_mode, settings.fixed_delta_seconds = {synchronous}, {step}\n"
        "world.apply_settings(settings)\n"
    )


SYNCHRONOUS = _mode(True, 0.05)
# A new client must not tick a synchronous world: it misses the answer until its stream is open.
ASYNCHRONOUS = _mode(False, None)


def spawn(role: str, place: int = 3) -> str:
    """Make code for :func:`client`: spawn a car with a role name at one of the map's spawn points."""
    return (
        "car = world.get_blueprint_library().find('vehicle.tesla.model3')\n"
        f"car.set_attribute('role_name', {role!r})\n"
        f"car = world.spawn_actor(car, world.get_map().get_spawn_points()[{place}])\n"
    )


def run_words(directory: Path, servers: list[Any], *overrides: str) -> list[str]:
    """Make the arguments of ``pompc`` for a small run of adaptive_hrl on these servers."""
    servers_key = f"env.servers=[{','.join(map(address, servers))}]"
    small = (
        "algo.batch_size=64",
        "algo.minibatch_size=32",
        "algo.epochs=1",
        "algo.hidden_sizes=[16]",
        "algo.ensemble_size=2",
    )
    plan = ("planner.num_samples=8", "planner.horizon=4", "algo.candidates=2", "algo.virtual_rollouts=16")
    env = ("env.backend=carla", servers_key, "env.time_limit=1.5", "env.timeout=2", "env.retries=1")
    evaluation = ("eval.episodes=3", "eval.every=192", "eval.video=false")
    rest = (f"num_envs={len(servers)}", "wandb.mode=disabled", f"run_dir={directory}")
    options = (*small, *plan, *env, *evaluation, *rest, *overrides)
    return ["run", "--algo", "adaptive_hrl", "--env", "carla_racing", *options]


def rows(file: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, or an empty list before the file exists."""
    if not file.exists():
        return []
    with file.open() as lines:
        return list(csv.DictReader(lines))


def quiet() -> dict[str, str]:
    """Make the environment of a subprocess: one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}
