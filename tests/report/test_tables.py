"""What the terminal says of a comparison."""

import io

import numpy as np
import pytest
from rich.console import Console
from support.stored_runs import write_run

from pompc.report.comparison import CompareOptions
from pompc.report.compute import make_comparison
from pompc.report.reaching import reaching
from pompc.report.tables import show, until


def printed(paths, **options):
    console = Console(width=200, record=True, file=io.StringIO())
    show(console, make_comparison(paths, CompareOptions(**options)))
    return console.export_text()


def cells(text, first):
    """The cells of the line that begins with a name, in the last table that has it."""
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
    return [line[1:] for line in lines if line[0] == first]


def test_a_few_methods_stand_side_by_side_with_their_probabilities(tmp_path):
    for seed in range(5):
        write_run(tmp_path / f"a{seed}", (0, 0, 10 + seed), seed, algo="ppo")
        write_run(tmp_path / f"b{seed}", (0, 0, 12 + seed), seed, algo="mppi")
    text = printed([tmp_path], baseline="ppo")
    assert cells(text, "return") == [["12", "14"]]
    probabilities, gains, until_then = cells(text, "mppi")
    assert probabilities[1] == ""
    assert probabilities[0].startswith("0.82 [")  # 19 wins and 3 ties of 25
    assert gains[0].startswith("2 [")
    assert gains[1].startswith("16.67 % [")
    assert until_then[0] == "3 of 5"
    assert "gain in reward over ppo, on acrobot" in text


def test_many_methods_stand_in_lines_and_their_pairs_in_the_file(tmp_path):
    for place in range(7):
        write_run(
            tmp_path / f"{place}", (0, 0, place), algo="ppo", config={"algo": {"a_long_name_of_an_option": place}}
        )
    text = printed([tmp_path])
    assert "ppo 3 is ppo (a_long_name_of_an_option=2)" in text
    final, until_then = cells(text, "ppo 3")
    assert final[:2] == ["1", "2"]
    assert until_then == ["0 of 1", "> 200"]
    assert "42 pairs of methods, in the CSV of pairs" in text


def test_short_names_are_left_alone(tmp_path):
    for place in range(2):
        write_run(tmp_path / f"{place}", (0, 0, place), config={"kl_weight": place})
    assert " is ppo" not in printed([tmp_path])


def test_runs_that_wait_or_go_on_are_named(tmp_path):
    write_run(tmp_path / "goes on", (0, 1, 2), status="running")
    waits = write_run(tmp_path / "waits", (0, 1, 2), seed=1)
    (waits / "eval_episodes.csv").unlink()
    text = printed([tmp_path])
    assert f"not finished, so their last evaluation is no final one: {tmp_path / 'goes on'}" in text
    assert f"without an evaluation yet, so left out: {waits}" in text


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([(0, 100), (0, 50), (0, 100)], "500 [500, 1k]"),
        ([(0, 100), (0, 10), (0, 100)], "500 [500, > 1k]"),
        ([(0, 10), (0, 10), (0, 100)], "> 1k [500, > 1k]"),
        ([(0, 10), (0, 10)], "> 1k"),
        ([(60, 100), (60, 100)], "0"),
    ],
)
def test_a_median_says_what_lies_beyond_the_runs(ends, expected):
    curves = [np.array(end, dtype=float) for end in ends]
    assert until(reaching([np.array([0.0, 1000.0])] * len(curves), curves, threshold=50.0)) == expected


def test_a_median_says_what_may_lie_before_the_first_evaluation():
    found = reaching([np.array([25_000.0, 1e6])] * 2, [np.array([60.0, 70.0])] * 2, threshold=50.0)
    assert until(found) == "<= 25k"
