"""Compare runs: statistics, tables, panels, the place among published curves, refusals."""

import csv
import json
import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from pompc.cli import main
from pompc.errors import UserError
from pompc.report import curves
from pompc.report.compare import compare
from pompc.report.comparison import CompareOptions
from pompc.report.learning_curves import read_curve
from pompc.report.placing import suite_task
from pompc.report.runs import find_runs


def write_run(path, algo, seed, returns, env="acrobot"):
    path.mkdir(parents=True)
    (path / "run.json").write_text(json.dumps({"algo": algo, "env": env, "seed": seed}))
    with open(path / "eval.csv", "w", newline="") as file:
        rows = [{"step": s, "reward": np.mean(returns) * s / 100, "seed": seed} for s in (0, 50, 100)]
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with open(path / "eval_episodes.csv", "w", newline="") as file:
        rows = [
            {"step": s, "reward": r * s / 100, "seed": seed, "episode": i, "success": float(r > 5), "length": 10}
            for s in (50, 100)
            for i, r in enumerate(returns)
        ]
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_each_configuration_of_an_algorithm_is_a_method(tmp_path):
    runs = []
    for number, (seed, weight) in enumerate([(0, 1.0), (1, 1.0), (0, 9.0)]):
        runs.append(write_run(tmp_path / str(number), "pompc", seed, [weight]))
        identity = {"algo": "pompc", "env": "acrobot", "seed": seed, "config_hash": f"{weight}"}
        (runs[-1] / "run.json").write_text(json.dumps(identity))
        config = {"kl_weight": weight, "algo": {"prior": "plan"}, "seed": seed, "wandb": {"mode": str(number)}}
        (runs[-1] / "config.yaml").write_text(json.dumps(config))
    compare(runs, tmp_path / "out.png")
    rows = table(tmp_path / "out.csv")
    assert [(row["algorithm"], float(row["runs"])) for row in rows] == [
        ("pompc (kl_weight=1.0)", 2),
        ("pompc (kl_weight=9.0)", 1),
    ]
    compare(runs[:2], tmp_path / "out.png")
    assert table(tmp_path / "out.csv")[0]["algorithm"] == "pompc"
    with pytest.raises(UserError, match=r"0 and .*0 are the same seed 0 of pompc: leave one out"):
        compare([runs[0], runs[0]], tmp_path / "out.png")


def test_an_unwritable_output_is_one_line_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    for output in (tmp_path / "file" / "out.png", tmp_path):
        with pytest.raises(UserError, match=r"cannot write .* name another file") as error:
            compare([tmp_path / "no run"], output)
        assert "\n" not in str(error.value)


def test_table_uses_the_last_evaluation_and_groups_seeds(tmp_path, capsys):
    runs = [
        write_run(tmp_path / "a0", "ppo", 0, [1.0, 2.0, 3.0, 6.0]),
        write_run(tmp_path / "a1", "ppo", 1, [3.0, 4.0, 5.0, 8.0]),
        write_run(tmp_path / "b0", "mppi", 0, [9.0, 9.0, 9.0, 9.0]),
    ]
    assert compare(runs, tmp_path / "out.png") == 0
    with open(tmp_path / "out.csv", newline="") as file:
        ppo, mppi = csv.DictReader(file)
    assert (ppo["algorithm"], float(ppo["runs"]), float(ppo["step"])) == ("ppo", 2, 100)
    assert float(ppo["return"]) == pytest.approx(4.0)
    assert float(ppo["std"]) == pytest.approx(np.sqrt(2))
    assert float(ppo["success"]) == pytest.approx(0.25)
    assert [float(ppo[key]) for key in ("iqm", "low", "high")] == [4.0, 3.0, 5.0]  # of its runs, not of its episodes
    assert (ppo["points"], ppo["extent"]) == ("3.0 5.0", "range of runs")
    assert float(mppi["low"]) == float(mppi["high"]) == 9.0
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "fewer than 5 runs, so low and high are the lowest and the highest run, and no confidence interval: ppo, mppi"
        in printed
    )


def test_five_runs_have_an_interval_and_no_note(tmp_path, capsys):
    runs = [
        write_run(tmp_path / str(seed), "ppo", seed, [score]) for seed, score in enumerate([0.0, 0.0, 0.0, 0.0, 1.0])
    ]
    compare(runs, tmp_path / "out.png")
    (row,) = table(tmp_path / "out.csv")
    assert row["extent"] == "95 % interval"
    assert [float(row[key]) for key in ("iqm", "low", "high")] == pytest.approx([0, 0, 2 / 3])
    assert "fewer than" not in capsys.readouterr().out


def test_bounds_give_a_score_over_all_environments(tmp_path, capsys):
    runs = [
        write_run(tmp_path / "a", "ppo", 0, [250.0]),
        write_run(tmp_path / "b", "ppo", 0, [-20.0], env="lunar_lander"),
        write_run(tmp_path / "c", "mppi", 0, [7.0]),
    ]
    arguments = ["compare", *map(str, runs), "--out", str(tmp_path / "out.png")]
    assert main(arguments) == 0
    assert "--bounds ENV=LOW:HIGH is missing for acrobot, lunar_lander" in " ".join(capsys.readouterr().out.split())
    assert main([*arguments, "--bounds", "acrobot=0:1000", "--bounds", "lunar_*=-100:100"]) == 0
    row = table(tmp_path / "out.csv")[-1]
    assert (row["environment"], row["algorithm"]) == ("all, normalised", "ppo")
    assert [float(row[key]) for key in ("runs", "return", "low", "high")] == pytest.approx([2, 0.325, 0.25, 0.4])
    assert "so not in the score over all: mppi" in " ".join(capsys.readouterr().out.split())


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_suite_run(path, algo, seed, task, curve, pixels=None):
    """A run on a Control Suite task with the evaluations ``{step: return}``."""
    path.mkdir(parents=True)
    identity = {"algo": algo, "env": f"dmc-{task}", "seed": seed, "config_hash": f"pixels {pixels}"}
    (path / "run.json").write_text(json.dumps(identity))
    config = {"seed": seed, "env": {"name": "dmc", "task": task, **({} if pixels is None else {"pixels": pixels})}}
    (path / "config.yaml").write_text(json.dumps(config))
    lines = [f"{step},{value},{seed}" for step, value in curve.items()]
    (path / "eval.csv").write_text("\n".join(["step,reward,seed", *lines, ""]))
    episodes = [f"{line},{episode}" for line in lines for episode in range(2)]
    (path / "eval_episodes.csv").write_text("\n".join(["step,reward,seed,episode", *episodes, ""]))
    return path


def write_published(path):
    """Seeds 1 to 3 on two tasks: 100, 200, 600 at 100k and 300, 300, 900 at 200k; an interval on one of them."""
    rows = ["method,task,env_steps,seed,return"]
    for task in ("cup-catch", "finger-turn-easy"):
        for step, values in {0: (0, 0, 0), 100_000: (100, 200, 600), 200_000: (300, 300, 900)}.items():
            rows += [f"tdmpc2,{task},{step},{seed},{value}" for seed, value in enumerate(values, 1)]
    for step, values in {0: (0, 0, 0), 100_000: (500, 450, 550), 200_000: (800, 750, 850)}.items():
        rows += [
            f"bmpc@lab,cup-catch,{step},{seed},{v}" for seed, v in zip(("mean", "ci_lo", "ci_hi"), values, strict=True)
        ]
    path.write_text("\n".join([*rows, ""]))
    return path


def test_every_environment_has_its_rows_and_its_panel(tmp_path, capsys):
    a = write_run(tmp_path / "a", "ppo", 0, [1.0])
    b = write_run(tmp_path / "b", "ppo", 0, [2.0, 4.0], env="lunar_lander")
    compare([a], tmp_path / "one.png")
    compare([a, b], tmp_path / "two.png")
    rows = table(tmp_path / "two.csv")
    assert [(row["environment"], float(row["return"])) for row in rows] == [("acrobot", 1.0), ("lunar_lander", 3.0)]
    assert rows[0] == table(tmp_path / "one.csv")[0]
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.png") as two:
        assert one.size == (960, 600)
        assert two.width > one.width
    assert "last evaluation on lunar_lander" in " ".join(capsys.readouterr().out.split())


def test_published_curves_are_met_at_the_last_shared_step(tmp_path, capsys):
    published = write_published(tmp_path / "published.csv")
    runs = [
        # Seed 1 ends between the grid points: the method is known to 150k only. Their evaluations are at other steps.
        write_suite_run(
            tmp_path / "a0", "mine", 0, "ball_in_cup-catch", {0: 0, 50_000: 50, 150_000: 250, 300_000: 900}
        ),
        write_suite_run(tmp_path / "a1", "mine", 1, "ball_in_cup-catch", {0: 0, 100_000: 110, 150_000: 300}),
        write_suite_run(tmp_path / "b0", "mine", 0, "finger-turn_easy", {0: 0, 200_000: 901}),
        write_suite_run(tmp_path / "c0", "late", 0, "finger-turn_easy", {0: 0, 90_000: 500}),
        write_suite_run(tmp_path / "d0", "mine", 0, "cheetah-run", {0: 0, 200_000: 500}),
    ]
    arguments = ["compare", *map(str, runs), "--out", str(tmp_path / "out.png"), "--published", str(published)]
    assert main(arguments) == 0
    rows = {(row["environment"], row["algorithm"], row["published"]): row for row in table(tmp_path / "out.csv")}
    assert len(rows) == 5
    cup = rows["dmc-ball_in_cup-catch", "mine", "tdmpc2"]
    ours = (np.interp(100_000, [50_000, 150_000], [50, 250]) + 110) / 2
    assert [float(cup[key]) for key in ("published_step", "ours", "published_mean", "published_low")] == pytest.approx(
        [100_000, ours, 300, 100]
    )
    assert (float(cup["published_high"]), cup["place"]) == (600, "inside")
    assert rows["dmc-ball_in_cup-catch", "mine", "bmpc@lab"]["place"] == "below"
    finger = rows["dmc-finger-turn_easy", "mine", "tdmpc2"]
    assert (float(finger["published_step"]), float(finger["ours"]), finger["place"]) == (200_000, 901, "above")
    late = rows["dmc-finger-turn_easy", "late", "tdmpc2"]
    assert (late["ours"], late["place"]) == ("nan", "not reached")
    assert rows["dmc-cheetah-run", "mine", ""]["place"] == ""
    assert "has no curve for dmc-cheetah-run" in capsys.readouterr().out


def test_only_states_of_the_suite_have_published_curves(tmp_path):
    runs = [
        write_suite_run(tmp_path / "state", "mine", 0, "cup-catch", {0: 0}, pixels=False),
        write_suite_run(tmp_path / "pixels", "mine", 0, "cup-catch", {0: 0}, pixels=True),
        write_run(tmp_path / "other", "mine", 0, [1.0]),
    ]
    (runs[2] / "config.yaml").write_text("env: {name: acrobot}")
    assert [suite_task(run) for run in find_runs(runs)] == ["cup-catch", None, None]
    published = write_published(tmp_path / "published.csv")
    with pytest.raises(UserError, match="no run learns a single task"):
        compare(
            runs, tmp_path / "out.png", CompareOptions(published=published)
        )  # states and pixels together are no single task
    (runs[2] / "config.yaml").unlink()
    with pytest.raises(UserError, match=r"other has no config\.yaml"):
        compare(runs, tmp_path / "out.png", CompareOptions(published=published))


def test_a_task_nobody_published_is_refused_in_one_line(tmp_path, capsys):
    run = write_suite_run(tmp_path / "a", "mine", 0, "finger-turn_hard", {0: 0, 100_000: 1})
    published = write_published(tmp_path / "published.csv")
    out = tmp_path / "out.png"
    assert main(["compare", str(run), "--out", str(out), "--published", str(published)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("has no curve for finger-turn_hard: it has finger-turn-easy")
    assert not out.exists()


def test_unevaluated_runs_are_refused(tmp_path):
    a, b, c, d = (write_run(tmp_path / name, "ppo", 0, [1.0]) for name in "abcd")
    (a / "eval_episodes.csv").unlink()
    (d / "eval.csv").unlink()
    (b / "eval_episodes.csv").write_text("")  # as a run begins
    (c / "eval_episodes.csv").write_text("step,reward,seed,episode\n")
    for run in (a, b, c, d):
        with pytest.raises(UserError, match=f"{run.name} has no evaluation yet"):
            compare([run], tmp_path / "out.png")
    with pytest.raises(UserError, match="no run directory"):
        compare([tmp_path / "nowhere"], tmp_path / "out.png")


def test_a_long_label_is_wrapped_below_the_axes_and_leaves_them_their_room(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(curves, "FigureCanvasAgg", lambda figure: figures.append(figure) or FigureCanvasAgg(figure))
    schedule = "virtual_ratio={schedule: linear, initial: 0.0, to: 0.5, over: 100000, minimum: 0.0, clock: steps}"
    runs = [write_run(tmp_path / name, "pompc", 0, [1.0, 2.0]) for name in "ab"]
    curve = read_curve([runs[0] / "eval.csv"])
    both = {f"pompc ({schedule})": curve, "pompc (virtual_ratio=0.3)": curve}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curves.plot_panels([curves.Panel(title="acrobot", curves=both)], tmp_path / "out.png")
    (legend,) = figures[0].legends
    assert all(len(line) <= curves.WIDTH for text in legend.get_texts() for line in text.get_text().splitlines())
    assert figures[0].axes[0].get_position().height > 0.5
