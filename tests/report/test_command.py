"""The command line of ``pompc compare``."""

import csv
import subprocess
import sys

import pytest
from support.stored_runs import write_run

from pompc.cli import main
from pompc.report import command, curves, runs


@pytest.fixture
def folder(tmp_path):
    for algo, end in (("ppo", 50), ("mppi", 60)):
        path = write_run(tmp_path / "runs" / algo, (0, 10, end), algo=algo)
        (path / "timing.csv").write_text("step,wall_s,model_steps\n200,20,4000\n")
    return tmp_path


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_choices_are_those_that_the_code_knows():
    assert (tuple(runs.AXES), tuple(curves.SCALES)) == (command.AXES, command.SCALES)


def test_pictures_and_tables_lie_side_by_side(folder, capsys):
    out = folder / "out" / "curves.svg"
    words = [str(folder / "runs"), "--out", str(out), "--axis", "seconds", "--baseline", "ppo", "--threshold", "0.5"]
    assert main(["compare", *words]) == 0
    assert sorted(file.name for file in out.parent.iterdir()) == [
        "curves-pairs.csv",
        "curves.csv",
        "curves.html",
        "curves.png",
        "curves.svg",
    ]
    assert b"<svg" in out.read_bytes()
    assert (out.with_suffix(".png")).read_bytes().startswith(b"\x89PNG")
    mppi, ppo = read(out.with_suffix(".csv"))
    assert [float(ppo[key]) for key in ("threshold", "reached", "to_threshold_step", "to_threshold_seconds")] == [
        30,
        1,
        150,
        15,
    ]
    assert float(mppi["to_threshold_model_steps"]) == pytest.approx(4000 * 140 / 200)
    pairs = {(row["a"], row["b"]): row for row in read(out.parent / "curves-pairs.csv")}
    assert float(pairs["mppi", "ppo"]["probability"]) == 1
    assert float(pairs["mppi", "ppo"]["relative_gain"]) == pytest.approx(0.2)
    assert pairs["ppo", "mppi"]["gain"] == ""
    assert "curves.png, " in " ".join(capsys.readouterr().out.split())


def test_a_single_method_has_no_table_of_pairs(folder):
    assert main(["compare", str(folder / "runs" / "ppo"), "--out", str(folder / "one.csv")]) == 0
    assert (folder / "one.png").exists()
    assert not (folder / "one-pairs.csv").exists()


def test_a_fixed_score_may_be_the_threshold(folder):
    assert main(["compare", str(folder / "runs"), "--out", str(folder / "a.png"), "--threshold-value", "55"]) == 0
    mppi, ppo = read(folder / "a.csv")
    assert (float(mppi["reached"]), float(ppo["reached"]), ppo["to_threshold_step"]) == (1, 0, "inf")
    assert float(ppo["censored_step"]) == 200


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "a.jpg"], "names a .png file (and an .html, an .svg and a .csv beside it), not a.jpg"),
        (["--threshold", "1.5"], "'1.5' is not a number above 0 and at most 1"),
        (["--threshold", "x"], "'x' is not a number above 0 and at most 1"),
        (["--axis", "hours"], "invalid choice: 'hours'"),
        (["--baseline", "sac"], "--baseline sac fits no method: there are mppi; ppo"),
        (["--metric", "speed"], "has no speed in its last evaluation: --metric is one of reward, success"),
        (["--split", "env.mas"], "--split env.mas: no run has this option in its config.yaml"),
    ],
)
def test_wrong_arguments_are_one_line(folder, words, message, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["compare", str(folder / "runs"), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (folder / "compare.png").exists()


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom pompc.cli import main\n"
        "try:\n    main(['compare', '--help'])\n"
        "except SystemExit:\n    print([m for m in ('torch', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--threshold-value" in done.stdout
