"""A dashboard without a login: the command to type, and the page in the place of one."""

import shlex
import subprocess
import sys
import webbrowser
from pathlib import Path

import pytest
from dashboards import one_line, started, write

from pompc.cli import main
from pompc.report.dashboard import command
from pompc.report.dashboard.uploads import pending


@pytest.fixture
def _offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.mark.usefixtures("_offline")
def test_offline_it_says_what_to_type_and_writes_the_page(runs, capsys):
    started(runs / "ppo0", 2, 1)
    started(runs / "ppo1", 1, 2, synced=(1,))
    started(runs / "dtc0", 1, synced=(1,))
    assert main(["dashboard"]) == 0
    lines = capsys.readouterr().out.splitlines()
    where = "wandb/offline-run-2026010"
    assert lines[2:4] == [
        f"  wandb sync runs/ppo0/{where}1_000000-abc runs/ppo0/{where}2_000000-abc",
        f"  wandb sync runs/ppo1/{where}2_000000-abc",
    ]
    assert lines[4] == "without wandb files, as with wandb.mode=disabled: runs/dtc1, runs/lander"
    assert lines[5] == "written: dashboard.html"
    page = (runs.parent / "dashboard.html").read_text()
    assert all(word in page for word in ("acrobot", "lunar_lander", "ppo", "dtc"))


@pytest.mark.usefixtures("_offline")
def test_wandb_itself_finds_the_parts_that_the_command_names(runs):
    started(runs / "ppo0", 1, 2, 3, synced=(2,))
    folders = pending(runs / "ppo0")
    command = [sys.executable, "-m", "wandb", "sync", "--dry-run", *map(str, folders)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=runs).stderr
    assert "Would sync 2 run(s)" in said
    assert all(f"{folder.name}/run-abc.wandb" in said for folder in folders)


@pytest.mark.usefixtures("_offline")
def test_a_path_with_a_space_stays_one_word(tmp_path, capsys):
    run = write(tmp_path / "my runs" / "a")
    started(run, 1)
    assert main(["dashboard", str(tmp_path), "--out", str(tmp_path / "x.html")]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "wandb sync" in line)
    assert shlex.split(line)[2:] == [str(run / "wandb" / "offline-run-20260101_000000-abc")]


@pytest.mark.usefixtures("_offline", "runs")
@pytest.mark.parametrize(("sits_here", "flags", "opened"), [(True, [], 1), (True, ["--no-open"], 0), (False, [], 0)])
def test_the_page_is_opened_where_somebody_sees_it(sits_here, flags, opened, monkeypatch):
    seen = []
    monkeypatch.setattr(webbrowser, "open", seen.append)
    monkeypatch.setattr(command, "_has_display", lambda: sits_here)
    assert main(["dashboard", *flags]) == 0
    assert seen == [Path("dashboard.html").resolve().as_uri()] * opened


@pytest.mark.parametrize(("is_tty", "screen", "shown"), [(True, ":0", True), (True, "", False), (False, ":0", False)])
def test_a_browser_needs_a_terminal_and_a_screen(is_tty, screen, shown, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", screen)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_tty, raising=False)
    assert command._has_display() is shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere is no run directory, and has none below"),
        (["--out", "a.png"], "an .html file, not a.png"),
    ],
)
def test_bad_input_is_one_line(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["dashboard", *arguments]) == 2
    assert said in one_line(capsys)
