"""An algorithm and an environment of another package: entry points, no yaml, composed from their dataclasses."""

import importlib.metadata
import sys
from dataclasses import dataclass
from types import ModuleType

import pytest

from pompc.config.compose import algorithm_config, compose, environment_config, run_directory
from pompc.errors import UserError


@dataclass(frozen=True, kw_only=True)
class TinyConfig:
    kl_weight: float = 0.25
    depth: int = 2
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
    cfg = compose("tiny", "room", ["algo.depth=3", "algo.widths=[4]", "env.size=5", "kl_weight=0.5"])
    assert algorithm_config(cfg) == TinyConfig(kl_weight=0.5, depth=3, widths=(4,))
    assert environment_config(cfg) == RoomConfig(size=5.0)
    assert run_directory(cfg).parts[:3] == ("runs", "tiny", "room")


def test_it_mixes_with_the_builtin_ones():
    assert compose("tiny", "acrobot").env.name == "acrobot"
    assert compose("ppo", "room").env.size == 3.0


def test_its_keys_are_checked():
    with pytest.raises(UserError, match=r"unknown key 'algo.dept'; did you mean 'algo.depth'"):
        compose("tiny", "room", ["algo.dept=3"])
    with pytest.raises(UserError, match=r"env\.size must be a number"):
        compose("tiny", "room", ["env.size=big"])
