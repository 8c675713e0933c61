"""An algorithm and an environment of another package: entry points, no yaml, composed from their dataclasses."""

import importlib.metadata
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated

import pytest

from pompc.config.compose import compose
from pompc.config.options import Options, PositiveInt, Top
from pompc.config.spec import configure
from pompc.errors import UserError


@dataclass(frozen=True, kw_only=True)
class TinyConfig(Options):
    section = "algo"

    kl_weight: Annotated[float, Top()] = 0.25
    depth: PositiveInt = 2
    widths: tuple[int, ...] = (8, 8)


class Tiny:
    Config = TinyConfig


@dataclass(frozen=True, kw_only=True)
class RoomConfig:
    size: float = 3.0


class Room:
    Config = RoomConfig


@pytest.fixture(autouse=True)
def _installed(monkeypatch):
    module = ModuleType("another_package")
    module.Tiny, module.Room = Tiny, Room
    monkeypatch.setitem(sys.modules, "another_package", module)
    points = {
        "pompc.algorithms": [importlib.metadata.EntryPoint("tiny", "another_package:Tiny", "pompc.algorithms")],
        "pompc.envs": [importlib.metadata.EntryPoint("room", "another_package:Room", "pompc.envs")],
    }
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points.get(group, []))


def test_it_composes_and_builds():
    spec = configure("tiny", "room", ["algo.depth=3", "algo.widths=[4]", "env.size=5", "kl_weight=0.5"])
    assert spec.algorithm_config == TinyConfig(kl_weight=0.5, depth=3, widths=(4,))
    assert spec.environment_config == RoomConfig(size=5.0)
    assert spec.directory.parts[:3] == ("runs", "tiny", "room")


def test_it_mixes_with_the_builtin_ones():
    assert compose("tiny", "acrobot")["env"]["name"] == "acrobot"
    assert compose("ppo", "room")["env"]["size"] == 3.0


def test_its_keys_are_checked():
    with pytest.raises(UserError, match=r"unknown key 'algo.dept'; did you mean 'algo.depth'"):
        compose("tiny", "room", ["algo.dept=3"])
    with pytest.raises(UserError, match=r"algo\.depth must be positive, not 0"):
        compose("tiny", "room", ["algo.depth=0"])
    with pytest.raises(UserError, match=r"env\.size must be a number"):
        compose("tiny", "room", ["env.size=big"])
