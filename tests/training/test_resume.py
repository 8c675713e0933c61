"""Stop at any step and resume: the files and the tensors are those of the run that never stopped."""

import pytest
import torch
from small import ALGORITHMS as SMALL
from small import BURST, LEARNED_PARTS, assert_same, complete, config, differences, files, final_state, start_and_stop

from pompc.offpolicy.agent import OffPolicyAgent
from pompc.registry import ALGORITHMS
from pompc.training import checkpoint, session

AT_START = "eval.at_start=true"
HELD = ("steps=128", "algo.virtual_window=3", "algo.decision_steps=3", "algo.execute_steps=2")
SOURCE = ("algo.virtual_source=executed", "virtual_ratio=0.5", "algo.decision_steps=3", "algo.virtual_rollouts=16")
FILTER = ("filter.enabled=true", "filter.train=true", "filter.horizon=5", "filter.samples=2")
FULL = ("algo.buffer_size=60", "num_envs=3", "steps=160", "eval.every=80")
KNOWN = ("algo.model=known", "kl_weight=1.0", "algo.sequence=4")
VARIED = ("env.mass=1.2", "env.mass_variation=0.3", "env.friction_variation=0.3", "env.drive_variation=0.3")
RUNS = [
    pytest.param("adaptive_hrl", "acrobot", (AT_START,), id="adaptive_hrl-acrobot"),
    pytest.param("adaptive_hrl", "carla_racing", HELD, id="adaptive_hrl-carla_racing-held"),
    pytest.param("hrl_mpc", "acrobot", SOURCE, id="hrl_mpc-acrobot-executed"),
    pytest.param("subgoal", "lunar_lander", ("kl_weight.over=64",), id="subgoal-lunar_lander"),
    pytest.param("ac_mpc", "acrobot", ("planner.change_cost=0.1",), id="ac_mpc-acrobot-changes"),
    pytest.param("dtc", "carla_racing", ("algo.residual=true",), id="dtc-carla_racing-residual"),
    pytest.param("adaptive_hrl", "lunar_lander", ("virtual_ratio.schedule=auto",), id="adaptive_hrl-lunar_lander-auto"),
    pytest.param("ppo", "carla_racing", VARIED, id="ppo-carla_racing-varied"),
    pytest.param("ppo", "dmc/cartpole-swingup", ("steps=192", "eval.every=128"), id="ppo-dmc"),
    pytest.param("ppo", "gym/Pendulum-v1", (), id="ppo-gym"),
    pytest.param("mppi", "acrobot", ("planner.change_cost=0.1",), id="mppi-acrobot-changes"),
    pytest.param("tdmpc2", "dmc/cartpole-swingup", FULL, id="tdmpc2-dmc-full-replay"),
    pytest.param("tdmpc2", "acrobot", ("algo.episodic=true", "virtual_ratio=0.5"), id="tdmpc2-episodic-virtual"),
    pytest.param("tdmpc2", "multitask", (AT_START,), id="tdmpc2-multitask"),
    pytest.param("tdmpc_square", "carla_racing", (), id="tdmpc_square-carla_racing"),
    pytest.param("boom", "gym/Pendulum-v1", ("algo.alignment=likelihood",), id="boom-gym-likelihood"),
    pytest.param("gem_mpc", "gym/Pendulum-v1", ("kl_weight={schedule: balance, every: 3}",), id="gem_mpc-balance"),
    pytest.param("awac", "gym/Pendulum-v1", (), id="awac-gym"),
    pytest.param("efficient_tdmpc", "gym/Pendulum-v1", ("algo.optimism=-1.0",), id="efficient_tdmpc-cautious"),
    pytest.param("bmpc", "gym/Pendulum-v1", (AT_START,), id="bmpc-gym"),
    pytest.param("pompc", "acrobot", ("algo.prior=reverse", "algo.soft_target=true"), id="pompc-reverse-soft"),
    pytest.param(
        "pompc", "carla_racing", (*KNOWN, "algo.prior=plan", "algo.soft_target=true"), id="pompc-known-plan-soft"
    ),
    pytest.param("adaptive_pompc", "lunar_lander", (), id="adaptive_pompc-lunar_lander"),
    pytest.param("mppi", "carla_racing", ("planner.hard=true", "planner.tighten=0.1"), id="mppi-carla_racing-hard"),
    pytest.param("bmpc", "acrobot", (*KNOWN, "virtual_ratio=0.5"), id="bmpc-known"),
    pytest.param("polo", "acrobot", ("virtual_ratio=0.5",), id="polo-acrobot"),
    pytest.param("cacto", "linear_system", (), id="cacto-linear_system"),
    pytest.param("mpc_critic", "heating", ("algo.step=natural_dpg",), id="mpc_critic-heating"),
    pytest.param("mpc_critic", "linear_system", ("env.mismatch=1",), id="mpc_critic-linear_system"),
    pytest.param("mpq", "linear_system", (), id="mpq-linear_system"),
    pytest.param("ppo", "linear_system", (AT_START, *FILTER), id="ppo-filter"),
    pytest.param("tdmpc2", "linear_system", (*FILTER, "eval.policy=true"), id="tdmpc2-filter-policy"),
    pytest.param("mppi", "linear_system", (*LEARNED_PARTS, "env.mismatch=1"), id="mppi-learned-parts"),
    pytest.param("adaptive_hrl", "linear_system", (AT_START, *LEARNED_PARTS), id="adaptive_hrl-learned-parts"),
    pytest.param("tdmpc2", "lunar_lander", (*LEARNED_PARTS, "env.mass_variation=0.3"), id="tdmpc2-learned-parts"),
    pytest.param("dagger", "linear_system", (AT_START,), id="dagger-lazy"),
    pytest.param("plannetx", "acrobot", ("algo.seed_steps=20",), id="plannetx-mixture"),
    pytest.param("trust_expert", "linear_system", ("algo.epsilon=0.5",), id="trust_expert-linear_system"),
]


def small_config(directory, algo, env, *overrides):
    """Make a configuration with an evaluation before and one after the stop, and half an episode or more after each.

    Off policy it ends soon after the burst of updates and the first planned steps; otherwise with the third batch.
    """
    is_off_policy = issubclass(ALGORITHMS.resolve(algo), OffPolicyAgent)
    length = ("steps=48", "eval.every=24") if is_off_policy else ("steps=96", "eval.every=64")
    return config(directory, algo, env, "eval.at_start=false", *length, *overrides)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Runs from start to end, each made once."""
    runs = {}

    def get(*arguments, make=small_config):
        if (make, *arguments) not in runs:
            runs[make, *arguments] = complete(make(tmp_path_factory.mktemp("whole"), *arguments))
        return runs[make, *arguments]

    return get


@pytest.mark.parametrize(("algo", "env", "overrides"), RUNS)
def test_a_stopped_run_equals_one_that_never_was(algo, env, overrides, uninterrupted, tmp_path):
    """Every class of algorithm and every environment at least once; an option with a state of its own once."""
    cfg, has_burst = small_config(tmp_path, algo, env, *overrides), BURST in SMALL[algo]
    stopped = start_and_stop(cfg, (4 if has_burst else 2) + (AT_START in overrides))
    assert bool(stopped[-1].pending_updates) == has_burst, "it stops within the burst of updates, or after two batches"
    assert_same(uninterrupted(algo, env, *overrides), complete(cfg))


@pytest.mark.parametrize(("algo", "env", "overrides"), [run for run in RUNS if AT_START in run.values[2]])
def test_a_run_stopped_again_and_again_equals_one_that_never_was(algo, env, overrides, uninterrupted, tmp_path):
    """One of each kind of state before the first batch: without a replay, with one, with a learned part of a model, with
    a filter, and one whose evaluation plans with the values."""
    cfg = small_config(tmp_path, algo, env, *overrides)
    for _ in range(3):  # first after the evaluation before training
        start_and_stop(cfg, 1)
    assert_same(uninterrupted(algo, env, *overrides), complete(cfg))


@pytest.mark.parametrize("killed_after", [1, 2, 3, 4])
def test_what_a_killed_run_wrote_after_its_checkpoint_is_done_again(killed_after, uninterrupted, tmp_path):
    cfg = config(tmp_path, "adaptive_hrl", "acrobot", "checkpoint.every=50")
    start_and_stop(cfg, killed_after, save=False)
    assert_same(uninterrupted("adaptive_hrl", "acrobot", make=config), complete(cfg))


class Killed(BaseException):
    """The end of a process, without a word to anything in it."""


@pytest.mark.parametrize("writes", [2, 3, 4])
def test_the_best_checkpoint_is_that_of_the_best_evaluation(writes, tmp_path, monkeypatch):
    """Also if a kill came after any of the writes, as between those of the two checkpoints of one step."""
    play, write, written = session.evaluate, checkpoint.save, []

    def better_and_better(agent, *arguments, **options):
        result = play(agent, *arguments, **options)
        for episode in result.episodes:
            episode["reward"] = float(agent.updates)
        return result

    monkeypatch.setattr(session, "evaluate", better_and_better)
    whole, cut_off = (config(tmp_path / name, "ppo", "acrobot", "checkpoint.every=64") for name in ("whole", "cut"))
    complete(whole)

    def cut(path, state):
        write(path, state)
        written.append(path.name)
        if len(written) == writes:
            raise Killed

    monkeypatch.setattr(checkpoint, "save", cut)
    with pytest.raises(Killed):
        complete(cut_off)
    assert_same(tmp_path / "whole", complete(cut_off))
    best = torch.load(tmp_path / "cut" / "checkpoints" / "best.pt")
    assert best["manifest"]["step"] == 128


def test_a_checkpoint_comes_with_the_first_batch_that_reaches_a_multiple(tmp_path):
    last = tmp_path / "checkpoints" / "last.pt"
    cfg = config(tmp_path, "ppo", "acrobot", "checkpoint.every=50")  # batches end at 32, 64, 96, 128
    steps = []
    for records in (2, 3, 1, 2):  # a start from the beginning has the evaluation at step 0 as its first record
        start_and_stop(cfg, records, save=False)
        steps.append(final_state(tmp_path)["manifest"]["step"] if last.exists() else None)
    assert steps == [None, 64, 64, 128]


@pytest.mark.parametrize(
    ("algo", "first", "evaluations_equal"),
    [("adaptive_hrl", 64, True), ("adaptive_hrl", 96, False), ("ppo", 64, True), ("mppi", 96, False)],
)
def test_more_steps_continue_a_finished_run(algo, first, evaluations_equal, uninterrupted, tmp_path):
    """The training is that of the longer run. So are its evaluations, if the shorter one ended at a due evaluation
    (``eval.every`` is 64); otherwise the shorter run's last evaluation is one row more."""
    whole = uninterrupted(algo, "acrobot", make=config)
    complete(config(tmp_path, algo, "acrobot", f"steps={first}"))
    longer = complete(config(tmp_path, algo, "acrobot"))
    a, b = files(whole), files(longer)
    assert a["metrics.csv"] == b["metrics.csv"]
    assert (a == b) == evaluations_equal
    rows = [row.split(b",")[0] for row in b["eval.csv"].splitlines() if row not in a["eval.csv"].splitlines()]
    assert rows == ([] if evaluations_equal else [b"96"])
    states = [final_state(run) for run in (whole, longer)]
    for state in states:
        del state["logs"], state["counters"]["best"]
    assert differences(*states) == []


def test_the_comparison_sees_a_single_bit(uninterrupted):
    a, b = (final_state(uninterrupted("ppo", "gym/Pendulum-v1")) for _ in range(2))
    assert differences(a, b) == []
    weight = b["agent"]["actor.log_std"]
    weight[0] = weight[0].nextafter(weight.new_tensor(9.0))
    assert ".agent.actor.log_std" in differences(a, b)
