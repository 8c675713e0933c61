"""The statistics of a comparison against small tables worked by hand."""

import numpy as np
import pytest

from pompc.errors import UserError
from pompc.report.runs import Run
from pompc.report.scores import Bounds, bounds_of, over_all, run_scores, summary
from pompc.report.statistics import RANGE


def write_episodes(path, returns):
    """A run's episodes: an early evaluation, which does not count, and a last one."""
    path.mkdir()
    rows = [f"50,-999,{episode}" for episode in range(len(returns))]
    rows += [f"100,{value},{episode}" for episode, value in enumerate(returns)]
    (path / "eval_episodes.csv").write_text("\n".join(["step,reward,episode", *rows, ""]))
    return Run(path=path, algo="ppo", env="acrobot", seed=0)


def test_a_run_has_one_score_its_mean_over_the_last_evaluation(tmp_path):
    """Two runs fail in every second episode, so pooled episodes have a middle half that no run has as its mean."""
    runs = [write_episodes(tmp_path / "a", [0, 0, 600, 600]), write_episodes(tmp_path / "b", [0, 590, 600, 610])]
    scores = run_scores(runs)
    np.testing.assert_array_equal(scores["reward"], [300, 450])
    row = summary("ppo", scores)
    assert (row["runs"], row["return"], row["iqm"], row["step"]) == (2, 375, 375, 100)
    assert row["std"] == pytest.approx(150 / np.sqrt(2))
    assert row["points"] == "300.0 450.0"


def test_several_environments_have_one_normalised_score():
    """On a: 0.1 and 0.3; on b, whose returns go from -100 to 100: 0.5 and 0.9. Mean 0.45, of the middle two 0.4."""
    scores = {"a": {"ppo": np.array([100.0, 300.0])}, "b": {"ppo": np.array([0.0, 80.0]), "mppi": np.array([1.0])}}
    rows, note = over_all(scores, [Bounds.parse("0:1000"), Bounds.parse("b=-100:100")])
    (row,) = rows
    assert (row["algorithm"], row["runs"], row["extent"]) == ("ppo", 4, RANGE)
    assert [row[key] for key in ("return", "iqm", "low", "high")] == pytest.approx([0.45, 0.4, 0.1, 0.9])
    assert note == "not on every environment, so not in the score over all: mppi"


def test_an_environment_without_bounds_is_named():
    scores = {"dmc-a": {"ppo": np.array([1.0])}, "b": {"ppo": np.array([1.0])}}
    assert over_all(scores, [Bounds.parse("dmc-*=0:1000")]) == (
        [],
        "no score over all environments: --bounds ENV=LOW:HIGH is missing for b",
    )


def test_the_last_bounds_that_fit_hold():
    bounds = [Bounds.parse(text) for text in ("0:1", "dmc-*=0:1000", "dmc-cup-catch=0:500")]
    found = [bounds_of(env, bounds) for env in ("acrobot", "dmc-walker-walk", "dmc-cup-catch")]
    assert [entry.high for entry in found if entry] == [1, 1000, 500]
    assert bounds_of("acrobot", bounds[1:]) is None


@pytest.mark.parametrize("text", ["", "5", "a=5", "a=x:1", "1:1", "a=2:1", "0:inf", "nan:1"])
def test_bounds_of_another_form_are_refused(text):
    with pytest.raises(UserError, match=rf"^--bounds {text}: "):
        Bounds.parse(text)
