"""``pompc.load``: an agent that acts outside of pompc acts as the evaluations of its run do."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small
import torch

import pompc
from pompc.errors import NonFiniteError, UserError
from pompc.training.evaluate import evaluate
from pompc.training.opening import open_checkpoint

CASES = {
    "tdmpc2": ("linear_system",),
    "ppo": ("acrobot",),
    "adaptive_hrl": ("acrobot", "algo.decision_steps=3", "algo.execute_steps=2"),
    "ac_mpc": ("acrobot", "seed=3", "planner.change_cost=0.1"),
}


ALONE = ["algo.num_proposals=0", "planner.init_std=0.1"]
"""Else proposals and bounds hide the warm start."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    made = {}

    def get(algo):
        if algo not in made:
            spec = small.config(tmp_path_factory.mktemp(algo), algo, *CASES[algo], "eval.diagnose=false")
            made[algo] = small.complete(spec)
        return made[algo]

    return get


def play(agent, family, seed, *, torch_in=False):
    """Play the first episode of an environment by hand; return the sum of its rewards and its length."""
    env = family.vectorise(1, seed=seed)
    td = env.reset()
    total, steps, done = 0.0, 0, False
    while not done:
        observation = td["observation"][0]
        action = agent.act(observation if torch_in else observation.numpy())
        td["action"] = torch.as_tensor(action)[None]
        td = env.step(td)["next"]
        total, steps, done = total + td["reward"].item(), steps + 1, bool(td["done"])
    return total, steps


@pytest.mark.parametrize("algo", CASES)
def test_an_episode_played_by_hand_is_that_of_an_evaluation(algo, runs):
    opened = open_checkpoint(runs(algo) / "checkpoints" / "last.pt")
    parts, seed = opened.parts, opened.spec.options.seed
    expected = evaluate(parts.agent, parts.family, episodes=1, seed=7, noise_seed=seed).episodes[0]
    agent = pompc.load(runs(algo))
    total, steps = play(agent, parts.family, 7)
    assert total == pytest.approx(expected["reward"], rel=1e-6)
    assert steps == expected["length"] > 3


def test_the_warm_start_is_kept_until_a_reset(runs):
    observation = np.full(pompc.load(runs("tdmpc2")).observation_shape, 0.1, np.float32)
    kept, forgetful = (pompc.load(runs("tdmpc2"), overrides=ALONE) for _ in range(2))
    assert np.array_equal(kept.act(observation), forgetful.act(observation)), "the same seed, the same action"
    forgetful.reset()
    actions = [[agent.act(observation) for _ in range(6)] for agent in (kept, forgetful)]
    assert not np.array_equal(*actions)


def test_a_reset_of_some_environments_leaves_the_others_their_warm_start(runs):
    one, other = (pompc.load(runs("tdmpc2"), overrides=ALONE) for _ in range(2))
    batch = np.full((2, *one.observation_shape), 0.1, np.float32)
    one.act(batch), other.act(batch)
    one.reset(np.array([False, True]))
    actions, others = (np.stack([agent.act(batch) for _ in range(6)]) for agent in (one, other))
    assert np.array_equal(actions[:, 0], others[:, 0])
    assert not np.array_equal(actions[:, 1], others[:, 1])


@pytest.mark.parametrize("batch", [(), (3,)])
def test_the_action_comes_as_the_observation_went(batch, runs):
    agent = pompc.load(runs("ppo"))
    array = np.ones((*batch, *agent.observation_shape))
    out = agent.act(array)
    assert isinstance(out, np.ndarray)
    assert (out.shape, out.dtype) == ((*batch, agent.action_dim), np.float32)
    tensor = agent.act(torch.from_numpy(array))
    assert isinstance(tensor, torch.Tensor)
    assert np.array_equal(tensor.numpy(), out)
    assert np.abs(out).max() <= 1


def test_the_policy_acts_if_asked_and_the_planner_if_not(runs):
    planner, policy = pompc.load(runs("tdmpc2"), policy=False), pompc.load(runs("tdmpc2"), policy=True)
    observation = torch.ones(planner.observation_shape)
    mean = policy.agent.policy.sample(policy.agent.encode(observation[None])).mean
    assert torch.equal(policy.act(observation), policy.agent.policy.action(mean)[0])
    assert policy.agent.model_steps == planner.agent.model_steps, "no plan was made"
    before = planner.agent.model_steps
    planner(observation)
    assert planner.agent.model_steps > before
    with pytest.raises(UserError, match="no policy over actions"):
        pompc.load(runs("adaptive_hrl"), policy=True)


def test_acting_draws_no_global_random_numbers(runs):
    agent = pompc.load(runs("tdmpc2"))
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    agent.act(np.zeros(agent.observation_shape))
    assert torch.equal(torch.rand(2), expected)


def test_wrong_observations_are_refused_in_one_line(runs):
    agent = pompc.load(runs("ppo"))
    size = agent.observation_shape[0]
    with pytest.raises(UserError, match=rf"shape \[{size + 1}\]: acrobot has \[{size}\]"):
        agent.act(np.zeros(size + 1))
    with pytest.raises(NonFiniteError):
        agent.act(np.full(size, np.nan))
    agent.act(np.zeros((2, size)))
    with pytest.raises(UserError, match=r"3 observations after 2: call reset\(\)"):
        agent.act(np.zeros((3, size)))
    with pytest.raises(UserError, match="bool mask of 2"):
        agent.reset(np.array([1]))
    agent.reset()
    agent.act(np.zeros((3, size)))


def test_importing_pompc_imports_no_torch():
    code = "import sys, pompc; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        pompc.lode  # noqa: B018


def test_the_example_of_the_page_runs(runs):
    page = (Path(__file__).parent.parent.parent / "docs/robots.md").read_text()
    code = re.search(r"<!-- example: load -->\n```python\n(.*?)```", page, re.S)
    names = {"observation": np.zeros(pompc.load(runs("ppo")).observation_shape)}
    exec(re.sub(r'load\(".*?"', f'load("{runs("ppo")}"', code[1]), names)
    assert names["action"].shape == (1,)
