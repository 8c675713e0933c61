"""Comparing runs: the statistics, the table and the refusals."""

import csv
import json

import numpy as np
import pytest

from pompc.errors import UserError
from pompc.report.compare import bootstrap_interval, compare, interquartile_mean


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


def test_interquartile_mean_ignores_the_tails():
    assert interquartile_mean(np.array([-1e9, 1.0, 2.0, 1e9])) == pytest.approx(1.5)


def test_bootstrap_interval_covers_the_truth_at_its_rate():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(60):
        low, high = bootstrap_interval([rng.normal(3.0, 1.0, 30) for _ in range(3)], seed=trial)
        hits += low <= 3.0 <= high
    assert 50 <= hits <= 60


def test_table_uses_the_last_evaluation_and_groups_seeds(tmp_path, capsys):
    runs = [
        write_run(tmp_path / "a0", "ppo", 0, [1.0, 2.0, 3.0, 6.0]),
        write_run(tmp_path / "a1", "ppo", 1, [3.0, 4.0, 5.0, 8.0]),
        write_run(tmp_path / "b0", "mppi", 0, [9.0, 9.0, 9.0, 9.0]),
    ]
    assert compare(runs, tmp_path / "out.png") == 0
    with open(tmp_path / "out.csv", newline="") as file:
        ppo, mppi = csv.DictReader(file)
    assert (ppo["algorithm"], float(ppo["seeds"]), float(ppo["step"])) == ("ppo", 2, 100)
    assert float(ppo["return"]) == pytest.approx(4.0)
    assert float(ppo["seed_std"]) == pytest.approx(np.sqrt(2))
    assert float(ppo["success"]) == pytest.approx(0.25)
    assert float(mppi["iqm_low"]) == float(mppi["iqm_high"]) == 9.0
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert "mppi" in capsys.readouterr().out


def test_other_environments_and_unevaluated_runs_are_refused(tmp_path):
    a = write_run(tmp_path / "a", "ppo", 0, [1.0])
    b = write_run(tmp_path / "b", "ppo", 0, [1.0], env="lunar_lander")
    with pytest.raises(UserError, match="different environments: acrobot, lunar_lander"):
        compare([a, b], tmp_path / "out.png")
    (a / "eval.csv").unlink()
    with pytest.raises(UserError, match="has no eval"):
        compare([a], tmp_path / "out.png")
    with pytest.raises(UserError, match="no run directory"):
        compare([tmp_path / "nowhere"], tmp_path / "out.png")
