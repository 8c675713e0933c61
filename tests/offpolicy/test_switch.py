"""Who acts, and for how long: targets, values and choices of the learned switch."""

from itertools import pairwise

import pytest
import torch
from pointed import agent, collected, first_step
from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc.algorithms.trust_expert import TrustExpert
from pompc.networks.twohot import TwoHot
from pompc.offpolicy.switch import EXPERT, POLICY, RANDOM, SkipValues, best_choice, skip_targets

SKIPS, DISCOUNT = (1, 2, 4), 0.9


def targets(actor, reward=None, ended=None, value=None, chosen=None):
    """Targets of one sequence; rewards 1, 2, 3, .. and values 10, 20, 30, .. of the next states by default.

    A change of the actor is a new choice, and so is what ``chosen`` says.
    """
    time = len(actor)
    reward = torch.arange(1.0, time + 1) if reward is None else torch.tensor(reward)
    value = 10 * torch.arange(1.0, time + 1) if value is None else torch.tensor(value)
    ended = torch.zeros(time, dtype=torch.bool) if ended is None else torch.tensor(ended)
    changes = [True, *(before != after for before, after in pairwise(actor))]
    chosen = torch.tensor([change or new for change, new in zip(changes, chosen or [False] * time, strict=True)])
    shaped = (x.unsqueeze(-1) for x in (reward, ended, torch.tensor(actor), chosen, value))
    target, valid = skip_targets(*shaped, SKIPS, DISCOUNT)
    return target[:, 0], valid[:, 0]


def direct(start, steps):
    """The target written out."""
    rewards = sum(DISCOUNT**i * (start + i + 1) for i in range(steps))
    return rewards + DISCOUNT**steps * 10 * (start + steps)


def test_every_prefix_and_every_end_of_a_hold_has_its_target():
    target, valid = targets([EXPERT] * 4 + [POLICY] * 2)
    assert valid[..., 1, :].tolist() == [
        [True, True, True], [True, True, False], [True, True, False], [True, False, False],
        [False] * 3, [False] * 3,
    ]  # fmt: skip
    assert valid[4:, 0].tolist() == [[True, True, False], [True, False, False]]
    assert not valid[:4, 0].any()
    for start, index, steps in ((0, 0, 1), (0, 1, 2), (0, 2, 4), (2, 1, 2), (3, 0, 1)):
        assert target[start, 1, index].item() == pytest.approx(direct(start, steps), rel=1e-6)


def test_two_holds_are_never_joined():
    """The second is chosen after its state was seen: joined, they would say more of good outcomes than of bad ones."""
    _, valid = targets([EXPERT] * 4, chosen=[True, False, True, False])
    assert valid[:, 1].tolist() == [
        [True, True, False],
        [True, False, False],
        [True, True, False],
        [True, False, False],
    ]


def test_a_prefix_of_a_long_hold_has_the_target_of_a_short_hold():
    long, _ = targets([EXPERT] * 4)
    short, valid = targets([EXPERT] * 2 + [POLICY] * 2)
    assert valid[0, 1, 1]
    assert torch.equal(long[0, 1, :2], short[0, 1, :2])


def test_the_end_of_an_episode_ends_a_target_and_makes_it_valid():
    target, valid = targets([EXPERT, EXPERT, EXPERT], ended=[False, False, True])
    assert valid[0, 1].all(), "four steps were cut short by the end"
    assert target[0, 1, 2].item() == pytest.approx(1 + 0.9 * 2 + 0.81 * 3)
    assert target[2, 1].tolist() == [3.0] * 3
    assert not targets([EXPERT, EXPERT, EXPERT])[1][0, 1, 2], "without an end it is not known"


def test_random_steps_begin_no_target_and_break_a_stretch():
    _, valid = targets([RANDOM, EXPERT, RANDOM, RANDOM])
    assert not valid[0].any()
    assert valid[1, 1].tolist() == [True, False, False]


def test_a_cost_of_the_expert_counts_once_a_step():
    learner = agent(TrustExpert, skips=(1, 2), expert_cost=0.5, sequence=2)
    collected(learner, 60)
    batch, _ = learner.replay.sample(64)
    learner.model_loss(batch)
    batch["actor"], batch["chosen"] = torch.ones_like(batch["actor"]), torch.zeros_like(batch["chosen"])
    torch.manual_seed(0)
    with_cost, valid = learner.switch_targets(batch)
    batch["actor"] = torch.zeros_like(batch["actor"])
    torch.manual_seed(0)
    without, _ = learner.switch_targets(batch)
    taken = (without[0, :, 0] - with_cost[0, :, 1])[valid[0, :, 1].all(-1)]
    going_on = taken[:, 1] > 0.6  # an episode may have ended after the first step
    assert len(taken) > 0
    torch.testing.assert_close(taken[:, 0], torch.full_like(taken[:, 0], 0.5))
    torch.testing.assert_close(taken[going_on, 1], torch.full_like(taken[going_on, 1], 0.5 * (1 + learner.discount)))


def test_ties_go_to_the_policy_and_to_few_steps():
    values = torch.zeros(3, 2, 4)
    values[1, :, 2] = 1.0
    values[2, 1, 0] = 1.0
    assert best_choice(values).tolist() == [0, 2, 4]


def test_new_values_are_all_equal_so_the_policy_acts():
    values = SkipValues(3, 16, SKIPS, TwoHot(101, -10, 10))
    found = values(torch.randn(5, 3))
    assert found.shape == (5, 2, 3)
    assert (best_choice(found) == 0).all()


def test_values_on_a_chain_of_two_states_have_their_closed_form():
    """The policy stays (reward 0 in state 0, 1 in state 1), the expert changes the state (reward -1)."""
    torch.manual_seed(0)
    after = torch.tensor([0.0, 1.0]) / (1 - DISCOUNT)  # of the policy
    values = SkipValues(2, 32, SKIPS, TwoHot(101, -10, 10))
    optimizer = torch.optim.Adam(values.parameters(), lr=3e-3)
    time, batch = 4, 64
    for _ in range(300):
        state, actor = torch.randint(2, (batch,)), torch.randint(2, (batch,)).float()
        states, rewards = [state], []
        for _ in range(time):
            rewards.append(torch.where(actor == EXPERT, -1.0, states[-1].float()))
            states.append(torch.where(actor == EXPERT, 1 - states[-1], states[-1]))
        visited, reward = torch.stack(states), torch.stack(rewards)
        ended = torch.zeros_like(reward, dtype=torch.bool)
        target = skip_targets(reward, ended, actor.expand(time, -1), ended, after[visited[1:]], SKIPS, DISCOUNT)
        inputs = torch.nn.functional.one_hot(visited[:-1], 2).float()
        loss = values.loss(inputs, *target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = values(torch.eye(2)).detach()
    for state in (0, 1):
        for index, steps in enumerate(SKIPS):
            fines = -sum(DISCOUNT**i for i in range(steps))
            there = (state + steps) % 2
            assert found[state, 0, index].item() == pytest.approx(after[state].item(), abs=0.2)
            assert found[state, 1, index].item() == pytest.approx(
                fines + DISCOUNT**steps * after[there].item(), abs=0.2
            )
    assert best_choice(found)[0] == 3, "change once"
    assert best_choice(found)[1] < 3, "stay, for any number of steps"


def switched(who, skip, **options):
    """An agent whose switch always prefers one choice."""
    learner = agent(TrustExpert, skips=SKIPS, sequence=4, seed_steps=0, epsilon=0.0, **options)
    learner.budget.burst = 0
    preferred = torch.zeros(2, len(SKIPS))
    preferred[who, skip] = 1.0
    learner.who_acts.values.forward = lambda inputs: preferred.expand(*inputs.shape[:-1], 2, len(SKIPS))
    return learner


@pytest.mark.parametrize("who", [0, 1])
def test_only_the_expert_plans(who):
    learner = switched(who, 0)
    data = collected(learner, 3)
    assert all((step["actor"] == who).all() for step in data)
    assert (learner.model_steps > 0) is bool(who)
    if who:
        assert all(torch.equal(step["action"], step["plan_mean"].clamp(-1, 1)) for step in data)


def test_with_a_finite_lambda_all_states_have_a_plan():
    learner = switched(0, 0, kl_weight=1.0)
    assert all((step["plan_std"] > 0).all() for step in collected(learner, 3))


def test_a_choice_is_held_for_its_steps_and_ends_with_the_episode():
    learner = switched(1, 2)
    td = first_step(learner, torch.zeros(2, 1))
    left = []
    for step in range(6):
        with set_exploration_type(ExplorationType.RANDOM):
            td = learner(td)
        left.append(td["next", "choice_left"].flatten().tolist())
        following = first_step(learner, torch.zeros(2, 1))
        following.update({name: td["next", name] for name in learner.primers()})
        following["is_init"] = torch.tensor([[False], [step == 1]])
        td = following
    assert left == [[3, 3], [2, 2], [1, 3], [0, 2], [3, 1], [2, 0]]


def test_choices_are_random_in_their_share_and_draw_nothing_in_evaluations():
    learner = agent(TrustExpert, skips=(1,), sequence=1, seed_steps=0, epsilon=0.5)
    learner.budget.burst = 0
    before = learner.who_acts.generator.get_state()
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        learner(first_step(learner, torch.zeros(4, 1)))
    assert torch.equal(learner.who_acts.generator.get_state(), before)
    with set_exploration_type(ExplorationType.RANDOM):
        td = learner(first_step(learner, torch.zeros(400, 1)))
    assert td["actor"].mean().item() == pytest.approx(0.25, abs=0.07)
