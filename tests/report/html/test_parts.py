"""Names, numbers, videos and tables of the page, each by itself."""

import math

import numpy as np
import pytest
from pages import write_whole_run
from stored_runs import write_run

from pompc.report.compute import make_comparison
from pompc.report.html.cells import final_table, improvement_table
from pompc.report.html.charts import constants, environment_data, numbers
from pompc.report.html.naming import renamed
from pompc.report.html.record import facts, reached
from pompc.report.html.videos import choose, sources
from pompc.report.html.words import censored, listed
from pompc.report.reaching import reaching
from pompc.report.runs import find_runs
from pompc.report.statistics import INTERVAL, RANGE, Interval


def test_numbers_have_six_digits_and_what_is_not_finite_is_none():
    values = [1 / 3, 2.0, -1234567.8, math.nan, math.inf, 0.0]
    assert numbers(values) == [0.333333, 2, -1234570, None, None, 0]
    assert all(isinstance(number, int) for number in (numbers(values)[1], numbers(values)[2]))


def test_a_long_training_is_thinned_to_its_ends_and_a_share_between(tmp_path):
    rows = "".join(f"{step},0.5,{step * 0.1}\n" for step in range(1000))
    run = write_whole_run(tmp_path / "a", (0, 1, 2))
    (run / "metrics.csv").write_text(f"step,virtual_ratio,loss\n{rows}")
    (entry,) = make_comparison([tmp_path]).environments.values()
    (found,) = environment_data(entry)["runs"]
    steps = found["trace_x"]["step"]
    assert (len(steps), steps[0], steps[-1]) == (200, 0, 999)
    assert np.allclose(np.diff(steps), 5, atol=1)
    assert found["traces"]["loss"][-1] == 99.9
    assert constants(entry) == {"virtual_ratio": 0.5}


def test_the_middle_of_a_training_metric_is_where_all_runs_are(tmp_path):
    for seed, end in enumerate((200, 400)):
        run = write_run(tmp_path / str(seed), (0, 1, 2), seed)
        (run / "metrics.csv").write_text(f"step,loss\n100,{seed}\n{end},{seed + 2}\n")
    (entry,) = make_comparison([tmp_path]).environments.values()
    line = environment_data(entry)["middles"]["loss"]["step"]["ppo"]
    assert line["x"] == [100, 200]
    assert line["middle"] == [0.5, pytest.approx((2 + 1 + 2 / 3) / 2, abs=1e-5)]  # the longer run is linear between


def test_long_names_are_numbered_alike_on_all_environments(tmp_path):
    for env in ("a", "b"):
        for value in range(3 if env == "a" else 2):
            config = {"algo": {"name": "ppo", "a_rather_long_option": value, "and_another_one": value}, "seed": 0}
            write_run(tmp_path / env / str(value), (0, 1, value), algo="ppo", env=env, config=config)
        write_run(tmp_path / env / "m", (0, 1, 2), algo="mppi", env=env)
    comparison = make_comparison([tmp_path])
    changed, names = renamed(comparison)
    assert sorted(names) == ["ppo 1", "ppo 2", "ppo 3"]
    assert names["ppo 3"] == "ppo (a_rather_long_option=2, and_another_one=2)"
    for env, entry in changed.environments.items():
        old = comparison.environments[env]
        methods = {names.get(name, name): method for name, method in entry.methods.items()}
        assert list(methods) == list(old.methods)
        assert all(methods[name].runs is old.methods[name].runs for name in methods)
        assert all(method.row["algorithm"] == method.name == name for name, method in entry.methods.items())
        for mapping in (entry.profiles.bands, *entry.reaching.values(), *entry.differences.values()):
            assert set(mapping) <= set(entry.methods)
        assert {name for pair in entry.improvement for name in pair} == set(entry.methods)
    assert renamed(changed)[1] == {}


def test_the_films_of_the_best_and_the_worst_run_are_chosen(tmp_path):
    runs = [find_runs([write_run(tmp_path / str(seed), (0, 1, 2), seed)])[0] for seed in range(4)]
    scores = [5.0, 9.0, 1.0, 7.0]
    assert choose(runs, scores) == []
    (runs[0].path / "video.mp4").write_bytes(b"film")
    assert [video.words for video in choose(runs, scores)] == ["the run with a film, seed 0, 5"]
    for run in runs[2:]:
        (run.path / "video.mp4").write_bytes(b"film")
    assert [video.words for video in choose(runs, scores)] == ["best run, seed 3, 7", "worst run, seed 2, 1"]
    lower = [video.words for video in choose(runs, scores, sign=-1)]
    assert lower == ["best run, seed 2, 1", "worst run, seed 3, 7"]
    assert [video.words for video in choose(runs[:1], scores[:1])] == ["its run, seed 0, 5"]


def test_large_films_are_linked_from_the_page(tmp_path):
    run = find_runs([write_run(tmp_path / "runs" / "seed 0#", (0, 1, 2))])[0]
    film = run.path / "video.mp4"
    film.write_bytes(b"film")
    videos = choose([run], [1.0])
    assert sources(videos, tmp_path) == {film: "data:video/mp4;base64,ZmlsbQ=="}
    film.write_bytes(bytes(8_000_001))
    assert sources(videos, tmp_path / "out") == {film: "../runs/seed%200%23/video.mp4"}


def test_versions_and_commits_are_collected(tmp_path):
    for seed, version in enumerate(("0.1", "0.2")):
        run = write_run(tmp_path / str(seed), (0, 1, 2), seed, versions={"pompc": version, "torch": "2.13"})
        (run / "cost.json").write_text('{"commit": "abc"}')
    entries = list(make_comparison([tmp_path]).environments.values())
    assert facts(entries, 1) == [
        "2 runs",
        "1 method",
        "1 environment",
        "pompc 0.1 and 0.2",
        "torch 2.13",
        "commit abc",
    ]
    assert reached(entries[0].runs[0]) == 200


def row(name, low, high, extent=INTERVAL):
    return {"algorithm": name, "iqm": (low + high) / 2, "low": low, "high": high, "extent": extent}


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        ([row("a", 0, 1), row("b", 2, 3)], ["b"]),
        ([row("a", 0, 2), row("b", 2, 3)], []),  # they touch
        ([row("a", 0, 5), row("b", 2, 3)], []),  # the widest interval has the highest end and the lowest
        ([row("a", 0, 1), row("b", 2, 3, RANGE)], []),
        ([row("a", 0, 1)], []),
    ],
)
def test_the_best_needs_an_interval_above_all_others(rows, best):
    table = final_table(rows, {}, {"a": 0, "b": 1})
    assert [line["method"] for line in table["rows"] for cell in line["cells"] if cell["is_best"]] == best


def test_the_picture_of_the_runs_has_one_scale_for_all_methods():
    rows = [row("a", 0, 10), row("b", 20, 30)]
    scores = {"a": np.array([0.0, 10.0]), "b": np.array([20.0, 40.0])}
    first, second = (line["mark"] for line in final_table(rows, scores, {"a": 0, "b": 1})["rows"])
    assert (first["points"], second["points"]) == ([5, 40], [75, 145])
    assert (first["low"], first["high"], second["middle"]) == (5, 40, 92.5 + 17.5 - 17.5)


def test_a_probability_supports_a_side_only_if_its_interval_leaves_out_a_half():
    pairs = {("a", "b"): Interval(value=0.8, low=0.6, high=0.9), ("b", "a"): Interval(value=0.2, low=0.1, high=0.5)}
    first, second = improvement_table(pairs, {"a": 0, "b": 1})["rows"]
    assert first["cells"][0] is None
    assert (first["cells"][1]["is_supported"], second["cells"][0]["is_supported"]) == (True, False)
    assert (first["cells"][1]["side"], second["cells"][0]["side"]) == ("above", "below")
    unknown = dict.fromkeys(pairs, Interval(value=math.nan, low=math.nan, high=math.nan))
    cell = improvement_table(unknown, {"a": 0, "b": 1})["rows"][0]["cells"][1]
    assert (cell["value"], cell["ends"], cell["strength"], cell["is_supported"]) == ("-", "", 0, False)
    assert improvement_table({}, {}) is None


def test_how_soon_is_said_in_words():
    steps = [np.array([0.0, 100.0])] * 3
    curves = [np.array([0.0, end]) for end in (10.0, 4.0, 10.0)]
    assert censored(reaching(steps, curves, 8.0), "steps") == (
        "1 of 3 runs had not reached it by 100 steps; the median counts them as later than all others"
    )
    assert censored(reaching(steps, curves, 20.0), "steps") == "no run had reached it by 100 steps"
    assert censored(reaching(steps, curves, 3.0), "steps") == "all runs reach it"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(["a"]) == "a"
