"""A comparison holds what was asked, for every environment and over all."""

import numpy as np
import pytest
from support.stored_runs import write_run

from pompc.errors import UserError
from pompc.report.comparison import CompareOptions
from pompc.report.compute import make_comparison
from pompc.report.html.cells import final_table
from pompc.report.scores import Bounds
from pompc.report.statistics import probability_of_improvement


@pytest.fixture
def folder(tmp_path):
    """Five runs of ppo that end at 50 to 90, and two of mppi that stay at 60."""
    for seed in range(5):
        write_run(tmp_path / f"ppo{seed}", (0, 25 + 5 * seed, 50 + 10 * seed), seed)
    for seed in range(2):
        write_run(tmp_path / f"mppi{seed}", (60, 60, 60), seed, algo="mppi")
    return tmp_path


def test_one_environment_has_all_statistics_of_its_methods(folder):
    comparison = make_comparison([folder])
    assert comparison.overall is None
    (entry,) = comparison.environments.values()
    ppo, mppi = entry.methods["ppo"], entry.methods["mppi"]
    np.testing.assert_array_equal(ppo.scores, [50, 60, 70, 80, 90])
    np.testing.assert_array_equal(mppi.columns["success"], [0.6, 0.6])
    assert entry.improvement["ppo", "mppi"].value == pytest.approx(0.7)  # three wins and a tie, of five
    assert entry.improvement["mppi", "ppo"].value == pytest.approx(0.3)
    assert entry.threshold == pytest.approx(0.95 * 70)
    reaching = entry.reaching["step"]
    assert (reaching["ppo"].reached, reaching["mppi"].reached, reaching["mppi"].censored_at) == (3, 0, 200)
    assert not entry.reaching["seconds"]  # nothing is known of the time
    np.testing.assert_array_equal(entry.profiles.thresholds[[0, -1]], [50, 90])
    assert entry.profiles.bands["ppo"].middle[0] == 0.8
    assert entry.metrics == ["reward", "success", "policy_gap"]
    assert not entry.notes


def test_intervals_of_the_reverse_pair_are_its_complement(tmp_path):
    a, b = [3.0, 5.0, 5.0, 8.0, 9.0], [2.0, 4.0, 5.0, 6.0, 7.0]
    for seed in range(5):
        write_run(tmp_path / f"a{seed}", (0, 0, a[seed]), seed, algo="a")
        write_run(tmp_path / f"b{seed}", (0, 0, b[seed]), seed, algo="b")
    (entry,) = make_comparison([tmp_path]).environments.values()
    there, back = entry.improvement["a", "b"], entry.improvement["b", "a"]
    expected = probability_of_improvement(np.array(b), np.array(a))
    assert (back.value, back.low, back.high) == pytest.approx((1 - there.value, 1 - there.high, 1 - there.low))
    assert back.value == pytest.approx(expected.value)
    assert (back.low, back.high) == pytest.approx((expected.low, expected.high), abs=0.06)  # other draws


def test_any_column_of_the_evaluation_may_score_a_run(folder):
    (entry,) = make_comparison([folder], CompareOptions(metric="success", threshold=0.65)).environments.values()
    assert entry.methods["ppo"].row["success"] == pytest.approx(0.7)
    assert entry.methods["ppo"].row["return"] == pytest.approx(70)
    assert entry.reaching["step"]["ppo"].reached == 3
    gap = make_comparison([folder], CompareOptions(metric="policy_gap")).environments["acrobot"]  # no episode has it
    np.testing.assert_array_equal(gap.methods["mppi"].scores, [0.5, 0.5])
    with pytest.raises(
        UserError, match="has no speed in its last evaluation: --metric is one of reward, success, policy"
    ):
        make_comparison([folder], CompareOptions(metric="speed"))


def test_a_lower_cost_is_better_everywhere(tmp_path):
    for seed in range(5):
        write_run(tmp_path / f"good{seed}", (9, 4, 1), seed, algo="good")
        write_run(tmp_path / f"bad{seed}", (9, 8, 7 + seed), seed, algo="bad")
    for file in tmp_path.glob("*/eval*.csv"):
        file.write_text(file.read_text().replace("reward", "cost").replace("success", "reward"))
    (entry,) = make_comparison([tmp_path], CompareOptions(metric="cost", share=0.5)).environments.values()
    assert entry.improvement["good", "bad"].value == 1
    assert entry.threshold == 1.5  # half more than the best mean
    good, bad = (entry.reaching["step"][name] for name in ("good", "bad"))
    assert (good.reached, good.threshold, bad.reached) == (5, 1.5, 0)
    assert good.median == pytest.approx(100 + 100 * 2.5 / 3)
    assert not entry.notes
    table = final_table([method.row for method in entry.methods.values()], {}, {"good": 0, "bad": 1}, "cost")
    assert [row["method"] for row in table["rows"] if any(cell["is_best"] for cell in row["cells"])] == ["good"]
    assert "below all others" in table["note"]


def test_a_metric_without_a_better_direction_says_that_higher_counts(folder):
    (entry,) = make_comparison([folder], CompareOptions(metric="policy_gap")).environments.values()
    assert entry.notes == ["a higher policy_gap counts as better: nothing says which is"]


def test_gains_are_over_the_method_that_a_part_of_a_name_fits(folder):
    (entry,) = make_comparison([folder], CompareOptions(baseline="mp")).environments.values()
    assert (entry.baseline, list(entry.gains)) == ("mppi", ["ppo"])
    assert entry.gains["ppo"].points.value == pytest.approx(10)
    assert entry.gains["ppo"].relative.value == pytest.approx(1 / 6)
    with pytest.raises(UserError, match="--baseline p fits several methods on acrobot: mppi; ppo"):
        make_comparison([folder], CompareOptions(baseline="p"))
    with pytest.raises(UserError, match="--baseline sac fits no method: there are mppi; ppo"):
        make_comparison([folder], CompareOptions(baseline="sac"))


def test_curves_of_any_quantity_and_the_dials_are_at_hand(tmp_path):
    metrics = "step,loss,virtual_ratio,uncertainty\n100,1,0.3,\n200,1,0.2,0.5\n"
    write_run(tmp_path / "a", (0, 1, 2), metrics=metrics)
    write_run(tmp_path / "b", (0, 1, 2), algo="mppi")
    (entry,) = make_comparison([tmp_path]).environments.values()
    np.testing.assert_array_equal(entry.curves()["ppo"].band.middle, [0, 1, 2])
    np.testing.assert_array_equal(entry.curves("success")["mppi"].band.middle, [0, 0.01, 0.02])
    assert entry.curves(axis="seconds") == {}
    traces = entry.traces()
    assert {column: list(methods) for column, methods in traces.items()} == {
        "virtual_ratio": ["ppo"],
        "uncertainty": ["ppo"],
    }
    np.testing.assert_array_equal(traces["virtual_ratio"]["ppo"][0].values, [0.3, 0.2])
    np.testing.assert_array_equal(traces["uncertainty"]["ppo"][0].places, [200])


def test_several_environments_share_normalised_scores(tmp_path):
    for seed in range(5):
        for env, scale in (("a", 1.0), ("b", 10.0)):
            write_run(tmp_path / f"{env}ppo{seed}", (0, 0, scale * (5 + seed)), seed, env=env)
            write_run(tmp_path / f"{env}mppi{seed}", (0, 0, scale * (3 + seed)), seed, algo="mppi", env=env)
    bounds = [Bounds.parse("a=0:10"), Bounds.parse("b=0:100")]
    overall = make_comparison([tmp_path], CompareOptions(bounds=bounds)).overall
    assert [row["iqm"] for row in overall.rows] == pytest.approx([0.5, 0.7])  # mppi, ppo
    one = probability_of_improvement(np.arange(5.0) + 5, np.arange(5.0) + 3)
    assert overall.improvement["ppo", "mppi"].value == pytest.approx(one.value)
    width = overall.improvement["ppo", "mppi"].high - overall.improvement["ppo", "mppi"].low
    assert 0 < width < one.high - one.low  # two tasks say more than one
    np.testing.assert_array_equal(overall.profiles.bands["ppo"].runs, 10)
    without = make_comparison([tmp_path]).overall
    assert (without.rows, without.profiles) == ((), None)
    assert without.note.endswith("is missing for a, b")


def test_what_makes_methods_hard_to_compare_is_noted(tmp_path):
    write_run(tmp_path / "a", (0, 1, 2), config={"env": {"mass": 1.0}, "eval": {"seed": 5}})
    write_run(
        tmp_path / "b", (0, 1, 2), algo="mppi", config={"env": {"mass": 2.0}, "eval": {"seed": 6}}, status="running"
    )
    late = write_run(tmp_path / "c", (0, 1, 2), seed=1)
    (late / "eval.csv").write_text("step,reward,seed\n")
    comparison = make_comparison([tmp_path])
    (entry,) = comparison.environments.values()
    assert entry.differences == {"env.mass": {"ppo": "1.0", "mppi": "2.0"}, "eval.seed": {"ppo": "5", "mppi": "6"}}
    assert [note.split(":")[0] for note in entry.notes] == [
        "options of the environment differ (--split KEY compares apart)",
        "the evaluation episodes differ",
        "not finished, so their last evaluation is no final one",
    ]
    assert entry.methods["mppi"].running[0].path == tmp_path / "b"
    assert comparison.waiting == [late]
    split = make_comparison([tmp_path], CompareOptions(split=["env.mass"]))
    assert list(split.environments) == ["acrobot (mass=1.0)", "acrobot (mass=2.0)"]


def test_bounds_move_the_threshold_of_their_environment(folder):
    (entry,) = make_comparison([folder], CompareOptions(bounds=[Bounds.parse("-100:100")])).environments.values()
    assert entry.threshold == pytest.approx(70 - 0.05 * 170)
