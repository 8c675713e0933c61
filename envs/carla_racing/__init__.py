"""Racing against scripted traffic on a closed track: on the embedded simulator, or on CARLA servers.

Importing this package, its configuration or its commands does not import torch; the classes are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .batched import BatchedRacing
    from .config import CarlaRacingConfig
    from .env import RacingEnv
    from .family import CarlaRacing
    from .model import RacingModel

__all__ = ["BatchedRacing", "CarlaRacing", "CarlaRacingConfig", "RacingEnv", "RacingModel"]

MODULES = {
    "BatchedRacing": "batched",
    "CarlaRacing": "family",
    "CarlaRacingConfig": "config",
    "RacingEnv": "env",
    "RacingModel": "model",
}


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{MODULES[name]}", __name__), name)
