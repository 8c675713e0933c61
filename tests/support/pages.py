"""Runs with everything that the page of a comparison shows, and the page of some runs."""

from stored_runs import STEPS, write_run

from pompc.report.comparison import CompareOptions
from pompc.report.compute import make_comparison
from pompc.report.html.page import write

METRICS = "step,episodes,virtual_ratio,kl_weight,loss\n100,1,0.3,0.0,5\n200,2,0.2,0.0,4\n"


def write_whole_run(path, curve, seed=0, seconds=10.0, model_steps=1000.0, **identity):
    """A run with timing.csv and metrics.csv."""
    run = write_run(path, curve, seed, metrics=METRICS, **identity)
    rows = [f"{step},{seconds * step / 100},{model_steps * step}" for step in STEPS[1:]]
    (run / "timing.csv").write_text("\n".join(["step,wall_s,model_steps", *rows, ""]))
    return run


def write_methods(folder, seeds=5, gap=20.0, envs=("acrobot",)):
    """Two methods; ``mppi`` ends ``gap`` above ``ppo``, whose seeds end from 50 to 54, and makes no model steps."""
    for env in envs:
        for seed in range(seeds):
            for algo, end, model_steps in (("ppo", 50.0, 0.0), ("mppi", 50.0 + gap, 1000.0)):
                curve = (0.0, end / 2, end + seed)
                write_whole_run(
                    folder / env / algo / f"seed{seed}", curve, seed, algo=algo, env=env, model_steps=model_steps
                )
    return folder


def page_of(folder, file, **options):
    """Write the page of the runs below a folder; return its text."""
    write(make_comparison([folder], CompareOptions(**options)), file)
    return file.read_text(encoding="utf-8")
