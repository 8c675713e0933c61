"""Stored runs that tests of dashboards share."""

from pathlib import Path

import pytest
from dashboards import write


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two algorithms with two seeds on one environment, one algorithm on another."""
    monkeypatch.chdir(tmp_path)
    for algo, seed in (("ppo", 0), ("ppo", 1), ("dtc", 0), ("dtc", 1)):
        write(Path("runs") / f"{algo}{seed}", algo, seed=seed, code=f"{algo}-code")
    write(Path("runs/lander"), env="lunar_lander", code="other")
    return tmp_path / "runs"
