"""Every algorithm plans, acts and updates on torch's ``meta`` device, whose tensors have no numbers.

So nothing is left on the CPU, and nothing waits for a device: both raise there. On-policy updates select transitions, and
so do imitation and the reanalysis of a replay; their updates are not tried.
"""

import dataclasses
from pathlib import Path

import pytest
import torch
from small import ALGORITHMS, ENVIRONMENTS
from tensordict import TensorDict
from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc.config.spec import configure
from pompc.training.assemble import assemble

ROOT = Path(__file__).parents[2]
META, ENV, BATCH = torch.device("meta"), "linear_system", 8
ON_POLICY = ("adaptive_hrl", "hrl_mpc", "subgoal")
STARTED = ("ac_mpc",)
"""Their networks start at numbers of the model, which has none here: they are not tried."""


@pytest.fixture(autouse=True)
def parameters_keep_their_identity(monkeypatch):
    """Let ``module.to("meta")`` keep the parameters that optimizers hold, as it does for every other device."""
    torch.__future__.set_swap_module_params_on_conversion(True)
    yield
    torch.__future__.set_swap_module_params_on_conversion(False)


def agent_on_meta(algo):
    options = ["num_envs=2", *ALGORITHMS[algo], f"algo.batch_size={BATCH}", *ENVIRONMENTS[ENV]]
    options += ["algo.start_at_nominal=false"] if algo in ON_POLICY else []  # it is copied into networks on the CPU
    spec = configure(algo, ENV, options)
    parts = assemble(spec)
    problem = dataclasses.replace(parts.agent.problem, device=META, task_model=lambda: parts.family.task_model(META))
    return type(parts.agent)(spec.algorithm_config, problem).to(META)


def start(agent):
    entries = {name: torch.zeros(2, *spec.shape, device=META) for name, spec in agent.primers().items()}
    entries["observation"] = torch.zeros(2, agent.problem.observation_dim, device=META)
    entries["is_init"] = torch.zeros(2, 1, dtype=torch.bool, device=META)
    return TensorDict(entries, batch_size=[2], device=META)


def sequences(agent):
    """A batch of an update, with everything that a replay may hold."""
    config, horizon, action = agent.config, agent.horizon, agent.problem.action_dim
    shape = (config.sequence_steps + 1, BATCH)
    sizes = {"observation": (agent.problem.observation_dim,), "action": (action,), "reward": (1,), "terminated": (1,)}
    sizes |= {"plan_mean": (action,), "plan_std": (action,), "planned_mean": (horizon, action), "done": (1,)}
    sizes |= {"next_plan": (horizon, action)}
    sizes |= {"planned": (config.virtual_count, horizon, action), "policy_acted": (1,)}
    entries = {name: torch.zeros(*shape, *size, device=META) for name, size in sizes.items()}
    return TensorDict(entries, batch_size=shape, device=META)


@pytest.mark.parametrize("algo", [algo for algo in ALGORITHMS if algo not in STARTED])
def test_an_agent_acts_and_explores_without_waiting(algo, monkeypatch):
    agent = agent_on_meta(algo)
    if hasattr(agent, "budget"):
        monkeypatch.setattr(type(agent.budget), "begun", True)  # past the seed phase, whose actions are random
    for kind in (ExplorationType.RANDOM, ExplorationType.DETERMINISTIC):
        with set_exploration_type(kind):
            acted = agent(start(agent))
        assert acted["action"].device == META
        assert acted["action"].shape == (2, agent.problem.action_dim)


OFF_POLICY = [algo for algo in ALGORITHMS if "algo.seed_steps=26" in ALGORITHMS[algo]]
DISAGREEMENT = ("adaptive_pompc", "mpq", "trust_expert")
"""Their dials follow the disagreement of the value heads, and a dial is a number of the host."""


@pytest.mark.parametrize("algo", DISAGREEMENT)
def test_an_update_waits_only_for_the_signal_of_a_dial(algo, monkeypatch):
    agent = agent_on_meta(algo)
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: None)
    agent.updates = 1
    with pytest.raises(RuntimeError, match="meta") as error:
        agent.update(sequences(agent))
    ours = [entry for entry in error.traceback if entry.path.is_relative_to(ROOT / "pompc")]
    assert ours[-1].path.name == "dials.py"
    assert agent.updates == 2  # everything else is done


@pytest.mark.parametrize("algo", [algo for algo in OFF_POLICY if algo not in DISAGREEMENT])
def test_an_update_does_not_wait(algo, monkeypatch):
    agent, flags = agent_on_meta(algo), []
    # Adam's fused kernel has no form for numbers that do not exist: everything up to its call is tried.
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: flags.append(self.found_inf))
    agent.updates = 1  # after the first update, and then rarely, the ranges of values are looked at
    metrics = agent.update(sequences(agent))
    assert agent.updates == 2
    assert flags
    assert {flag.device for flag in flags} == {META}
    assert {metrics[name].device for name in ("model_loss", "model_grad_norm")} == {META}


def test_waiting_is_noticed():
    with pytest.raises(RuntimeError, match="meta"):
        bool(torch.zeros((), device=META))
