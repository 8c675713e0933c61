"""How far runs are, from their files, and the table of it."""

import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from pompc.sweep.board import Board, Entry, last_row
from pompc.sweep.plan import Planned
from pompc.sweep.table import View, clock, make_table

IDENTITY = {"algo": "a", "env": "e", "seed": 0, "config_hash": "0123abcd"}


@pytest.fixture
def entry(tmp_path):
    planned = Planned(("seed=0",), "seed=0", tmp_path / "run", 1000, IDENTITY)
    planned.directory.mkdir()
    return Entry(planned, tmp_path / "run.log")


def test_the_last_whole_row_is_read(tmp_path):
    file = tmp_path / "a.csv"
    assert last_row(file) == {}
    file.write_text("step,reward\n")
    assert last_row(file) == {}
    file.write_text("step,reward\n" + "".join(f"{step},1.5\n" for step in range(5000)) + "77,2")
    assert last_row(file) == {"step": "4999", "reward": "1.5"}


def test_an_entry_looks_at_its_run(entry):
    entry.look()
    assert entry.step == 0
    assert math.isnan(entry.seconds_left)
    (entry.planned.directory / "timing.csv").write_text("step,env_steps_per_s\n100,20\n400,50\n")
    (entry.planned.directory / "eval.csv").write_text("step,reward\n0,-9\n400,-2.5\n")
    entry.look()
    assert (entry.step, entry.rate, entry.score) == (400, 50, -2.5)
    entry.state = "running"
    assert entry.seconds_left == (1000 - 400) / 50


@pytest.mark.parametrize(
    ("change", "finished"),
    [({}, True), ({"status": "running"}, False), ({"step": 999}, False), ({"config_hash": "other"}, False)],
)
def test_a_run_is_finished_if_its_own_record_says_so(entry, change, finished):
    record = {"status": "finished", "step": 1000, **IDENTITY, **change}
    (entry.planned.directory / "run.json").write_text(json.dumps(record))
    assert entry.is_finished() == finished


def test_a_run_is_on_the_board_once(entry):
    board = Board()
    assert board.add(entry) is entry
    assert board.add(Entry(entry.planned, Path("other.log"))) is entry
    assert board.counts() == "1 waiting"


def shown(board, height, width=100):
    console = Console(file=io.StringIO(), width=width)
    console.print(make_table(board, height))
    return console.file.getvalue()  # pyright: ignore


def test_the_table_shows_failed_runs_first_and_as_many_as_there_is_room_for(tmp_path):
    states = ["done", "waiting", "running", "failed"]
    board = Board()
    for index, state in enumerate(states):
        planned = Planned((), f"run{index}", tmp_path / str(index), 1000, IDENTITY)
        board.add(Entry(planned, tmp_path / "log", state=state, step=500, rate=10.0))
    lines = shown(board, 2).splitlines()
    assert ["run3" in lines[1], "run2" in lines[2], "and 2 more" in lines[3]] == [True] * 3
    assert lines[4].strip() == "1 waiting, 1 running, 1 done, 1 failed"
    assert "500 / 1,000" in lines[2]
    assert lines[2].endswith("0:00:50")


def test_a_narrow_table_keeps_the_state(tmp_path):
    planned = Planned((), "algo=ppo env=acrobot " * 3, tmp_path, 1000, IDENTITY)
    board = Board([Entry(planned, tmp_path / "log", state="stopped", step=500, rate=10.0)])
    assert "stopped" in shown(board, 5, width=50)


def test_a_terminal_gets_a_live_table_and_a_pipe_gets_lines(entry):
    board = Board()
    board.add(entry)
    outputs = {}
    for terminal in (True, False):
        entry.state = "waiting"
        console = Console(file=io.StringIO(), width=100, height=30, force_terminal=terminal)
        with View(board, console) as view:
            entry.state = "running"
            view.show()
            view.show()
        outputs[terminal] = console.file.getvalue()  # pyright: ignore
    assert "\x1b[" in outputs[True]
    assert outputs[False] == "running  seed=0\n"


@pytest.mark.parametrize(("seconds", "text"), [(math.nan, ""), (59.6, "0:01:00"), (7384, "2:03:04")])
def test_a_duration_is_a_clock(seconds, text):
    assert clock(seconds) == text
