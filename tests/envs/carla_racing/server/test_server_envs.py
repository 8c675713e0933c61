"""A pool of CARLA servers as the environments of one batch."""

from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from served import embedded, family
from torchrl.envs import check_env_specs

from pompc.data.broken import count, cut, intact
from pompc.data.collector import make_collector
from pompc.envs.carla_racing.server.env import FAULTS
from pompc.errors import Unavailable, UserError
from pompc.training.evaluate import evaluate

SHORT = {"time_limit": 1.0, "num_opponents": 1}


class Coasting(torch.nn.Module):
    """An agent with neither state nor parameters; ``before`` is called at every action."""

    def __init__(self, before=lambda tensordict: None):
        super().__init__()
        self.before = before

    model_steps, planner, filter = 0, None, None
    problem = SimpleNamespace(device=torch.device("cpu"), episode_length=1000)

    def primers(self):
        return {}

    def forward(self, tensordict):
        self.before(tensordict)
        tensordict["action"] = torch.tensor([[0.0, 0.3]]).expand(len(tensordict), 2).clone()
        return tensordict


def seed_of(base, index, episode):
    """Seed of an environment's episode, by the rule of every other vectorised environment."""
    return int(np.random.SeedSequence([base, index, episode]).generate_state(1)[0])


def test_torchrl_accepts_it(servers):
    with closing(family(*servers, **SHORT).vectorise(2, seed=0)) as env:
        check_env_specs(env)


def test_every_environment_plays_an_episode_of_the_embedded_task(servers):
    with closing(family(*servers, **SHORT).vectorise(2, seed=7)) as env:
        envs = [embedded(**SHORT).make() for _ in range(2)]
        for episode in range(2):
            td = env.reset()
            seen = np.stack([one.reset(seed=seed_of(7, i, episode))[0] for i, one in enumerate(envs)])
            np.testing.assert_allclose(td["observation"].numpy(), seen, atol=2e-5)
            for _ in range(20):
                td["action"] = torch.rand(2, 2) * 2 - 1
                after = env.step(td)["next"]
                results = [one.step(action) for one, action in zip(envs, td["action"].numpy(), strict=True)]
                np.testing.assert_allclose(after["observation"].numpy(), np.stack([r[0] for r in results]), atol=2e-5)
                np.testing.assert_allclose(after["reward"][:, 0].numpy(), [r[1] for r in results], atol=2e-5)
                assert after["terminated"][:, 0].tolist() == [r[2] for r in results]
                assert after["truncated"][:, 0].tolist() == [r[3] for r in results]
                if after["done"].any():
                    break
                td = after.exclude("reward")
            assert after["done"].any()


def test_one_environment_is_reset_without_the_other(servers):
    with closing(family(*servers, **SHORT).vectorise(2, seed=0)) as env:
        td = env.reset()
        td["action"] = torch.zeros(2, 2)
        after = env.step(td)["next"]
        again = env.reset(after.clone().set("_reset", torch.tensor([[False], [True]])))
        assert torch.equal(again["observation"][0], after["observation"][0])
        assert not torch.equal(again["observation"][1], after["observation"][1])
        again["action"] = torch.zeros(2, 2)
        assert env.step(again)["next", "broken"].tolist() == [[0.0], [0.0]]


def test_evaluation_borrows_the_servers_of_the_training(servers):
    pool = family(*servers, **SHORT)
    collector = make_collector(pool.vectorise(2, seed=0), Coasting(), 10)
    try:
        assert intact(collector.rollout()) is None
        with closing(pool.vectorise(1, seed=5)) as borrowed:
            borrowed.reset()
            assert borrowed.rollout(3)["next", "broken"].sum() == 0
        data = collector.rollout()
        assert count(data) == {"broken": 1.0}
        whole = intact(data)
        assert whole is not None
        assert whole.tolist() == [[False] + [True] * 4, [True] * 5]
        assert data["next", "truncated"][0, 0]
        np.testing.assert_array_equal(data["next", "observation"][0, 0], data["observation"][0, 0])
        assert data["is_init"][0, 1], "and then a new episode"
        assert intact(collector.rollout()) is None
    finally:
        collector.shutdown()


def test_an_evaluation_plays_the_same_episodes_on_any_number_of_servers(servers):
    played = [
        evaluate(Coasting(), family(*some, **SHORT), episodes=3, seed=11, noise_seed=0).episodes
        for some in (servers, servers[:1])
    ]
    assert len({episode["reward"] for episode in played[0]}) == 3
    for one, other in zip(*played, strict=True):
        assert one == pytest.approx(other, abs=1e-3, nan_ok=True)


@pytest.mark.filterwarnings("ignore:.*the episode ends here")
def test_an_episode_that_a_server_breaks_is_evaluated_again(servers):
    pool = family(*servers, timeout=2.0, retries=2, **SHORT)
    whole = evaluate(Coasting(), pool, episodes=2, seed=3, noise_seed=0).episodes
    faults = [1]

    def once(tensordict):
        if faults and int(tensordict["step_count"].max()) == 5:
            servers[faults.pop()].fault("drop_snapshots", 1)

    again = evaluate(Coasting(once), pool, episodes=2, seed=3, noise_seed=0).episodes
    assert faults == []
    for one, other in zip(again, whole, strict=True):
        assert one == pytest.approx(other, abs=1e-3, nan_ok=True)


def test_an_evaluation_whose_episodes_always_break_is_one_line(monkeypatch):
    monkeypatch.setattr("pompc.training.evaluate.broken_envs", lambda after: [1])
    with pytest.raises(Unavailable, match="the evaluation was broken off 5 times"):
        evaluate(Coasting(), embedded(**SHORT), episodes=2, seed=0, noise_seed=0)


def test_a_resumed_batch_goes_on_with_new_episodes(servers):
    first = make_collector(family(*servers, **SHORT).vectorise(2, seed=3), Coasting(), 10)
    first.rollout()
    state = first.snapshot()
    first.shutdown()
    second = make_collector(family(*servers, **SHORT).vectorise(2, seed=3), Coasting(), 10)
    try:
        second.restore(state)
        data = second.rollout()
        torch.testing.assert_close(data["observation"][:, 0], state["carrier"]["observation"])
        assert data["next", "broken"][..., 0].tolist() == [[1.0] + [0.0] * 4] * 2
        expected = embedded(**SHORT).make().reset(seed=seed_of(3, 1, state["env"]["episodes"][1] + 1))[0]
        np.testing.assert_allclose(data["observation"][1, 1].numpy(), expected, atol=2e-5)
    finally:
        second.shutdown()
    with (
        closing(family(servers[0], **SHORT).vectorise(1, seed=0)) as other,
        pytest.raises(UserError, match="not of 1 CARLA servers"),
    ):
        other.restore(state["env"])


def test_a_server_that_fails_breaks_its_environment_alone(servers):
    pool = family(*servers, timeout=2.0, retries=2, **SHORT)
    collector = make_collector(pool.vectorise(2, seed=0), Coasting(), 20)
    try:
        collector.rollout()
        servers[1].fault("drop_snapshots", 1)
        with pytest.warns(UserWarning, match=f"{servers[1].port}: tick: no answer"):
            data = collector.rollout()
        assert data["next", "broken"][..., 0].sum(1).tolist() == [0.0, 1.0]
        assert set(FAULTS) <= set(data["next"].keys())
        ends = cut(data)["next", "done"][..., 0]
        lost = int(data["next", "broken"][1, :, 0].argmax())
        assert lost == 0 or ends[1, lost - 1]
    finally:
        collector.shutdown()


def test_a_server_that_is_lost_ends_the_batch(servers):
    with closing(family(*servers, timeout=2.0, retries=0, **SHORT).vectorise(2, seed=0)) as env:
        td = env.reset()
        td["action"] = torch.zeros(2, 2)
        servers[0].fault("drop_snapshots", 1)
        servers[0].fault("refuse_spawn", 10_000)
        with pytest.warns(UserWarning, match=f"{servers[0].port}: "):
            after = env.step(td)["next"]
        assert after["broken"].tolist() == [[1.0], [0.0]]
        with pytest.raises(Unavailable, match=f"{servers[0].port} has failed 1 times"):
            env.reset()
