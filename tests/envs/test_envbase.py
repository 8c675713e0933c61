"""Batched TorchRL environments of users: keys, actions, ends, autoreset, seeds and snapshots."""

import sys
import types

import pytest
import small
import torch
from tensordict import TensorDict
from torchrl.data import Bounded, Categorical, Composite, Unbounded
from torchrl.envs import EnvBase

from pompc import cli
from pompc.data.collector import make_collector
from pompc.envs.envbase import BatchedFamily, EnvBaseConfig
from pompc.errors import UserError


class Count(EnvBase):
    """Environment ``i`` counts its steps and ends after ``3 + i``; nested observations, actions in [0, 4]."""

    def __init__(self, num_envs, device, autoreset=False, unbounded=False):
        super().__init__(device=device, batch_size=[num_envs])
        self.autoreset, self.resets = autoreset, 0
        self.count, self.seen = torch.zeros(num_envs, 1), torch.zeros(num_envs, 2)
        n, one = (num_envs,), (num_envs, 1)
        policy = Composite(joints=Unbounded((num_envs, 2)), extra=Unbounded(one), shape=n)
        self.observation_spec = Composite(policy=policy, success=Unbounded(one), shape=n)
        self.action_spec = Unbounded((num_envs, 2)) if unbounded else Bounded(0.0, 4.0, (num_envs, 2))
        self.reward_spec = Unbounded(one)
        self.done_spec = Composite(
            {name: Categorical(2, one, dtype=torch.bool) for name in ("done", "terminated")}, shape=n
        )

    def _set_seed(self, seed):
        self.seed = seed

    def _observed(self):
        policy = TensorDict({"joints": self.seen.clone(), "extra": self.count.clone()}, batch_size=self.batch_size)
        return TensorDict({"policy": policy, "success": (self.count > 2).float()}, batch_size=self.batch_size)

    def _reset(self, tensordict=None, **_):
        mask = torch.ones_like(self.count, dtype=torch.bool)
        if tensordict is not None and "_reset" in tensordict:
            mask = tensordict["_reset"].view(-1, 1)
        self.resets += 1
        self.count = self.count.masked_fill(mask, 0)
        return self._observed()

    def _step(self, tensordict):
        self.seen, self.count = tensordict["action"].clone(), self.count + 1
        done = self.count >= 3 + torch.arange(len(self.count)).unsqueeze(1)
        reward = self.count.clone()
        if self.autoreset:
            self.count = self.count.masked_fill(done, 0)
        return self._observed().update({"reward": reward, "done": done, "terminated": done.clone()})


class Saved(Count):
    """The same with a state that can be saved."""

    def snapshot(self):
        return {"count": self.count.clone(), "seen": self.seen.clone()}

    def restore(self, state):
        self.count, self.seen = state["count"], state["seen"]


class Stateless(EnvBase):
    """A state that lies in the TensorDict alone, beside the observation: it grows by the action."""

    def __init__(self, num_envs, device):
        super().__init__(device=device, batch_size=[num_envs])
        n, one = (num_envs,), (num_envs, 1)
        self.observation_spec = Composite(state=Unbounded(one), observation=Unbounded(one), shape=n)
        self.state_spec = Composite(state=Unbounded(one), shape=n)
        self.action_spec, self.reward_spec = Bounded(-1.0, 1.0, one), Unbounded(one)

    def _set_seed(self, seed):
        torch.manual_seed(seed)

    def _reset(self, tensordict=None, **_):
        state = torch.rand(*self.batch_size, 1)
        return TensorDict({"state": state, "observation": 2 * state}, batch_size=self.batch_size)

    def _step(self, tensordict):
        state = tensordict["state"] + tensordict["action"]
        reward, done = state.clone(), torch.zeros_like(state, dtype=torch.bool)
        entries = {"state": state, "observation": 2 * state, "reward": reward, "done": done, "terminated": done.clone()}
        return TensorDict(entries, batch_size=self.batch_size)


@pytest.fixture(autouse=True)
def module(monkeypatch):
    found = types.ModuleType("my_batches")
    vars(found).update(Count=Count, Saved=Saved, Stateless=Stateless, other=lambda num_envs, device: 3)
    vars(found).update(half=lambda num_envs, device: Count(num_envs - 1, device))
    monkeypatch.setitem(sys.modules, "my_batches", found)


def family(name="Count", **options):
    options = {"observations": ("policy.joints", "policy.extra"), **options}
    return BatchedFamily(EnvBaseConfig(factory=f"my_batches:{name}", **options))


class Still:
    """An agent that carries nothing and acts by a constant."""

    def __init__(self, action=0.5, size=2):
        self.action, self.size = action, size

    def primers(self):
        return {}

    def __call__(self, tensordict):
        return tensordict.set("action", torch.full((*tensordict.batch_size, self.size), self.action))


def collected(env, steps, size=2):
    return make_collector(env, Still(size=size), env.batch_size.numel() * steps)


def test_entries_are_joined_and_actions_scaled():
    env = family(info_keys=("success",)).vectorise(3, seed=0)
    data = collected(env, 2).rollout()
    assert data["next", "observation"][0].tolist() == [[3.0, 3.0, 1.0], [3.0, 3.0, 2.0]], "0.5 of [0, 4] is 3"
    assert data["next", "success"].shape == (3, 2, 1)
    assert data["next", "reward"][:, :, 0].tolist() == [[1.0, 2.0]] * 3


@pytest.mark.parametrize("autoreset", [False, True])
def test_every_environment_begins_when_its_own_episode_has_ended(autoreset):
    env = family(kwargs={"autoreset": autoreset}, autoreset=autoreset).vectorise(3, seed=0)
    data = collected(env, 9).rollout()
    done = data["next", "done"][..., 0]
    assert [row.nonzero().flatten().tolist() for row in done] == [[2, 5, 8], [3, 7], [4]]
    assert torch.equal(data["next", "terminated"][..., 0], done)
    starts = torch.ones_like(done)
    starts[:, 1:] = done[:, :-1]
    assert torch.equal(data["observation"][..., 2] == 0, starts)
    final = data["next", "observation"][..., 2][done]
    assert final.tolist() == ([2.0, 2.0, 2.0, 3.0, 3.0, 4.0] if autoreset else [3.0, 3.0, 3.0, 4.0, 4.0, 5.0])
    assert env._env.resets == (1 if autoreset else 7), "an environment that resets itself is not reset again"


def test_a_limit_of_steps_truncates():
    env = family(episode_steps=4).vectorise(3, seed=0)
    data = collected(env, 8).rollout()
    ends = [row.nonzero().flatten().tolist() for row in data["next", "done"][..., 0]]
    assert ends == [[2, 5], [3, 7], [3, 7]]
    assert data["next", "terminated"][2].any().item() is False
    assert data["next", "terminated"][1].any().item() is True, "its own end comes first"
    assert family(episode_steps=4).episode_length == 4


def test_a_stateless_environment_keeps_its_state():
    batch = family("Stateless", observations=("observation",), episode_steps=3).vectorise(5, seed=1)
    data = collected(batch, 4, size=1).rollout()
    grown = data["next", "observation"] - data["observation"]
    torch.testing.assert_close(grown, torch.ones_like(grown))  # twice the action of 0.5
    assert data["observation"][:, 0, 0].unique().numel() == 5
    assert (data["observation"][:, 3] < 2).all(), "a new state after three steps"
    assert (data["observation"][:, 2] >= 2).all()


def test_an_environment_that_can_be_saved_goes_on_to_the_same_bits():
    one = collected(family("Saved").vectorise(3, seed=0), 2)
    one.rollout()
    state = one.snapshot()
    expected = one.rollout()
    two = collected(family("Saved").vectorise(3, seed=0), 2)
    two.restore(state)
    assert small.differences(two.rollout().to_dict(), expected.to_dict()) == []


def test_an_environment_that_cannot_be_saved_goes_on_with_a_broken_step():
    one = collected(family().vectorise(3, seed=0), 2)
    last = one.rollout()["next", "observation"][:, -1]
    two = collected(family().vectorise(3, seed=0), 2)
    two.restore(one.snapshot())
    assert small.differences(two.snapshot()["env"], one.snapshot()["env"]) == []
    data = two.rollout()
    assert data["next", "broken"][..., 0].tolist() == [[1.0, 0.0]] * 3
    assert torch.equal(data["observation"][:, 0], last)
    assert data["next", "done"][:, 0].all()
    assert (data["observation"][:, 1, 2] == 0).all(), "and then with new episodes"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("half", {}, r"makes a batch of size \[1\] for num_envs=2"),
        ("other", {}, "makes a int, no torchrl.envs.EnvBase"),
        ("none", {}, "envbase/my_batches:none: my_batches has no none"),
        (
            "Count",
            {"observations": ("policy",)},
            "no entry 'policy' .* there are: policy.joints, policy.extra, success",
        ),
        ("Count", {"info_keys": ("policy.joints",)}, r"names 'policy.joints' of shape \[2, 2\], not one number"),
        ("Count", {"kwargs": {"unbounded": True}}, "unbounded actions: set env.action_limit"),
        ("Count", {"kwargs": {"mass": 1}}, "cannot be made with num_envs, device and env.kwargs"),
    ],
)
def test_what_does_not_fit_is_one_line(name, options, message):
    with pytest.raises(UserError, match=message) as found:
        family(name, **options).vectorise(2, seed=0)
    assert "\n" not in str(found.value)


def test_a_limit_bounds_unbounded_actions():
    env = family(kwargs={"unbounded": True}, action_limit=10.0).vectorise(2, seed=0)
    assert collected(env, 1).rollout()["next", "observation"][0, 0, 0] == 5.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env", "envbase/no_such_module:Env"], "cannot be imported: No module named 'no_such_module'"),
        (["--env", "envbase"], "write --env envbase/my_module:MyEnv"),
        (["--env", "envbase/a:B", "env.kwargs={num_envs: 3}"], "env.kwargs has a num_envs, which pompc gives"),
    ],
)
def test_the_command_line_says_what_is_wrong(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", "--algo", "ppo", "wandb.mode=disabled", *arguments]) == 2
    assert message in capsys.readouterr().err
