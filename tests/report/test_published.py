"""Published curves: two forms of the file, the spelling of tasks, the place of a curve, faults of a file."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from pompc.errors import UserError
from pompc.report.curves import Panel, plot_panels
from pompc.report.learning_curves import read_curve
from pompc.report.published import Band, matching, read_published, task_key

HEAD = "method,task,env_steps,seed,return\n"
OURS = Path(__file__).parents[2] / "results" / "dmc" / "published.csv"


def band(steps=(0, 100, 200), mean=(0.0, 5.0, 8.0), low=(0.0, 4.0, 6.0), high=(0.0, 7.0, 9.0)):
    arrays = {"steps": steps, "mean": mean, "low": low, "high": high}
    return Band(method="a@b", extent="all", **{name: np.array(values, dtype=float) for name, values in arrays.items()})


@pytest.mark.parametrize(
    ("names", "key"),
    [
        (("ball_in_cup-catch", "ball-in-cup-catch", "cup-catch"), "cup-catch"),
        (("point_mass-easy", "pointmass-easy"), "pointmass-easy"),
        (("finger-turn_easy", "finger-turn-easy"), "finger-turn-easy"),
        (("humanoid_CMU-run",), "humanoid-cmu-run"),
    ],
)
def test_a_task_has_one_key(names, key):
    assert {task_key(name) for name in names} == {key}


def test_seeds_give_a_range_and_intervals_give_themselves(tmp_path):
    path = tmp_path / "published.csv"
    # Seed 2 has no last value, and the rows are unordered.
    path.write_text(
        HEAD
        + "a,point_mass-easy,200,1,7\na,point_mass-easy,100,1,1\na,point_mass-easy,100,2,4\na,point_mass-easy,100,3,7\n"
        "b@lab,pointmass-easy,100,ci_hi,9\nb@lab,pointmass-easy,100,mean,5\nb@lab,pointmass-easy,100,ci_lo,2\n"
    )
    a, b = read_published(path)["pointmass-easy"]
    np.testing.assert_array_equal([a.steps, a.mean, a.low, a.high], [[100, 200], [4, 7], [1, 7], [7, 7]])
    np.testing.assert_array_equal([b.mean, b.low, b.high], [[5], [2], [9]])
    assert (a.label, b.label) == ("a (TD-MPC2 repository: mean, range of seeds)", "b (lab: mean, interval)")


@pytest.mark.parametrize(
    ("ends", "values", "expected"),
    [
        ((0, 100), (0, 4.0), (100, 4.0, "inside")),
        ((0, 100), (0, 3.9), (100, 3.9, "below")),
        ((0, 250), (0, 12.5), (200, 10.0, "above")),
        ((150, 199), (5, 5), None),
        ((0, 99), (0, 5), None),
    ],
)
def test_the_place_is_at_the_last_shared_step(ends, values, expected):
    row = band().place(np.array(ends, dtype=float), np.array(values, dtype=float))
    if expected is None:
        assert row["place"] == "not reached"
        assert np.isnan(row["ours"])
    else:
        assert (row["published_step"], row["ours"], row["place"]) == pytest.approx(expected)


def test_a_band_ends_at_the_limit_or_at_its_own_end():
    cut = band().until(150)
    np.testing.assert_allclose(
        [cut.steps, cut.mean, cut.low, cut.high], [[0, 100, 150], [0, 5, 6.5], [0, 4, 5], [0, 7, 8]]
    )
    for limit in (200, 300):
        np.testing.assert_array_equal(band().until(limit).steps, [0, 100, 200])


def test_published_curves_alone_reach_to_their_end(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: figures.append(figure))
    plot_panels([Panel(title="t", curves={}, bands=[band()])], tmp_path / "out.png")
    assert figures[0].axes[0].dataLim.intervalx == pytest.approx((0, 200))


@pytest.mark.parametrize(("reach", "shown"), [(40, 100), (150, 150), (900, 900)])
def test_the_axis_goes_as_far_as_our_runs_and_to_the_first_published_point(tmp_path, monkeypatch, reach, shown):
    (tmp_path / "eval.csv").write_text(f"step,reward,seed\n0,1,0\n{reach},2,0\n")
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: figures.append(figure))
    curve = read_curve([tmp_path / "eval.csv"])
    plot_panels([Panel(title="t", curves={"ours": curve}, bands=[band()])], tmp_path / "out.png")
    (axes,) = figures[0].axes
    assert axes.dataLim.intervalx == pytest.approx((0, shown))
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["ours", "a (b: all)"]


def test_a_label_has_one_colour_in_all_panels_and_one_entry_in_the_legend(tmp_path, monkeypatch):
    (tmp_path / "eval.csv").write_text("step,reward,seed\n0,1,0\n100,2,0\n")
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: figures.append(figure))
    curve = read_curve([tmp_path / "eval.csv"])
    panels = [
        Panel(title="1", curves={"x": curve}, bands=[band()]),
        Panel(title="2", curves={"y": curve, "x": curve}),
        Panel(title="3", curves={"y": curve}, bands=[band()]),
        Panel(title="4", curves={"x": curve}),
        Panel(title="5", curves={"x": curve}),
    ]
    plot_panels(panels, tmp_path / "out.png")
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["x", "y", "a (b: all)"]
    drawn = {(line.get_label(), line.get_color()) for axes in figures[0].axes for line in axes.lines}
    assert len(drawn) == len({colour for _, colour in drawn}) == 3
    assert [bool(axes.get_xlabel()) for axes in figures[0].axes] == [False] * 2 + [True] * 3 + [False]
    assert [axes.axison for axes in figures[0].axes] == [True] * 5 + [False]


def test_a_file_without_our_tasks_names_near_ones_or_all():
    bands = {name: [band()] for name in ("walker-walk", "walker-run", "fish-swim")}
    path = Path("file.csv")
    assert set(matching(["walker-walk", "acrobot-swingup"], bands, path)) == {"walker-walk"}
    with pytest.raises(UserError, match=r"^file.csv has no curve for walker-wlk: it has walker-walk, walker-run$"):
        matching(["walker-wlk"], bands, path)
    with pytest.raises(UserError, match=r"it has fish-swim, walker-run, walker-walk$"):
        matching(["xyz-q"], bands, path)
    with pytest.raises(UserError, match="no run learns a single task"):
        matching([], bands, path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method,task,seed,return\n", "lacks the column env_steps"),
        ("", "lacks the column method"),
        (HEAD + "a,t,0,1,2\na,t,x,1,2\n", "line 3: env_steps is no finite number but 'x'"),
        (HEAD + "a,t,0,1,nan\n", "line 2: return is no finite number but 'nan'"),
        (HEAD + "a,t,0,1\n", "line 2: return is no finite number but None"),
        (HEAD + "a,t,0,1,2\na,t,0,1,3\n", "line 3: a on t has seed 1 twice at 0"),
        (HEAD + "a,t,0,mean,2\na,t,0,ci_lo,2\n", "the seeds of a on t are ci_lo, mean, but they must be"),
        (HEAD + "a,t,0,mean,2\na,t,0,1,2\n", "the seeds of a on t are 1, mean, but they must be"),
    ],
)
def test_faults_of_a_file_are_named(tmp_path, text, message):
    path = tmp_path / "published.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_published(path)


def test_a_missing_or_binary_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*: No such file"):
        read_published(tmp_path / "nowhere.csv")
    (tmp_path / "published.csv.gz").write_bytes(b"\x1f\x8b\x08\xff")
    with pytest.raises(UserError, match="is no CSV text"):
        read_published(tmp_path / "published.csv.gz")


def test_our_file_has_tdmpc2_everywhere_and_every_source_once_per_task():
    tasks = read_published(OURS)
    for task, bands in tasks.items():
        methods = [band.method for band in bands]
        assert "tdmpc2" in methods
        # The long series of a source repeats its short one, so a task has one of the two.
        assert len({method.rstrip("0123456789M") for method in methods}) == len(methods)
        hard = task.startswith(("dog", "humanoid"))
        assert {band.steps[-1] for band in bands} == {4_000_000 if hard else 1_000_000}
        for curve in bands:
            assert curve.steps[0] == 0
            assert np.all(np.diff(curve.steps) == 100_000)
            assert np.all((curve.low <= curve.mean) & (curve.mean <= curve.high) & (curve.mean <= 1000))
