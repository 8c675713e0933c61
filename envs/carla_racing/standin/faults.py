"""Faults on request, by flags at the start or by the procedure ``standin_fault`` while the stand-in runs."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field, fields
from typing import Any

from .protocol import Refusal

VERSION = "0.9.16"


def _fault(default: float | int | str, metavar: str, text: str) -> Any:
    return field(default=default, metadata={"metavar": metavar, "help": text})


@dataclass
class Faults:
    """The faults, all off by default; the texts are the help of the flags."""

    slow_tick: float = _fault(0.0, "SECONDS", "wait this long within every tick")
    drop_snapshots: int = _fault(0, "N", "do not send the next N snapshots")
    slow_stream: float = _fault(0.0, "SECONDS", "wait this long before a new listener is sent anything")
    cut_stream: int = _fault(0, "N", "end the connections in the middle of the next N snapshots")
    refuse_spawn: int = _fault(0, "N", "refuse the next N spawns")
    kill: int = _fault(-1, "N", "exit without goodbye within the N-th tick from now (0: at once)")
    server_version: str = _fault(VERSION, "TEXT", "the version the server says it has")
    hang: str = _fault("", "NAME", "do not answer calls of this procedure ('*': of any) while this is set")

    def set(self, name: str, value: float | int | str) -> None:
        """Switch a fault; ``kill`` 0 does not return."""
        kinds = {entry.name: type(entry.default) for entry in fields(self)}
        if name not in kinds:
            raise Refusal(f"no fault '{name}': choose one of {', '.join(kinds)}")
        setattr(self, name, kinds[name](value))
        if self.kill == 0:
            _die()

    def take(self, name: str) -> bool:
        """Count a fault down and return whether it happens now."""
        left = getattr(self, name)
        setattr(self, name, max(left - 1, 0))
        return left > 0

    async def before_call(self, name: str) -> None:
        """Wait while calls of ``name`` hang; the stand-in's procedures for tests never hang."""
        while self.hang in ("*", name) and not name.startswith("standin_"):
            await asyncio.sleep(0.01)

    async def before_tick(self) -> None:
        """Apply the faults of a tick."""
        if self.slow_tick:
            await asyncio.sleep(self.slow_tick)
        if self.kill > 0:
            self.kill -= 1
            if self.kill == 0:
                _die()


def _die() -> None:
    os._exit(1)
