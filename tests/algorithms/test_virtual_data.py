"""rho of adaptive_hrl: which transitions are virtual, their weight, and the networks that learn from them."""

from itertools import pairwise

import pytest
import torch
from hierarchy import collect, hierarchical
from line import LineModel
from tensordict import TensorDict

from pompc.dials import ScheduleConfig
from pompc.models import KnownModel
from pompc.onpolicy.mixing import MIXES
from pompc.onpolicy.virtual_targets import bootstrapped_share, virtual_targets


@pytest.mark.parametrize(
    ("mix", "rho", "real", "virtual"),
    [
        ("sampling", 0.5, 8, 8),
        ("sampling", 0.25, 12, 4),
        ("sampling", 1.0, 0, 16),
        ("loss", 0.5, 16, 16),
        ("loss", 0.25, 16, 16),
        ("loss", 1.0, 0, 16),
        ("sampling", 0.0, 16, 0),
        ("loss", 0.0, 16, 0),
    ],
)
def test_mix_and_rho_set_the_samples_and_weights_of_a_minibatch(mix, rho, real, virtual):
    agent = hierarchical(mix=mix, virtual_ratio=rho)
    both = [TensorDict({"index": start + torch.arange(64)}, batch_size=[64]) for start in (0, 1000)]
    steps = list(agent.minibatches(*both, [torch.randperm(64) for _ in range(2)]))
    assert [len(batch) for batch, _ in steps] == [16] * 8  # two epochs, whatever rho is
    assert sorted(torch.cat([batch["index"] for batch, _ in steps]).tolist()) == sorted([*range(64), *range(64)])
    for batch, groups in steps:
        shares = [(1 - rho, real), (rho, virtual)]
        assert [(weight, len(samples)) for weight, samples in groups] == [share for share in shares if share[1]]
        if real:
            assert torch.equal(groups[0][1]["index"], batch["index"][:real])
        if virtual:
            assert groups[-1][1]["index"].min() >= 1000
            assert groups[-1][1]["mask"].shape == (virtual, 5)


@pytest.mark.parametrize("mix", MIXES)
def test_rho_changes_the_values_and_nothing_else(mix):
    """On the same transitions gradient steps, learning rate and policy are equal to the last bit."""
    agent = hierarchical(mix=mix, virtual_ratio=0.5)
    (data,) = collect(agent)
    start = {key: value.clone() for key, value in agent.state_dict().items()}
    steps, policies, values = set(), [], []
    for rho in (0.0, 0.1, 0.3, 0.5, 0.8, 1.0):
        other = hierarchical(mix=mix, virtual_ratio=rho)
        other.load_state_dict(start)
        torch.manual_seed(1)
        metrics = other.learn(data.clone())
        steps.add((metrics["gradient_steps"], metrics["learning_rate"]))
        policies.append(torch.cat([p.detach().flatten() for p in other.actor.parameters()]))
        values.append(torch.cat([p.detach().flatten() for p in other.values.parameters()]))
    assert steps == {(8.0, 7e-4)}  # two epochs of four minibatches
    assert all(torch.equal(policy, policies[0]) for policy in policies)
    assert not any(torch.equal(a, b) for a, b in pairwise(values))


@pytest.mark.parametrize("rho", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("mix", MIXES)
def test_virtual_targets_have_the_share_rho_of_the_value_loss(mix, rho):
    # Every value function sees every sample, and virtual samples have the weight of real ones.
    agent = hierarchical(mix=mix, virtual_ratio=0.5, batch_size=32, bootstrap=1.0, virtual_weight="equal")
    (data,) = collect(agent)
    real, virtual = agent.real_batch(data), agent.virtual_batch(data)
    virtual["value_target"].fill_(1e6)  # far from the target the Huber loss is the distance
    agent.virtual_ratio.value = rho
    losses = [agent.step(*samples)["value_loss"] for samples in agent.minibatches(real, virtual, [torch.randperm(32)])]
    assert losses == pytest.approx([rho * 1e6] * len(losses), rel=1e-3, abs=10)


def test_virtual_transitions_move_the_values_and_leave_the_policy_as_it_is():
    first, second = hierarchical(virtual_ratio=0.5), hierarchical(virtual_ratio=0.5)
    second.load_state_dict(first.state_dict())
    (data,) = collect(first)
    batch, groups = next(first.minibatches(first.real_batch(data), first.virtual_batch(data), [torch.arange(64)]))
    first.step(batch, groups)
    second.step(batch, groups[:1])
    for a, b in zip(first.actor.parameters(), second.actor.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.values.biases[-1], second.values.biases[-1])


@pytest.mark.parametrize(
    ("decay", "ratios", "numbers"), [(0.5, [0.3, 0.15], [5, 2]), (0.2, [0.3, 0.06, 0.012], [5, 1, 0])]
)
def test_rho_decays_after_every_update_and_the_virtual_part_with_it(decay, ratios, numbers, monkeypatch):
    schedule = ScheduleConfig(schedule="exp", initial=0.3, decay=decay)
    agent = hierarchical(virtual_ratio=schedule, batch_size=32, minibatch_size=20, mix="sampling")
    step, counts = agent.step, []

    def count(batch, groups):
        counts[-1].add(sum(len(samples) for _, samples in groups[1:]))
        return step(batch, groups)

    monkeypatch.setattr(agent, "step", count)
    for ratio, number in zip(ratios, numbers, strict=True):
        counts.append(set())
        (data,) = collect(agent)
        metrics = agent.learn(data)
        assert metrics["virtual_ratio"] == pytest.approx(ratio)
        assert counts[-1] == {number}
        assert (metrics["virtual_transitions"] > 0) == (number > 0) == ("virtual" in set(data.keys()))


def test_a_virtual_transition_weighs_the_news_in_its_target():
    """The target of a last transition is nearly all bootstrap and has little weight; weights are not averaged."""
    agent = hierarchical(discount=0.998, gae_lambda=0.97)
    (data,) = collect(agent)
    virtual = agent.virtual_batch(data)
    bootstrapped = virtual["bootstrapped"]
    ends = (data["next", name].squeeze(-1) for name in ("done", "terminated"))
    real = bootstrapped_share(*ends, discount=0.998, gae_lambda=0.97).mean()
    torch.testing.assert_close(virtual["weight"], ((1 - bootstrapped) / (1 - real)).clamp_max(1.0))
    assert virtual["weight"].max() > 2 * virtual["weight"].min()
    virtual["mask"] = torch.ones(len(virtual), 5)
    full = agent.value_loss(virtual)
    virtual["weight"] *= 0.5
    assert agent.value_loss(virtual).item() == pytest.approx(0.5 * full.item())


def test_virtual_transitions_are_scored_with_the_options_of_the_run():
    agent = hierarchical(discount=0.9, gae_lambda=0.5, virtual_source="nominal")
    (data,) = collect(agent)
    agent.normaliser.update(1 + 2 * torch.randn(100, 1))
    agent.return_scale.moments.var.fill_(4.0)  # rewards count half
    virtual = agent.virtual_batch(data)
    states, actions = (data["virtual", name].flatten(0, 2) for name in ("states", "actions"))
    scoring = {"reward_scale": 0.5, "discount": 0.9, "gae_lambda": 0.5}
    expected = virtual_targets(states, actions, KnownModel(LineModel()), agent.mean_value, **scoring)
    torch.testing.assert_close(virtual["value_target"].sort().values, expected["value_target"].sort().values)
    standard = agent.normaliser(expected["observation"])
    torch.testing.assert_close(virtual["observation"].sort(0).values, standard.sort(0).values)


@pytest.mark.parametrize(
    ("options", "rollouts"),
    [
        ({"virtual_source": "all"}, 16 * 3 * 8),
        ({"virtual_source": "others_plus_rest"}, 16 * (4 * 8 - 1)),
        ({"virtual_source": "weighted", "virtual_count": 2}, 16 * 3 * 2),
        ({"virtual_source": "weighted", "virtual_count": 3, "candidates": 3}, 16 * 2 * 3),
        ({"virtual_source": "nominal", "virtual_count": 3}, 16 * 3),
        ({"virtual_source": "all", "virtual_rollouts": 100}, 100),
    ],
)
def test_an_update_learns_from_as_many_rollouts_as_its_options_say(options, rollouts, monkeypatch):
    """There are 16 transitions with 4 candidates of 8 samples; rollouts of 5 steps never end early."""
    monkeypatch.setattr(LineModel, "terminated", lambda self, state, action, then: then[..., 0] != then[..., 0])
    agent = hierarchical(batch_size=16, virtual_window=2, **options)
    (data,) = collect(agent)
    counts = [agent.learn(data)["virtual_transitions"] for _ in range(3)]
    assert counts == [5 * rollouts, 10 * rollouts, 10 * rollouts]  # from the second update on, rollouts of two updates
