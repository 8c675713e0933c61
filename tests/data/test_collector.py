"""The collector continues bit for bit and lets no bad action through."""

from types import SimpleNamespace

import pytest
import torch
from toy import PointEnv, Toy, ToyConfig

from pompc.data.collector import ActionBoundsError, make_collector
from pompc.errors import NonFiniteError

ENVS = 4


def make(seed: int = 0, **options: object):
    torch.manual_seed(seed)
    problem = SimpleNamespace(observation_dim=2, action_dim=1, num_envs=ENVS, device=torch.device("cpu"))
    agent = Toy(ToyConfig(**options), problem)
    return make_collector(PointEnv(ENVS, seed, "cpu"), agent, ENVS * 7)


def equal(a, b) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a.keys(include_nested=True, leaves_only=True))


def test_batches_are_continuous_and_episodes_are_summed():
    collector = make()
    batch = torch.cat([collector.rollout(), collector.rollout(), collector.rollout()], dim=-1)
    done = batch["next", "done"][:, :-1, 0]
    assert batch.shape == (ENVS, 21)
    assert done.any()
    for key in ("observation", "memory", "episode_reward"):
        followed = batch["next", key][:, :-1][~done]
        assert torch.equal(followed, batch[key][:, 1:][~done]), key
    assert torch.equal(batch["is_init"][:, 1:, 0], done)
    assert not batch["memory"][batch["is_init"].squeeze(-1)].any()
    first = int(done[0].nonzero()[0])
    torch.testing.assert_close(
        batch["next", "episode_reward"][0, first], batch["next", "reward"][0, : first + 1].sum(0)
    )


@pytest.mark.parametrize("before", [0, 1, 3])
def test_a_restored_collector_continues_bit_for_bit(before, tmp_path):
    whole = make()
    for _ in range(before):
        whole.rollout()
    torch.save({"collector": whole.snapshot(), "rng": torch.get_rng_state()}, tmp_path / "state.pt")
    expected = [whole.rollout() for _ in range(3)]

    resumed = make(seed=5)
    resumed.policy.load_state_dict(whole.policy.state_dict())
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed.restore(state["collector"])
    torch.set_rng_state(state["rng"])
    assert all(equal(batch, resumed.rollout()) for batch in expected)


def test_a_snapshot_does_not_change_when_collection_goes_on():
    collector = make()
    collector.rollout()
    state = collector.snapshot()
    observation = state["carrier"]["observation"].clone()
    collector.rollout()
    assert torch.equal(state["carrier"]["observation"], observation)
    assert not torch.equal(collector.carried["observation"], observation)


def test_a_state_of_another_agent_is_refused():
    collector = make()
    state = collector.snapshot()
    del state["carrier"]["memory"]
    with pytest.raises(ValueError, match="memory"):
        collector.restore(state)


@pytest.mark.parametrize(
    ("option", "error"), [("nan_action", NonFiniteError), ("too_far", ActionBoundsError)], ids=["nan", "out of bounds"]
)
def test_a_bad_action_never_reaches_the_environment(option, error):
    collector = make(**{option: True})
    start = collector.carried["observation"].clone()
    with pytest.raises(error, match="action"):
        collector.rollout()
    assert torch.equal(collector.env.base_env._position[:, 0], start[:, 0])


def test_the_agent_itself_acts_and_a_wrong_batch_size_is_refused():
    collector = make()
    assert isinstance(collector.policy, Toy)
    before = collector.policy.model_steps
    collector.rollout()
    assert collector.policy.model_steps == before + ENVS * 7
    with pytest.raises(ValueError, match="multiple of num_envs"):
        make_collector(PointEnv(ENVS, 0, "cpu"), collector.policy, ENVS * 7 + 1)
