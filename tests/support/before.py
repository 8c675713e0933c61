"""Compare short runs of every algorithm before and after a change of the code's structure.

python tests/support/before.py record DIR     # one metrics.csv per case in DIR
python tests/support/before.py compare DIR    # run again; say which differ
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

RENAMED: dict[str, str] = {
    "loss_policy": "policy_loss",
    "loss_value": "value_loss",
    "virtual_rows": "virtual_transitions",
}
"""Columns of metrics.csv that have a new name: old -> new."""
DROPPED: set[str] = set()
"""Columns that are gone, or that are now absent instead of nan."""

SMALL = ("eval.every=100000", "eval.episodes=1", "eval.video=false", "wandb.mode=disabled", "eval.at_start=false")
LATENT = (
    *("algo.encoder_dim=32", "algo.mlp_dim=32", "algo.latent_dim=32", "algo.num_proposals=4", "algo.batch_size=32"),
    *(
        "planner.num_samples=32",
        "planner.num_elites=8",
        "planner.num_iterations=2",
        "steps=1200",
        "algo.seed_steps=200",
    ),
    *("algo.pretrain_updates=50", "env.episode_frames=100"),
)
HEADS = ("algo.num_values=3",)
ON = ("num_envs=4", "steps=2560", "algo.batch_size=256", "algo.minibatch=64", "algo.epochs=2", "planner.num_samples=16")
PPO = ON[:-1]
CASES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "tdmpc2": ("tdmpc2", "dmc/cartpole-swingup", (*LATENT, *HEADS)),
    "tdmpc2_two_rows": ("tdmpc2", "dmc/cartpole-swingup", (*LATENT, *HEADS, "num_envs=2", "algo.update_to_data=0.5")),
    "tdmpc2_virtual": (
        "tdmpc2",
        "dmc/cartpole-swingup",
        (*LATENT, *HEADS, "virtual_ratio={schedule: exp, initial: 0.3, decay: 0.99}", "kl_weight=0.5"),
    ),
    "tdmpc2_multitask": ("tdmpc2", "multitask", (*LATENT, *HEADS, "num_envs=2", "algo.task_dim=8")),
    "tdmpc2_episodic": (
        "tdmpc2",
        "lunar_lander",
        (*LATENT[:-1], *HEADS, "steps=3000", "algo.seed_steps=100", "env.time_limit=200"),
    ),
    "tdmpc_square": ("tdmpc_square", "dmc/cartpole-swingup", (*LATENT, *HEADS, "algo.scale_threshold=0.5")),
    "bmpc": ("bmpc", "dmc/cartpole-swingup", (*LATENT, "algo.reanalyze_sequences=4")),
    "bmpc_q": ("bmpc", "dmc/cartpole-swingup", (*LATENT, "algo.state_values=false", "kl_weight=2")),
    "pompc": ("pompc", "dmc/cartpole-swingup", (*LATENT, *HEADS)),
    "pompc_plan": (
        "pompc",
        "dmc/cartpole-swingup",
        (*LATENT, *HEADS, "algo.prior=plan", "algo.reanalyze_interval=7", "algo.soft_target=true", "algo.convex=true"),
    ),
    "adaptive_pompc": ("adaptive_pompc", "dmc/cartpole-swingup", (*LATENT, *HEADS, "algo.virtual_count=2")),
    "adaptive_hrl": ("adaptive_hrl", "carla_racing", (*ON, "algo.virtual_rollouts=128")),
    "adaptive_hrl_acrobot": (
        "adaptive_hrl",
        "acrobot",
        (*ON, "kl_weight=0.5", "algo.virtual_policy=true", "algo.mix=sampling", "algo.execute_steps=2"),
    ),
    "ppo": ("ppo", "carla_racing", PPO),
    "mppi": ("mppi", "lunar_lander", ("num_envs=4", "steps=1280", "algo.batch_size=256", "planner.num_samples=32")),
}
KEYS: dict[str, str] = {
    "algo.num_values": "algo.ensemble_size",
    "algo.minibatch": "algo.minibatch_size",
}
"""Options that have a new name: old -> new."""


def run(case: str, out: Path) -> bytes:
    algo, env, overrides = CASES[case]
    texts = []
    for text in (*SMALL, *overrides):
        key, _, value = text.partition("=")
        texts.append(f"{KEYS.get(key, key)}={value}")
    command = [sys.executable, "-m", "pompc", "run", "--algo", algo, "--env", env, f"run_dir={out / case}", *texts]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{case}: {done.stderr[-3000:]}")
    return (out / case / "metrics.csv").read_bytes()


def rows(text: str, renamed: dict[str, str]) -> list[dict[str, str]]:
    return [{renamed.get(key, key): value for key, value in row.items()} for row in csv.DictReader(text.splitlines())]


def compare(old: bytes, new: bytes) -> list[str]:
    before, after = rows(old.decode(), RENAMED), rows(new.decode(), {})
    if len(before) != len(after):
        return [f"{len(before)} rows, now {len(after)}"]
    found = []
    for name in before[0]:
        if name in DROPPED:
            continue
        for number, (a, b) in enumerate(zip(before, after, strict=True)):
            value = b.get(name, "nan") or "nan"
            if (a[name] or "nan") != value:
                found.append(f"{name} row {number}: {a[name]} -> {value}")
                break
    extra = [name for name in after[0] if name not in before[0] and name not in DROPPED]
    return found + ([f"new columns: {', '.join(extra)}"] if extra else [])


def main() -> int:
    what, directory, *chosen = sys.argv[1:]
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    bad = 0
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(2) as pool:
        names = chosen or list(CASES)
        for name, data in zip(names, pool.map(lambda case: run(case, Path(scratch)), names), strict=True):
            file = directory / f"{name}.csv"
            if what == "record":
                file.write_bytes(data)
                print(name, len(data.splitlines()), "lines")
            else:
                found = compare(file.read_bytes(), data)
                bad += bool(found)
                print(name, "same" if not found else "\n  ".join(["DIFFERS", *found[:12]]))
    return bad


if __name__ == "__main__":
    sys.exit(main())
