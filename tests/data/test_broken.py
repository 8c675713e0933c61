"""Nothing is learned from broken transitions, and episodes end before them."""

import pytest
import torch
from small import differences
from tensordict import TensorDict

from pompc.algorithms.ppo import PPO, PPOConfig
from pompc.data.broken import count, cut, intact, learnable
from pompc.data.replay import SliceReplay
from pompc.data.statistics import ReturnScale
from pompc.errors import Unavailable
from pompc.problem import Problem
from pompc.training.session import episode_statistics

ENVS, TIME = 3, 12
LOST = ((0, 4), (1, 0), (1, 11), (2, 7), (2, 8))  # environment and step; two are consecutive, one is first and one last


def transitions(lost=LOST):
    """Make random transitions with two ordinary ends and broken steps at ``lost``."""
    generator = torch.Generator().manual_seed(1)
    observation = torch.randn(ENVS, TIME + 1, 2, generator=generator)
    terminated = torch.zeros(ENVS, TIME, 1, dtype=torch.bool)
    terminated[0, 8] = terminated[2, 3] = True
    bad = torch.zeros(ENVS, TIME, 1)
    for env, step in lost:
        bad[env, step] = 1.0
        observation[env, step + 1] = observation[env, step]
    reward = torch.randn(ENVS, TIME, 1, generator=generator) * (1 - bad)
    action = torch.randn(ENVS, TIME, 1, generator=generator)
    after = {"observation": observation[:, 1:], "reward": reward, "broken": bad}
    after |= {"terminated": terminated, "truncated": bad > 0, "done": terminated | (bad > 0)}
    entries = {"observation": observation[:, :-1], "action": action, "policy_action": action, "next": after}
    entries["log_prob"] = -torch.rand(ENVS, TIME, generator=generator)
    return TensorDict(entries, batch_size=[ENVS, TIME])


def poisoned(data):
    """Fill the entries that belong only to broken transitions with nonsense."""
    data, bad = data.clone(), data["next", "broken"] > 0.5
    for key in ("action", "policy_action", ("next", "reward"), ("next", "observation")):
        data[key] = torch.where(bad, 1e6, data[key])
    data["log_prob"] = torch.where(bad.squeeze(-1), -50.0, data["log_prob"])
    return data


def learner(seed=0, **options):
    torch.manual_seed(seed)
    problem = Problem(
        observation_dim=2, action_dim=1, num_envs=ENVS, task_model=lambda: None, device=torch.device("cpu")
    )
    small = {
        "batch_size": 36,
        "minibatch_size": 8,
        "epochs": 2,
        "hidden_sizes": (8,),
        "ensemble_size": 2,
        "bootstrap": 0.7,
    }
    return PPO(PPOConfig(**{**small, **options}), problem)


def test_a_batch_without_broken_steps_is_left_alone():
    data = transitions(lost=())
    assert intact(data) is None
    assert count(data) == {"broken": 0.0}
    without = data.exclude(("next", "broken"))
    assert intact(without) is None
    assert count(without) == {}


def test_which_steps_are_broken():
    good = intact(transitions())
    assert good is not None
    assert [tuple(place) for place in (~good).nonzero().tolist()] == list(LOST)
    assert count(transitions()) == {"broken": 5.0}


def test_episodes_end_before_a_broken_step():
    data = transitions()
    ended = cut(data)
    new = (ended["next", "done"] & ~data["next", "done"]).squeeze(-1).nonzero().tolist()
    assert new == [[0, 3], [1, 10], [2, 6]], "the step before a batch cannot be changed, and a broken step is no end"
    assert torch.equal(ended["next", "terminated"], data["next", "terminated"]), "they are truncated"
    assert data["next", "done"].sum() == 7, "the collected data are not touched"
    with pytest.raises(Unavailable, match="all 4 transitions"):
        cut(transitions([(0, 0), (0, 1), (1, 0), (1, 1)])[:2, :2])


def test_what_can_be_learned_is_every_intact_transition():
    data = transitions()
    kept = learnable(poisoned(data))
    assert kept.batch_size == (31,)
    assert kept["next", "reward"].abs().max() < 10
    assert torch.equal(kept["observation"], data["observation"][intact(data)])
    assert torch.equal(kept["next", "done"], cut(data)["next", "done"][intact(data)])
    whole = transitions(lost=())
    assert torch.equal(learnable(whole)["observation"], whole["observation"].flatten(0, 1))


def test_on_policy_learning_does_not_look_at_broken_steps():
    data, agents = transitions(), []
    for batch in (data, poisoned(data)):
        agent = learner()
        torch.manual_seed(5)
        metrics = [agent.learn(batch) for _ in range(2)]
        agents.append((dict(agent.state_dict()), agent.training_state(), metrics))
    assert differences([*agents[0]], [*agents[1]]) == []
    assert agents[0][2][0]["terminated"] == pytest.approx(2 / 31)


def test_advantages_are_those_of_the_episodes_without_the_broken_steps():
    """The advantages of environment 0 equal those of its two episodes as two batches."""
    agent, data = learner(normalise_reward=False), transitions()
    good = intact(data)
    target, advantage = agent.value_target(cut(data))
    before, after = data[:1, :4].clone(), data[:1, 5:].clone()
    before["next", "done"][0, -1] = before["next", "truncated"][0, -1] = True
    for part, place in ((before, slice(0, 4)), (after, slice(5, TIME))):
        expected, gained = agent.value_target(part)
        torch.testing.assert_close(target[:1, place], expected)
        torch.testing.assert_close(advantage[:1, place], gained)
    batch = agent.real_batch(cut(data))
    assert len(batch) == int(good.sum()) == 31
    assert batch["advantage"].mean().item() == pytest.approx(0.0, abs=1e-6)
    assert batch["advantage"].std().item() == pytest.approx(1.0, abs=1e-5)


def test_episodes_that_were_broken_off_are_not_in_the_statistics():
    data = transitions()
    data["next", "episode_reward"] = torch.arange(ENVS * TIME, dtype=torch.float32).view(ENVS, TIME, 1)
    data["next", "step_count"] = torch.ones(ENVS, TIME, 1, dtype=torch.long)
    statistics = episode_statistics(data, ())
    assert statistics["episodes"] == 2
    assert statistics["return"] == pytest.approx((8 + 27) / 2)  # the two episodes that were not broken off


def test_the_std_of_returns_counts_intact_steps():
    reward, done = torch.ones(1, 4), torch.zeros(1, 4, dtype=torch.bool)
    scale = ReturnScale(1, 0.5)
    scale.update(reward, done, torch.tensor([[True, True, False, True]]))
    assert scale.moments.mean.item() == pytest.approx((1 + 1.5 + 1.875) / 3)


def test_a_replay_ends_the_episode_before_the_broken_step():
    """Every environment's ring equals a replay that got only the episodes without broken steps."""
    data = transitions()
    replay = SliceReplay(capacity=60, num_envs=ENVS, slice_steps=2)
    replay.extend(poisoned(data))
    for index in range(ENVS):
        single = SliceReplay(capacity=20, num_envs=1, slice_steps=2)
        begin = 0
        for end in [*(step for env, step in LOST if env == index), TIME]:
            part = data[index : index + 1, begin:end].clone()
            if end > begin:
                if end < TIME:
                    part["next", "done"][0, -1] = True
                single.extend(part)
            begin = end + 1
        state, alone = replay.state_dict(), single.state_dict()
        for name in ("cursor", "filled", "running"):
            assert state[name][index] == alone[name][0], (index, name)
        filled = replay._rings(replay._valid)[index]
        assert torch.equal(filled, single._rings(single._valid)[0])
        for name, column in replay._columns.items():
            assert torch.equal(replay._rings(column)[index], single._rings(single._columns[name])[0]), (index, name)
    batch, _ = replay.sample(200)
    assert batch["reward"].abs().max() < 10
    assert replay.num_starts == int(replay._valid.sum())
