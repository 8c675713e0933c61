"""What tests of sweeps share."""

import pytest

from pompc.sweep import launchers


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def use(monkeypatch):
    """Let the sweep use a launcher."""

    def use(launcher):
        monkeypatch.setattr(launchers, "find", lambda name: launcher)
        return launcher

    return use
