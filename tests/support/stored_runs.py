"""Run directories as a training leaves them, made from a few numbers."""

import json

STEPS = (0, 100, 200)


def write_run(path, curve, seed=0, algo="ppo", env="acrobot", config=None, metrics="", **identity):
    """A run with two episodes an evaluation, one point above and one below the curve."""
    path.mkdir(parents=True)
    words = {"algo": algo, "env": env, "seed": seed, "config_hash": str(config), "status": "finished", **identity}
    (path / "run.json").write_text(json.dumps(words))
    (path / "config.yaml").write_text(json.dumps(config or {"seed": seed}))
    head, rows, episodes = "step,reward,seed,success", [], []
    for step, value in zip(STEPS, curve, strict=True):
        rows.append(f"{step},{value},{seed},{value / 100},0.5")
        episodes += [f"{step},{value + offset},{seed},{value / 100},{place}" for place, offset in enumerate((1, -1))]
    (path / "eval.csv").write_text("\n".join([f"{head},policy_gap", *rows, ""]))
    (path / "eval_episodes.csv").write_text("\n".join([f"{head},episode", *episodes, ""]))
    if metrics:
        (path / "metrics.csv").write_text(metrics)
    return path
