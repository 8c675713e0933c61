"""The replay gives slices of episodes in which every number encodes its origin."""

import io

import pytest
import torch
from tensordict import TensorDict

from pompc.data import replay as replay_module
from pompc.data.replay import SliceReplay
from pompc.errors import UserError


def stream(lengths, tail=0, episode_of=lambda env, episode: episode, dtype=torch.float32):
    """Make transitions ``[env, time]`` of episodes with ``lengths [env][episode]``, cut to the shortest environment.

    The observation is (environment, episode, step), the action its negative. Every second episode terminates, the others
    are truncated. The data end with ``tail`` steps of a running episode.
    """
    envs = []
    for env, episodes in enumerate(lengths):
        steps = []
        for episode, length in enumerate([*episodes, tail]):
            for step in range(length):
                last = step == length - 1 and episode < len(episodes)
                name = episode_of(env, episode)
                steps.append((env, name, step, last and episode % 2 == 0, last))
        envs.append(torch.tensor(steps, dtype=torch.float32))
    data = torch.stack([env[: min(map(len, envs))] for env in envs])
    here, following = data[..., :3], data[..., :3] + torch.tensor([0.0, 0.0, 1.0])
    return TensorDict(
        {
            "observation": here.to(dtype),
            "action": -here - 1,
            "plan": here[..., 2:, None].expand(-1, -1, 2, 3) + 1,
            "ignored": here,
            "next": {
                "observation": following.to(dtype),
                "reward": here[..., 2:] + 1,
                "terminated": data[..., 3:4].bool(),
                "done": data[..., 4:].bool(),
            },
        },
        batch_size=data.shape[:2],
    )


def random_lengths(num_envs, episodes):
    return torch.randint(1, 51, (num_envs, episodes)).tolist()


def feed(replay, data, chunk):
    for part in data.split(chunk, dim=1):
        replay.extend(part)


def every_start(replay, draws=20_000):
    """Collect the (environment, episode, step) of all slices in many draws."""
    batch, _ = replay.sample(draws)
    return {tuple(start) for start in batch["observation"][0].int().tolist()}


def assert_equal_samples(first, second, count=5):
    for _ in range(count):
        state = torch.get_rng_state()
        batch, indices = first.sample(32)
        torch.set_rng_state(state)
        again, same = second.sample(32)
        assert torch.equal(indices, same)
        assert set(batch.keys()) == set(again.keys())
        for name, value in batch.items():
            assert value.dtype == again[name].dtype
            assert torch.equal(value, again[name]), name


@pytest.mark.parametrize(("capacity", "num_envs"), [(10_000, 3), (600, 3), (100, 1), (45, 4)])
def test_every_slice_is_what_was_written_in_one_finished_episode(capacity, num_envs):
    steps, lengths = 4, random_lengths(num_envs, 12)
    data = stream(lengths)
    replay = SliceReplay(capacity, num_envs, steps, extras=("plan",))
    ends = torch.zeros(num_envs, dtype=torch.long)
    for time in range(data.shape[1]):
        replay.extend(data[:, time : time + 1])
        ends += data["next", "done"][:, time, 0]
        if time % 13 or not replay.num_starts:
            continue
        batch, indices = replay.sample(64)
        assert batch.batch_size == indices.shape == (steps + 1, 64)
        env, episode, step = batch["observation"].unbind(-1)
        assert bool((env == env[0]).all())
        assert bool((episode == episode[0]).all())
        assert torch.equal(step, step[0] + torch.arange(steps + 1.0)[:, None].expand_as(step))
        assert bool((episode[0].long() < ends[env[0].long()]).all()), "a slice of a running episode"
        length = torch.tensor(lengths)[env[0].long(), episode[0].long()]
        assert bool((step[-1] <= length).all())
        # All but the last slot carry their own step.
        assert torch.equal(batch["action"][:-1], -batch["observation"][:-1] - 1)
        assert torch.equal(batch["reward"][:-1, :, 0], step[:-1] + 1)
        assert torch.equal(batch["plan"][:-1], (step[:-1] + 1)[..., None, None].expand(-1, -1, 2, 3))
        last = (step[:-1] == length - 1) & (episode[:-1] % 2 == 0)
        assert torch.equal(batch["terminated"][:-1, :, 0], last.float())
        final = step[-1] == length
        for name in ("action", "reward", "plan", "terminated"):
            assert not bool(batch[name][-1, final].any()), f"{name} in a final slot"
        assert set(batch.keys()) == {"observation", "action", "reward", "terminated", "plan"}
    assert len(replay) <= capacity


@pytest.mark.parametrize("capacity", [10_000, 300])
def test_the_starts_are_exactly_those_with_all_slots_still_stored(capacity):
    steps, lengths = 3, random_lengths(2, 15)
    data = stream(lengths, tail=7)
    replay = SliceReplay(capacity, 2, steps)
    feed(replay, data, 1)
    expected = set()
    for env in range(2):
        written = []  # observations of this environment, in order
        for time in range(data.shape[1]):
            written.append(tuple(data["observation"][env, time].int().tolist()))
            if data["next", "done"][env, time]:
                written.append(tuple(data["next", "observation"][env, time].int().tolist()))
        finished = int(data["next", "done"][env].sum())
        kept = set(written[-(capacity // 2) :])
        expected |= {
            (env, episode, step)
            for _, episode, step in kept
            if episode < finished and all((env, episode, step + k) in kept for k in range(steps + 1))
        }
    assert replay.num_starts == len(expected)
    assert every_start(replay) == expected


@pytest.mark.parametrize("chunk", [2, 7, 1000])
def test_the_content_does_not_depend_on_the_size_of_the_writes(chunk):
    data = stream(random_lengths(3, 10))
    one, many = SliceReplay(400, 3, 5), SliceReplay(400, 3, 5)
    feed(one, data, 1)
    feed(many, data, chunk)
    assert len(one) == len(many)
    assert one.num_starts == many.num_starts
    assert_equal_samples(one, many)


def test_a_running_episode_is_never_sampled():
    replay = SliceReplay(1000, 1, 3)
    replay.extend(stream([[]], tail=50))
    assert (len(replay), replay.num_starts) == (50, 0)
    with pytest.raises(UserError, match="no finished episode of at least 3 steps"):
        replay.sample(1)
    replay.extend(stream([[10]], tail=30, episode_of=lambda env, episode: episode + 7))
    assert replay.num_starts == 60 - 3 + 1  # the running 50 and 10 more are one episode
    assert {episode for _, episode, _ in every_start(replay, 2000)} == {0, 7}


def test_an_episode_too_short_for_a_slice_is_kept_but_never_sampled():
    replay = SliceReplay(1000, 1, 5)
    replay.extend(stream([[4, 5, 1, 6]]))
    assert len(replay) == 4 + 5 + 1 + 6 + 4
    assert every_start(replay, 200) == {(0, 1, 0), (0, 3, 0), (0, 3, 1)}


def test_a_partially_overwritten_episode_loses_only_the_slices_that_touch_overwritten_slots():
    replay = SliceReplay(30, 1, 3)
    replay.extend(stream([[19]]))  # 20 slots
    replay.extend(stream([[]], tail=15, episode_of=lambda env, episode: 1))  # 15 more: the first 5 are gone
    assert (len(replay), replay.num_starts) == (30, 12)
    assert every_start(replay, 1000) == {(0, 0, step) for step in range(5, 17)}


def test_an_episode_longer_than_the_ring_keeps_its_end():
    replay = SliceReplay(30, 1, 3)
    replay.extend(stream([[100]]))
    assert (len(replay), replay.num_starts) == (30, 27)
    assert every_start(replay, 2000) == {(0, 0, step) for step in range(71, 98)}


@pytest.mark.parametrize("lengths", [[10, 100, 500], [10] * 40])  # the starts are half of the slots, or few
@pytest.mark.parametrize("steps", [4, 10])
def test_starts_are_drawn_uniformly(lengths, steps):
    replay = SliceReplay(2000, 1, steps)
    replay.extend(stream([lengths]))
    starts = sum(length - steps + 1 for length in lengths)
    assert replay.num_starts == starts
    draws = 200 * starts
    _, indices = replay.sample(draws)
    counts = indices[0].bincount()
    counts = counts[counts > 0]
    assert len(counts) == starts
    # Chi-square has `starts - 1` degrees of freedom: its mean is their number, its variance twice their number.
    statistic = float(((counts - 200.0) ** 2 / 200.0).sum())
    assert abs(statistic - (starts - 1)) < 5 * (2 * (starts - 1)) ** 0.5


def test_starts_are_drawn_uniformly_over_environments_of_unequal_fill():
    data = stream([[10] * 90, [900]])
    replay = SliceReplay(4000, 2, 4)
    replay.extend(data)
    batch, _ = replay.sample(40_000)
    share = (batch["observation"][0, :, 0] == 0).float().mean()
    assert share.item() == pytest.approx(90 * 7 / (90 * 7 + 897), abs=0.015)


def test_update_overwrites_the_fields_of_the_drawn_slots_and_nothing_else():
    replay = SliceReplay(500, 2, 4, extras=("plan",))
    replay.extend(stream(random_lengths(2, 6)))
    before = replay.state_dict()["slots"]
    _, indices = replay.sample(32)
    chosen = indices[:3, :20]
    new = chosen[..., None, None].expand(-1, -1, 2, 3).float() + 1000  # the same wherever a slot occurs
    replay.update(chosen, {"plan": new})
    written = replay.state_dict()["slots"]
    assert int((written["plan"] != before["plan"]).any(-1).any(-1).sum()) == len(chosen.unique())
    for name in set(before) - {"plan"}:
        assert torch.equal(written[name], before[name])
    batch, drawn = replay.sample(500)
    touched = torch.isin(drawn, chosen)
    assert bool(touched.any())
    assert torch.equal(batch["plan"][touched], drawn[touched][:, None, None].expand(-1, 2, 3).float() + 1000)
    assert bool((batch["plan"][~touched] < 1000).all())


def test_a_repeated_slot_keeps_its_last_update():
    replay = SliceReplay(100, 1, 2, extras=("plan",))
    replay.extend(stream([[20]]))
    values = torch.arange(60.0)[:, None, None].expand(-1, 2, 3)
    replay.update(torch.tensor([5, 3, 5, 7, 3]).repeat(12), {"plan": values})
    stored = replay.state_dict()["slots"]["plan"][:, 0, 0]
    assert stored[[3, 5, 7]].tolist() == [59.0, 57.0, 58.0]


def test_update_names_what_is_stored_and_refuses_other_shapes():
    replay = SliceReplay(100, 1, 2, extras=("plan",))
    replay.extend(stream([[20]]))
    _, indices = replay.sample(4)
    with pytest.raises(KeyError, match=r"does not store plans; it stores .*plan"):
        replay.update(indices, {"plans": torch.zeros(3, 4, 2, 3)})
    with pytest.raises(ValueError, match=r"plan of shape \[3, 4, 1, 3\]"):
        replay.update(indices, {"plan": torch.zeros(3, 4, 1, 3)})


@pytest.mark.parametrize("capacity", [10_000, 300])
def test_a_state_through_a_file_continues_bit_for_bit(capacity):
    data = stream(random_lengths(3, 14))
    half = data.shape[1] // 2
    replay, loaded = (SliceReplay(capacity, 3, 4, extras=("plan",)) for _ in range(2))
    feed(replay, data[:, :half], 1)
    file = io.BytesIO()
    torch.save(replay.state_dict(), file)
    file.seek(0)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    assert (len(loaded), loaded.num_starts) == (len(replay), replay.num_starts)
    assert_equal_samples(replay, loaded)
    # Running episodes continue too.
    feed(replay, data[:, half:], 1)
    feed(loaded, data[:, half:], 50)
    assert loaded.num_starts == replay.num_starts
    assert_equal_samples(replay, loaded)


def test_a_state_is_compact_and_a_copy():
    replay = SliceReplay(100_000, 1, 2)
    replay.extend(stream([[20]]))
    state = replay.state_dict()
    file = io.BytesIO()
    torch.save(state, file)
    assert file.tell() < 10_000
    reward = state["slots"]["reward"].clone()
    replay.update(torch.arange(21), {"reward": torch.full((21, 1), -5.0)})
    assert torch.equal(state["slots"]["reward"], reward)
    # Loading also replaces earlier content.
    replay.extend(stream([[300]]))
    replay.load_state_dict(state)
    assert len(replay) == 21
    assert torch.equal(replay.state_dict()["slots"]["reward"], reward)


def test_an_empty_state_loads():
    replay, loaded = SliceReplay(100, 2, 2), SliceReplay(100, 2, 2)
    loaded.extend(stream([[20], [20]]))
    loaded.load_state_dict(replay.state_dict())
    assert (len(loaded), loaded.num_starts) == (0, 0)
    loaded.extend(stream([[20], [20]]))
    assert loaded.num_starts == 2 * 19


@pytest.mark.parametrize("other", [(101, 2, 2), (100, 1, 2), (100, 2, 3)])
def test_a_state_of_another_shape_is_refused_in_one_line(other):
    with pytest.raises(UserError, match=r"(capacity|num_envs|slice_steps)=.*this one \1=") as error:
        SliceReplay(*other).load_state_dict(SliceReplay(100, 2, 2).state_dict())
    assert "\n" not in str(error.value)


def test_pixels_stay_bytes():
    replay, loaded = SliceReplay(100, 1, 2), SliceReplay(100, 1, 2)
    replay.extend(stream([[20]], dtype=torch.uint8))
    loaded.load_state_dict(replay.state_dict())
    for one in (replay, loaded):
        assert one.sample(4)[0]["observation"].dtype == torch.uint8
        assert one.state_dict()["slots"]["terminated"].dtype == torch.bool


def test_a_capacity_below_one_slice_per_environment_is_refused():
    SliceReplay(4 * 12, 4, 10)
    with pytest.raises(UserError, match="raise it to at least 48"):
        SliceReplay(4 * 12 - 1, 4, 10)


def test_data_of_another_number_of_environments_is_refused():
    with pytest.raises(ValueError, match="1 environments in a replay for 2"):
        SliceReplay(100, 2, 2).extend(stream([[20]]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_replay_on_cuda_draws_what_one_on_the_cpu_draws():
    data = stream(random_lengths(3, 14))
    cpu, cuda, loaded = (SliceReplay(300, 3, 4, device, ("plan",)) for device in ("cpu", "cuda", "cuda"))
    feed(cpu, data, 5)
    feed(cuda, data.to("cuda"), 5)
    loaded.load_state_dict(cpu.state_dict())
    for replay in (cuda, loaded):
        state = torch.get_rng_state()
        expected, slots = cpu.sample(64)
        torch.set_rng_state(state)
        batch, indices = replay.sample(64)
        assert indices.is_cuda
        assert torch.equal(indices.cpu(), slots)
        assert all(torch.equal(batch[name].cpu(), value) for name, value in expected.items())
        replay.update(indices, {"plan": torch.zeros(5, 64, 2, 3)})


def test_a_replay_that_does_not_fit_into_the_memory_says_how_large_it_is(monkeypatch):
    def refuse(self, index, data):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(replay_module.LazyTensorStorage, "set", refuse)
    replay = SliceReplay(1_000_000, num_envs=1, slice_steps=2)
    with pytest.raises(UserError, match=r"1,000,000 observations needs 0\.0 GB of cpu memory.* lower algo.buffer_size"):
        replay.extend(stream([[3]]))
