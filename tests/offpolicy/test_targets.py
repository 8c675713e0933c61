"""Value targets of several stored steps: their sum, their end, and the exact model's return along a plan."""

import itertools
import math

import pytest
import tiny
import torch
from tensordict import TensorDict

from pompc.algorithms.bmpc import BMPC
from pompc.algorithms.pompc import POMPCConfig
from pompc.algorithms.tdmpc2 import TDMPC2, TDMPC2Config
from pompc.data.replay import SliceReplay
from pompc.errors import UserError
from pompc.offpolicy.virtual import virtual_sequences

GAMMA = 0.9


def learner(steps, sequence=5, cls=TDMPC2):
    """An agent whose slow value of an encoded observation is 1000 plus its first entry."""
    agent = tiny.agent(cls, target_steps=steps, sequence=sequence, discount=GAMMA)
    agent.values.slow = lambda state, action=None: 1000 + state[..., 0]
    return agent


def by_hand(reward, terminated, observation, steps):
    """The same targets in a loop over one episode: ``[time]``, ``[time]`` and ``[time + 1]``."""
    found = []
    for start in range(len(reward)):
        total, factor = 0.0, 1.0
        for step in range(start, min(start + steps, len(reward))):
            total, factor = total + factor * reward[step], factor * GAMMA
            if terminated[step]:
                factor = 0.0
                break
        last = min(start + steps, len(reward))
        found.append(total + factor * (1000 + observation[last]))
    return torch.tensor(found)


@pytest.mark.parametrize("cls", [TDMPC2, BMPC])
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_a_target_is_the_return_of_so_many_stored_steps_and_the_value_after_them(cls, steps):
    agent = learner(steps, cls=cls)
    data = tiny.batch(agent)
    data["terminated"][4, ::2] = 1.0
    data["encoded"] = torch.randn(6, 8, 3)
    found = agent.value_target(data)
    for env in range(8):
        columns = (data["reward"][:-1, env, 0], data["terminated"][:-1, env, 0], data["encoded"][:, env, 0])
        expected = by_hand(*(column.tolist() for column in columns), steps)
        torch.testing.assert_close(found[:, env], expected)


@pytest.mark.parametrize("steps", [2, 4])
def test_slices_of_the_replay_stop_at_the_end_of_an_episode(steps):
    """After a termination nothing counts; after a truncation the value of the final observation does."""
    lengths, ends_in = (9, 7), ("terminated", "truncated")
    time = torch.arange(sum(lengths)).float()
    done = torch.zeros(1, len(time), 1, dtype=torch.bool)
    done[0, [8, 15]] = True
    terminated = torch.zeros_like(done)
    terminated[0, 8] = True
    after = {"observation": (time + 0.5).view(1, -1, 1), "reward": (time + 1).view(1, -1, 1)}
    data = {"observation": time.view(1, -1, 1), "action": torch.zeros(1, len(time), 1)}
    data["next"] = TensorDict({**after, "done": done, "terminated": terminated}, batch_size=[1, len(time)])
    replay = SliceReplay(100, 1, 4)
    replay.extend(TensorDict(data, batch_size=[1, len(time)]))
    agent = learner(steps, sequence=4)
    batch, _ = replay.sample(300)
    batch["encoded"] = batch["observation"]
    found, starts = agent.value_target(batch), batch["observation"][0, :, 0]
    assert len(starts.unique()) == sum(length - 3 for length in lengths)
    for end, length, how in zip((9, 16), lengths, ends_in, strict=True):
        here = starts == end - 4  # the last slice of the episode
        reward = [end - 3.0, end - 2.0, end - 1.0, float(end)]
        observation = [*(end - 4.0 + step for step in range(4)), end - 0.5]
        expected = by_hand(reward, [0, 0, 0, how == "terminated"], observation, steps)
        assert here.any(), length
        torch.testing.assert_close(found[:, here], expected.unsqueeze(1).expand(-1, int(here.sum())))


def test_one_stored_step_is_the_ordinary_target_of_values_of_actions():
    found = []
    for steps in (None, 1):
        torch.manual_seed(0)
        agent = tiny.agent(target_steps=steps, random_value_scale=1.0)
        data = tiny.batch(agent)
        data["terminated"][1, 3] = 1.0
        data["encoded"] = agent.encode(data["observation"])
        found.append(agent.value_target(data))
    assert torch.equal(*found)


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_the_value_of_a_constant_reward_is_a_fixed_point_for_any_number_of_steps(steps):
    agent = tiny.agent(BMPC, target_steps=steps, sequence=8, discount=GAMMA)
    agent.values.slow = lambda state, action=None: torch.full(state.shape[:-1], 2 / (1 - GAMMA))
    data = tiny.batch(agent)
    data["reward"].fill_(2.0)
    data["encoded"] = agent.encode(data["observation"]).detach()
    torch.testing.assert_close(agent.value_target(data), torch.full((8, 8), 2 / (1 - GAMMA)))


def test_every_task_keeps_its_discount():
    agent = tiny.agent(tasks=tiny.tasks(), observation_dim=4, discount=None, target_steps=3)
    data = tiny.batch(agent)
    data["reward"].zero_()
    data["encoded"] = agent.encode(data["observation"])
    agent.values.slow = lambda state, action=None: torch.ones(state.shape[:-1])
    expected = torch.tensor([0.95, 0.995] * 4) ** torch.tensor([[3], [2], [1]])
    torch.testing.assert_close(agent.value_target(data), expected)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: TDMPC2Config(target_steps=4),
            r"^algo\.target_steps=4 is more than the 3 steps .* algo\.sequence to at",
        ),
        (lambda: TDMPC2Config(target_steps=0), r"algo\.target_steps must be positive"),
        (
            lambda: POMPCConfig(target_steps=2, soft_target=True),
            r"algo\.soft_target=true needs algo\.target_steps=null",
        ),
    ],
)
def test_steps_that_a_sequence_lacks_are_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()


# -- the planner's own sequences on an exact model ---------------------------------------------------------------------

STATES, STEPS = 7, 3
CHAIN = torch.linspace(-1, 1, STATES)
STEP = float(CHAIN[1] - CHAIN[0])


class Chain:
    """Seven places in a row; an action moves one place by its sign; the last place on the right ends the episode."""

    state_dim, action_dim, parameter_dim, nominal = 1, 1, 1, torch.zeros(1)

    def state(self, observation):
        return observation

    def observe(self, state):
        return state

    def step(self, state, action):
        return CHAIN[self.place(state + STEP * torch.where(action > 0, 1.0, -1.0))].unsqueeze(-1)

    def place(self, state):
        return ((state[..., 0] + 1) / STEP).round().long().clamp(0, STATES - 1)

    def reward(self, state, action, next_state):
        return torch.where(self.terminated(state, action, next_state), 0.0, -1.0) - 0.3 * (self.place(state) == 2)

    def terminated(self, state, action, next_state):
        return self.place(next_state) == STATES - 1

    def running(self, state, action, next_state, parameters):
        raise NotImplementedError

    terminal, parameters = running, running


SEQUENCES = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=STEPS))).unsqueeze(-1)


def polo_on_a_chain():
    """State values with one head, which are a table, and plans of three steps; all eight plans are proposed."""
    planner = {"horizon": STEPS, "num_samples": 16, "num_iterations": 1, "num_elites": 1, "min_std": 0.01}
    options = {"ensemble_size": 1, "num_proposals": 0, "discount": GAMMA, "model": "known", "virtual_ratio": 1.0}
    return tiny.agent(BMPC, planner=planner, observation_dim=1, action_dim=1, task_model=Chain, **options)


def planned_returns(agent, table):
    """The best target over all plans of every place: one sweep of fitted value iteration ``[state]``."""
    agent.values.slow = lambda state: table[Chain().place(state)]
    start = CHAIN[:-1].unsqueeze(-1)
    virtual = virtual_sequences(agent, start, SEQUENCES.expand(len(start), -1, -1, -1))
    swept = virtual["target"][0].view(len(start), len(SEQUENCES)).amax(1)
    return torch.cat([swept, torch.zeros(1)])


def test_value_iteration_along_plans_contracts_by_the_discount_to_the_power_of_the_horizon():
    agent = polo_on_a_chain()
    for _ in range(20):
        one, other = 10 * torch.randn(2, STATES)
        between = (planned_returns(agent, one) - planned_returns(agent, other)).abs().max()
        assert between <= GAMMA**STEPS * (one - other).abs().max() + 1e-5
    far = planned_returns(agent, torch.zeros(STATES) - 50)[:3] - planned_returns(agent, torch.zeros(STATES) - 60)[:3]
    torch.testing.assert_close(far, torch.full((3,), 10 * GAMMA**STEPS))  # places from which no plan reaches the end


def test_it_converges_to_the_optimal_values_in_so_many_sweeps():
    agent, table = polo_on_a_chain(), torch.zeros(STATES)
    best = torch.zeros(STATES)
    for place in reversed(range(STATES - 1)):
        best[place] = -1.0 * (place < STATES - 2) - 0.3 * (place == 2) + GAMMA * best[place + 1]
    initial = (table - best).abs().max()
    for sweep in range(1, 9):
        table = planned_returns(agent, table)
        assert (table - best).abs().max() <= GAMMA ** (STEPS * sweep) * initial + 1e-5
    torch.testing.assert_close(table, best)  # no way is longer than the eight sweeps look


def test_the_planner_maximises_what_the_target_sums():
    agent, table = polo_on_a_chain(), 10 * torch.randn(STATES)
    table[-1] = 0.0
    agent.critic.values = lambda inputs, chosen=None: table[Chain().place(inputs)].unsqueeze(0)
    start = CHAIN[:-1].unsqueeze(-1)
    proposals = SEQUENCES.expand(len(start), 1, -1, -1, -1)
    plan = agent.planner.plan(start, proposals=proposals, terminal_value=agent.terminal_value())
    torch.testing.assert_close(-plan.costs[:, 0].amin(-1), planned_returns(agent, table)[:-1])
    assert not math.isnan(plan.costs.sum())
