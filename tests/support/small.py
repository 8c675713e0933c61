"""The smallest runs that pass through every part, and a comparison of their files."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from PIL import Image

from pompc import cli
from pompc.config.spec import RunSpec, configure
from pompc.report.curves import plot_learning_curve
from pompc.training import session
from pompc.training.directory import RunDirectory
from pompc.training.loop import Record, train
from pompc.training.run import run

# These files must depend neither on the stops of a run nor on the machine's speed.
COMPARED = ("metrics.csv", "eval.csv", "eval_episodes.csv")

_RUN = ("steps=128", "num_envs=2", "eval.every=64", "eval.episodes=2", "eval.video=false", "wandb.mode=disabled")
_PLANNER = ("planner.horizon=3", "planner.num_samples=8")
_LEARNING = ("algo.minibatch_size=16", "algo.epochs=1", "algo.hidden_sizes=[16]")
BURST = "algo.pretrain_updates=10"  # more than ``log_every``, so that a run can be stopped within it
_LATENT = (
    *("algo.encoder_dim=16", "algo.mlp_dim=16", "algo.latent_dim=16", "algo.ensemble_size=3", "algo.num_proposals=4"),
    *("planner.num_samples=16", "planner.num_elites=4", "planner.num_iterations=2"),
    *(
        "algo.seed_steps=26",
        BURST,
        "algo.update_to_data=0.5",
        "algo.log_every=8",
        "algo.batch_size=16",
    ),
)
_SHORT = ("planner.horizon=4", "algo.sequence=3")
_REANALYZE = ("algo.reanalyze_interval=3", "algo.reanalyze_sequences=4")
_IMITATE = (*_PLANNER, "algo.batch_size=16", "algo.hidden_sizes=[16]", "algo.update_to_data=0.5", "algo.log_every=16")
ALGORITHMS = {
    "adaptive_hrl": (*_PLANNER, *_LEARNING, "algo.candidates=2", "algo.ensemble_size=2", "algo.virtual_rollouts=16"),
    "tdmpc2": _LATENT,
    "tdmpc_square": (*_LATENT, "algo.scale_threshold=0.5"),
    "boom": (*_LATENT, "algo.scale_threshold=0.5"),
    "bmpc": (*_LATENT, *_REANALYZE),
    "pompc": (*_LATENT, *_REANALYZE),
    "adaptive_pompc": (*_LATENT, *_REANALYZE, "algo.virtual_count=2"),
    "gem_mpc": _LATENT,
    "awac": _LATENT,
    "bc": _LATENT,
    "bc_sac": _LATENT,
    "efficient_tdmpc": _LATENT,
    "tdmpc_square_late": _LATENT,
    "tdmpc_square_arc75": (*_LATENT, "algo.num_proposals=12"),
    "polo": (*_LATENT, "algo.num_proposals=0", *_SHORT, "algo.target_steps=3"),
    "cacto": (*_LATENT, "algo.num_proposals=1", *_SHORT, "algo.proposals_after=24"),
    "mpq": (*_LATENT, "algo.num_proposals=0", *_SHORT, "algo.target_samples=8", "planner.num_zero_mean=0"),
    "imitate": _IMITATE,
    "dagger": (*_IMITATE, "policy_share={over: 64}", "algo.reanalyze_interval=1"),
    "plannetx": (*_IMITATE, "policy_share=0.5"),
    "trust_expert": (*_LATENT, "algo.skips=[1,3]", "algo.sequence=3", "planner.horizon=3"),
    "ppo": _LEARNING,
    "hrl_mpc": (*_PLANNER, *_LEARNING),
    "subgoal": (*_PLANNER, *_LEARNING, "kl_weight.over=32"),
    "ac_mpc": (*_PLANNER, *_LEARNING, "virtual_ratio=0.3", "algo.virtual_rollouts=16"),
    "dtc": (*_PLANNER, *_LEARNING, "planner.horizon=4", "algo.plan_every=2", "algo.reference_steps=[1,2]"),
    "mpc_critic": (*_PLANNER, "planner.num_iterations=2", "algo.phi=[weights,convex,model]", "algo.hidden_sizes=[4]"),
    "mppi": _PLANNER,
}
# A residual and a learned margin; off policy they are learned from the first batches on.
LEARNED_PARTS = (
    *("algo.model=residual", "algo.margins=learned", "planner.violation_cost=1.0"),
    *("algo.model_learning.hidden_sizes=[8]", "algo.model_learning.batch_size=8"),
    *("algo.model_learning.update_to_data=0.25", "algo.model_learning.buffer_size=200"),
)
EPISODE = 9
"""Steps of an episode. They end inside batches, so resets too lie before and after every stop."""
ENVIRONMENTS = {
    "acrobot": (f"env.time_limit={EPISODE}",),
    "carla_racing": (f"env.time_limit={0.05 * EPISODE:.2f}", "env.num_opponents=1"),
    "lunar_lander": (f"env.time_limit={EPISODE}", "env.action_repeat=1"),
    "linear_system": (f"env.time_limit={EPISODE}",),
    "heating": (f"env.time_limit={EPISODE}",),
    "dmc/cartpole-swingup": (f"env.episode_frames={2 * EPISODE}",),
    "multitask": (f"env.episode_frames={EPISODE}", "env.action_repeat=1"),
    "gym/Pendulum-v1": (f"env.kwargs={{max_episode_steps: {EPISODE}}}",),
}


def config(directory: Path, algo: str, env: str, *overrides: str) -> RunSpec:
    """Make the configuration of a run of four batches of 32 transitions in ``directory``."""
    small = (*_RUN, "algo.batch_size=32", *ALGORITHMS[algo], *ENVIRONMENTS[env], f"run_dir={directory}")
    return configure(algo, env, [*small, *overrides])


@contextmanager
def drawing(curve: bool) -> Iterator[None]:
    """Let runs draw their learning curves in the block, or a dot in their place: a curve takes longer than a small run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "plot_learning_curve", plot_learning_curve if curve else _dot)
        yield


def _dot(files: list[Path], output: Path, title: str) -> Path:
    Image.new("RGB", (1, 1)).save(output)
    return output


def complete(spec: RunSpec, *, curve: bool = False) -> Path:
    """Run to the end and return the run directory; ``curve`` as :func:`drawing`."""
    with drawing(curve):
        assert run(spec) == 0
    return spec.directory


def start_and_stop(spec: RunSpec, records: int, *, save: bool = True) -> list[Record]:
    """Start a run and stop it after some records, with a saved state (a signal) or without (a kill)."""
    directory = RunDirectory(spec.directory)
    with directory.locked(), drawing(False):
        started = session.Session(spec, directory)
        directory.write_status("running", **spec.identity, step=started.counters.step)
        try:
            seen = list(islice(train(started), records))
            if save:
                started.save()
            return seen
        finally:
            started.close()


def files(directory: Path) -> dict[str, bytes]:
    """Read the files that two equal runs share."""
    return {name: (directory / name).read_bytes() for name in COMPARED}


def final_state(directory: Path) -> dict[str, Any]:
    """Load the last checkpoint without the duration and the length of the run."""
    state = torch.load(directory / "checkpoints" / "last.pt", weights_only=True)
    del state["counters"]["wall_s"], state["logs"]["timing"], state["config"]
    return state


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """List the paths at which two nested states differ; nan equals nan, and -0.0 differs from 0.0."""
    if isinstance(a, torch.Tensor):
        same = isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape
        if same and a.is_floating_point():
            bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
            a, b = a.contiguous().view(bits), b.contiguous().view(bits)
        return [] if same and torch.equal(a, b) else [path]
    if isinstance(a, dict):
        if not isinstance(b, dict) or a.keys() != b.keys():
            return [path]
        return [found for key in a for found in differences(a[key], b[key], f"{path}.{key}")]
    if isinstance(a, list | tuple):
        if not isinstance(b, list | tuple) or len(a) != len(b):
            return [path]
        return [f for i, (x, y) in enumerate(zip(a, b, strict=True)) for f in differences(x, y, f"{path}[{i}]")]
    both_nan = isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
    return [] if both_nan or a == b else [path]


def assert_same(a: Path, b: Path) -> None:
    """Require that two run directories hold the same bytes in every file and the same bits in every tensor."""
    for name in COMPARED:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    assert differences(final_state(a), final_state(b)) == []


def command_line(words: list[str], output: str, errors: str) -> NoReturn:
    """Run ``pompc`` in a forked process, which ends with its exit code, and write to two files or named pipes."""
    for number, path in ((1, output), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.exit(cli.main(words))


def environment() -> dict[str, str]:
    """Make the environment of a subprocess: one thread, and the modules of the tests."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
