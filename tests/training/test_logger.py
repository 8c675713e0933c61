"""Files that can be cut back to a checkpoint, progress for people who watch and for those who do not, and the curve."""

import csv
import io
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from small import complete
from toy import toy_config

from pompc.errors import UserError
from pompc.report.curves import plot_learning_curve
from pompc.training import logger, progress
from pompc.training.checkpoint import WriteError
from pompc.training.evaluate import EvalResult
from pompc.training.logger import CSVLog
from pompc.training.loop import Record
from pompc.training.progress import RunProgress

NAN = float("nan")


def log(path: Path) -> CSVLog:
    return CSVLog(path / "sub" / "log.csv")


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_numbers_come_back_with_all_their_digits(tmp_path):
    written = log(tmp_path)
    values = [0.1 + 0.2, 1e-300, -0.0, NAN, float("inf"), 1 / 3]
    for step, value in enumerate(values):
        written.write({"step": step, "value": value, "text": 'a "b", c'})
    assert [repr(float(row["value"])) for row in rows(written.path)] == [repr(value) for value in values]
    assert {row["text"] for row in rows(written.path)} == {'a "b", c'}


def test_rows_after_a_position_are_cut_away_and_the_header_stays(tmp_path):
    first = log(tmp_path)
    assert first.position() == 0
    first.write({"step": 1, "x": 0.5})
    position, kept = first.position(), first.path.read_bytes()
    assert position == 1
    first.write({"step": 2, "x": 0.25})
    with open(first.path, "ab") as file:
        file.write(b"3,0.1")  # half a row, as a kill leaves it
    first.close()

    second = log(tmp_path)
    second.truncate(position)
    assert second.path.read_bytes() == kept
    second.write({"step": 2, "x": 0.75})
    second.close()
    assert second.path.read_bytes() == kept + b"2,0.75\n"
    second.truncate(0)
    assert second.path.read_bytes() == b""
    second.write({"other": 1})  # a new header
    assert second.path.read_bytes() == b"other\n1\n"


def test_the_last_step_is_that_of_the_last_whole_row(tmp_path):
    written = log(tmp_path)
    assert written.last_step() == -1
    written.write({"reward": 0.5, "step": 16})
    written.write({"reward": 0.5, "step": 32, "name": "a"})
    with open(written.path, "ab") as file:
        file.write(b"0.5,48")  # half a row, as a kill leaves it
    assert written.last_step() == 32
    written.truncate(0)
    assert written.last_step() == -1


def test_a_file_shorter_than_its_checkpoint_is_refused(tmp_path):
    shortened = log(tmp_path)
    shortened.write({"step": 1})
    with pytest.raises(UserError, match=r"log.csv has 1 rows, the checkpoint knows 99: restore it, or give"):
        shortened.truncate(99)
    assert shortened.path.read_bytes() == b"step\n1\n"


@pytest.mark.parametrize("reopened", [False, True])
def test_a_quantity_that_comes_later_is_a_new_column_and_one_that_is_missing_an_empty_cell(reopened, tmp_path):
    written = log(tmp_path)
    written.write({"step": 1, "x": 0.5})
    if reopened:
        written.close()
        written = log(tmp_path)
    written.write({"step": 2, "y": 1.0})
    written.write({"y": 2.0, "step": 3, "x": 0.25})
    assert written.position() == 3
    assert written.path.read_bytes() == b"step,x,y\n1,0.5,\n2,,1.0\n3,0.25,2.0\n"


def test_a_full_disk_at_a_new_column_leaves_the_file_and_its_rows(monkeypatch, tmp_path):
    written = log(tmp_path)
    written.write({"step": 1, "x": 0.5})
    before = written.path.read_bytes()

    def full(path, content):
        raise WriteError(path, OSError(28, "No space left on device"))

    with monkeypatch.context() as disk:
        disk.setattr(logger, "write_atomic", full)
        with pytest.raises(WriteError):
            written.write({"step": 2, "y": 1.0})
    assert (written.position(), written.path.read_bytes()) == (1, before)
    written.write({"step": 2, "y": 1.0})
    assert written.path.read_bytes() == b"step,x,y\n1,0.5,\n2,,1.0\n"


def test_a_file_cut_back_to_before_a_new_column_becomes_the_same_again(tmp_path):
    first = log(tmp_path)
    first.write({"step": 1, "x": 0.5})
    position = first.position()
    for _ in range(2):
        first.write({"step": 2, "x": 1.0, "y": 2.0})
        whole = first.path.read_bytes()
        first.truncate(position)
    first.write({"step": 2, "x": 1.0, "y": 2.0})
    assert first.path.read_bytes() == whole == b"step,x,y\n1,0.5,\n2,1.0,2.0\n"


def test_the_files_of_a_run(tmp_path):
    run = complete(toy_config(tmp_path), curve=True)
    heads = {name: (run / f"{name}.csv").read_text().splitlines()[0] for name in ("metrics", "eval", "timing")}
    assert heads["eval"].startswith("step,reward,seed,success,cost,length")
    assert heads["timing"] == "step,wall_s,env_steps_per_s,model_steps"
    assert "wall" not in heads["metrics"]  # time would make two equal runs differ
    assert "steps_per_s" not in heads["metrics"]
    steps = {name: [int(row["step"]) for row in rows(run / f"{name}.csv")] for name in ("metrics", "timing", "eval")}
    assert steps["metrics"] == steps["timing"] == list(range(16, 321, 16))
    assert steps["eval"] == [0, 96, 192, 288, 320]
    episodes = rows(run / "eval_episodes.csv")
    assert [(int(row["step"]), int(row["episode"])) for row in episodes] == [
        (s, e) for s in steps["eval"] for e in range(3)
    ]
    mean = sum(float(row["reward"]) for row in episodes[:3]) / 3
    assert float(rows(run / "eval.csv")[0]["reward"]) == pytest.approx(mean, abs=1e-12)
    wall = [float(row["wall_s"]) for row in rows(run / "timing.csv")]
    assert wall == sorted(wall)
    with Image.open(run / "curve.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == (960, 600)


def test_a_curve_with_one_row_and_one_without_any(tmp_path):
    (tmp_path / "a.csv").write_text("step,reward,seed\n0,1.5,0\n")
    (tmp_path / "b.csv").write_text("step,reward,seed\n")
    for name in ("a", "b"):
        with Image.open(plot_learning_curve([tmp_path / f"{name}.csv"], tmp_path / f"{name}.png")) as picture:
            assert picture.format == "PNG"


def evaluation(*returns: float) -> EvalResult:
    return EvalResult([{"reward": value, "success": NAN, "length": 11.0} for value in returns])


def test_without_a_terminal_there_are_few_lines(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    console = Console(file=out, width=200)
    with RunProgress(1000, 0, console) as shown:
        for step in range(0, 1001, 10):
            shown.update(Record(step, {"return": -3.5 if step > 500 else NAN}, evaluation(1, 2) if not step else None))
            now[0] += 0.25
    lines = out.getvalue().splitlines()
    assert lines[0] == "        0 / 1,000  evaluation: return 1.5 ± 0.707  length 11"
    assert len(lines) == 3  # and one every ten seconds
    assert lines[1].startswith("      410 / 1,000  ")
    assert lines[2] == "      820 / 1,000  return -3.5  40 steps/s"
    assert "\x1b" not in out.getvalue()


def test_a_slow_run_is_not_shown_as_standing_still(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    with RunProgress(1000, 0, Console(file=out, width=200)) as shown:
        now[0] += 500
        shown.update(Record(200, {"return": 1.0}))
    assert out.getvalue().splitlines()[-1].endswith("  0.4 steps/s")


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_there_is_a_bar_with_what_matters(width, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    with RunProgress(300_000, 0, console) as shown:
        now[0] += 60
        shown.update(Record(0, evaluation=evaluation(1, 2)))  # this minute does not count
        now[0] += 40
        shown.update(Record(8_000, {"return": -123.45, "success": 0.5125}))
        shown.update(Record(16_000, {"return": NAN, "success": NAN}))
        now[0] += 10  # time goes on between two batches
    line = out.getvalue().splitlines()[-2]  # then the cursor comes back
    assert "━" in line or "╸" in line
    for text in ("16,000 / 300,000", "400 steps/s", "return -123  success 0.512", "0:11:40"):
        assert text in line
