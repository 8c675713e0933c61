"""Constraints of the planner: dropped samples, soft costs, safety margins, and that nothing changes without them."""

from functools import partial

import pytest
import torch

from pompc.errors import NonFiniteError, UserError
from pompc.models import Constrained, FunctionModel, KnownModel
from pompc.models.imagination import Imagination
from pompc.planner import MPPI, MPPIConfig


class HalfLine:
    """A point on a line that is drawn to the right and must stay at or below a wall; beyond ``end`` the episode ends."""

    def __init__(self, wall=1.0, end=torch.inf):
        self.wall, self.end = wall, end

    def step(self, state, action):
        return state + 0.5 * action

    def running(self, state, action, next_state, parameters):
        return -next_state[..., 0] if parameters is None else -next_state[..., 0] + parameters[..., 0]

    def terminal(self, state, parameters):
        return torch.zeros_like(state[..., 0])

    def terminated(self, state, action, next_state):
        return next_state[..., 0] > self.end

    def margins(self, state, action, next_state):
        return self.wall - next_state


class Gap(HalfLine):
    """A point that must not stop near the origin; it costs nothing, and either side is as good."""

    def running(self, state, action, next_state, parameters):
        return torch.zeros_like(next_state[..., 0])

    def margins(self, state, action, next_state):
        return next_state.abs() - 0.4


def planner(model=None, **options):
    model = HalfLine() if model is None else model
    options = {"horizon": 5, "num_samples": 64, "temperature": 0.05, **options}
    return MPPI(MPPIConfig(**options), model, model, 1)


def closed_loop(mppi, start, steps=60, model=None, **given):
    """Positions of a plant that is the model ``[step, batch]``."""
    model, state, mean, places = model or HalfLine(), torch.tensor(start).view(-1, 1), None, []
    torch.manual_seed(0)
    for _ in range(steps):
        plan = mppi.plan(state, mean=mean, **given)[:, 0]
        state, mean = model.step(state, plan.mean[:, 0]), mppi.shift(plan.mean)
        places.append(state[:, 0])
    return torch.stack(places)


VARIANTS = [
    {},
    {"num_elites": 8, "num_iterations": 3, "adapt_std": True},
    {"control_cost": 0.5},
    {"noise": "spline", "noise_knots": 3, "control_cost": 1.0},
    {"noise": "coloured", "discount": 0.9},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_hard_goes_to_the_wall_and_never_beyond(options):
    places = closed_loop(planner(hard=True, init_std=0.2, **options), [-2.0, 0.0, 0.9, 1.0])
    assert places.max() <= 1.0
    assert (places[-10:] > 0.8).all()
    free = closed_loop(planner(init_std=0.2, **options), [-2.0, 0.0, 0.9, 1.0])
    assert (free[-1] > 1.0).all()


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_hard_gives_no_weight_to_what_breaks_a_constraint_and_plans_a_sequence_that_keeps_all(options):
    mppi, state = planner(hard=True, **options), torch.linspace(-1.5, 1.0, 40).unsqueeze(-1)
    plan = mppi.plan(state, mean=0.2 * torch.randn(40, 5, 1))
    broken = plan.margin < 0
    assert broken.any()
    assert (~broken).any(-1).all()
    assert plan.weights[broken].eq(0).all()
    assert plan.costs[broken].eq(torch.inf).all()
    assert plan.costs[~broken].isfinite().all()
    assert plan.soft_value.isfinite().all()
    torch.testing.assert_close(plan.weights.sum(-1), torch.ones(40, 1))
    planned = mppi.rollout(state, plan.mean.unsqueeze(2))[..., 1:, 0]
    assert (planned <= 1.0).all()


@pytest.mark.parametrize("greedy", [True, False])
def test_a_stochastic_planner_draws_only_what_keeps_the_constraints(greedy):
    mppi, state = planner(hard=True, stochastic=True, temperature=10.0), torch.full((200, 1), 0.8)
    first = mppi.select(mppi.plan(state), greedy=greedy)[:, 0]
    assert (state + 0.5 * first <= 1.0).all()


def test_a_free_plan_is_the_same_with_hard_constraints_far_away():
    noise = torch.randn(2, 6, 1, 64, 5, 1)
    options = {"num_iterations": 2, "adapt_std": True, "num_elites": 9, "discount": 0.9}
    state, far = torch.randn(6, 1), HalfLine(wall=1e3)
    free, kept = (planner(far, hard=hard, **options).plan(state, noise=noise) for hard in (False, True))
    for name in ("mean", "std", "costs", "weights", "soft_value", "effective_samples", "states"):
        assert torch.equal(getattr(free, name), getattr(kept, name)), name


def test_tightening_moves_the_wall():
    noise, state = torch.randn(1, 8, 1, 64, 5, 1), torch.linspace(-1, 1, 8).unsqueeze(-1)
    for options in ({"hard": True}, {"violation_cost": 3.0}):
        tight = planner(HalfLine(1.0), tighten=0.25, **options).plan(state, noise=noise)
        near = planner(HalfLine(0.75), **options).plan(state, noise=noise)
        assert torch.equal(tight.weights > 0, near.weights > 0)
        torch.testing.assert_close(tight.mean, near.mean)
        torch.testing.assert_close(tight.margin, near.margin + 0.25)  # margins are those of the model
    stops = []
    for tighten in (0.0, 0.125, 0.5):
        places = closed_loop(planner(hard=True, tighten=tighten, init_std=0.1), [0.0], steps=50)
        assert places.max() <= 1.0 - tighten
        stops.append(places[-20:].mean().item())
    assert stops[0] > 0.9
    assert stops[0] - stops[1] == pytest.approx(0.125, abs=0.02)
    assert stops[0] - stops[2] == pytest.approx(0.5, abs=0.02)


def test_a_soft_cost_is_the_weight_times_the_sum_of_violations_discounted():
    class Two(HalfLine):
        def margins(self, state, action, next_state):
            return torch.cat([0.3 - next_state, 0.1 - next_state], -1)

    noise, state = torch.randn(1, 3, 1, 64, 5, 1), torch.randn(3, 1)
    options = {"discount": 0.9, "tighten": 0.05, "violation_cost": 2.0}
    soft = planner(Two(), **options).plan(state, noise=noise)
    free = planner(Two(), discount=0.9).plan(state, noise=noise)
    x = soft.states[..., 1:, 0]
    violation = (x - 0.25).clamp(min=0) + (x - 0.05).clamp(min=0)
    discounts = 0.9 ** torch.arange(5)
    torch.testing.assert_close(soft.costs, free.costs + 2.0 * (violation * discounts).sum(-1))
    torch.testing.assert_close(soft.margin, (0.1 - x).amin(-1))
    charges = planner(Two(), **options).scorer.evaluate(soft.states, soft.actions)
    torch.testing.assert_close(charges.sum(-1), soft.costs)


def test_soft_becomes_hard_as_its_weight_grows():
    noise, state = torch.randn(1, 20, 1, 64, 5, 1), torch.linspace(-1.0, 1.0, 20).unsqueeze(-1)
    hard = planner(hard=True).plan(state, noise=noise)
    distance = []
    for weight in (0.0, 1.0, 100.0, 1e6):
        soft = planner(violation_cost=weight).plan(state, noise=noise)
        distance.append((soft.weights - hard.weights).abs().sum(-1).mean().item())
    assert distance == sorted(distance, reverse=True)
    assert distance[0] > 0.3
    assert distance[-1] < 1e-3
    # One step of violation costs its weight and earns 1: below a weight of 1 it pays to go on.
    stops = [closed_loop(planner(violation_cost=w, temperature=0.01), [0.0], steps=40)[-1].item() for w in (0.5, 2.0)]
    assert stops[0] > 3.0
    assert stops[1] == pytest.approx(1.0, abs=0.1)


def test_where_nothing_is_feasible_the_least_violation_leads_back():
    mppi = planner(hard=True, tighten=0.1)
    plan = mppi.plan(torch.tensor([[4.0], [30.0]]))
    assert (plan.margin < 0.1).all()
    assert plan.costs.isfinite().all()
    assert plan.soft_value.isfinite().all()
    violation = (plan.states[..., 1:, 0] - 0.9).clamp(min=0).sum(-1)
    order = violation.argsort(-1)
    sorted_weights = plan.weights.gather(-1, order)
    assert (sorted_weights.diff(dim=-1) <= 0).all()
    torch.testing.assert_close(
        sorted_weights[..., 0], torch.full((2, 1), 1 - torch.e**-1)
    )  # 1 of 1 + 1/e + 1/e^2 + ...
    best = plan.actions[torch.arange(2), 0, order[:, 0, 0]]
    torch.testing.assert_close(plan.mean[:, 0], best)
    places = closed_loop(mppi, [4.0, 2.0], steps=40)
    assert (places[0] < torch.tensor([4.0, 2.0])).all()
    outside = (places > 0.9).long()
    assert (outside.diff(dim=0) <= 0).all()  # once inside, it stays
    assert (places[-1] <= 0.9).all()
    assert (places[-1] > 0.7).all()


def test_equal_violations_are_ordered_by_cost():
    class Same(HalfLine):
        def margins(self, state, action, next_state):
            return torch.full_like(next_state, -1.0)

    plan = planner(Same(), hard=True).plan(torch.zeros(3, 1))
    assert torch.equal(plan.weights.argmax(-1), plan.costs.argmin(-1))
    assert plan.weights.argsort(-1, descending=True)[..., :5].equal(plan.costs.argsort(-1)[..., :5])


def test_a_mean_between_two_feasible_sides_gives_way_to_the_best_sample():
    sides = torch.ones(3, 1, 2, 1, 1)
    sides[:, :, 0] = -1.0
    options = {"horizon": 1, "num_samples": 3, "num_zero_mean": 0}  # both sides and the mean, which is 0
    mppi, state = planner(Gap(), hard=True, **options), torch.zeros(3, 1)
    plan = mppi.plan(state, proposals=sides)
    torch.testing.assert_close(plan.weights, torch.tensor([0.5, 0.5, 0.0]).expand(3, 1, 3))
    torch.testing.assert_close(plan.margin, torch.tensor([0.1, 0.1, -0.4]).expand(3, 1, 3))
    assert plan.mean.abs().eq(1.0).all()
    soft = planner(Gap(), violation_cost=1e3, **options).plan(state, proposals=sides)
    assert soft.mean.abs().max() < 1e-6
    assert mppi.plan(state + 2.0, proposals=sides).mean.abs().max() < 1e-6  # a feasible mean stays


def test_a_candidate_without_a_feasible_sample_borrows_one_and_candidates_do_not_mix_otherwise():
    model = HalfLine()
    proposals = torch.full((2, 2, 1, 5, 1), 1.0)
    proposals[0, 1] = -1.0  # of environment 0, candidate 1 alone has a way to stay below the wall; of 1 none has
    options = {"num_samples": 2, "num_zero_mean": 0, "hard": True}
    state = torch.tensor([[1.2], [1.2]])
    plan = planner(model, **options).plan(state, parameters=torch.zeros(2, 2, 1), proposals=proposals)
    drawing = planner(model, stochastic=True, **options)
    drawn = drawing.plan(state, parameters=torch.zeros(2, 2, 1), proposals=proposals)
    assert drawing.select(drawn)[0].eq(-1.0).all(), "what a candidate borrows is executed, not its own draw"
    assert (plan.margin[0] >= 0).tolist() == [[False, False], [True, False]]
    assert plan.mean[0].eq(-1.0).all()  # both candidates
    assert not (plan.margin[1] >= 0).any()
    assert plan.mean[1].eq(0.0).all()  # standing still violates less than going on
    assert plan.soft_value.isfinite().all()


def test_nothing_counts_after_the_end_of_an_episode_and_the_last_step_does():
    ends = HalfLine(wall=1.0, end=0.6)
    actions = torch.ones(1, 1, 1, 5, 1)
    options = {"num_samples": 1, "num_zero_mean": 0, "include_mean": False, "violation_cost": 10.0}
    before = planner(ends, **options).plan(torch.tensor([[0.3]]), proposals=actions)
    torch.testing.assert_close(before.margin, torch.tensor([[[0.2]]]))  # it ends at 0.8, below the wall
    torch.testing.assert_close(before.costs, torch.tensor([[[-0.8]]]))
    beyond = planner(ends, **options).plan(torch.tensor([[0.55]]), proposals=actions)
    torch.testing.assert_close(beyond.margin, torch.tensor([[[-0.05]]]))  # it ends at 1.05, beyond
    torch.testing.assert_close(beyond.costs, torch.tensor([[[-1.05 + 0.5]]]))


def test_a_value_at_the_end_cannot_buy_a_violation():
    mppi = planner(hard=True)
    plan = mppi.plan(torch.full((4, 1), 0.9), terminal_value=lambda state: 1e6 * state[..., 0])
    assert plan.weights[plan.margin < 0].eq(0).all()
    assert (mppi.rollout(torch.full((4, 1), 0.9), plan.mean.unsqueeze(2))[..., 1:, 0] <= 1).all()


def test_margins_can_be_asked_for_and_change_nothing():
    noise, state = torch.randn(2, 6, 1, 64, 5, 1), torch.randn(6, 1)
    mppi = planner(num_iterations=2, adapt_std=True)
    without, measured = mppi.plan(state, noise=noise), mppi.plan(state, noise=noise, margins=True)
    assert without.margin is None
    torch.testing.assert_close(measured.margin, 1.0 - measured.states[..., 1:, 0].amax(-1), rtol=0, atol=0)
    assert measured[:, 0].margin.shape == (6, 64)
    for name in ("mean", "std", "costs", "weights", "soft_value", "effective_samples", "states"):
        assert torch.equal(getattr(without, name), getattr(measured, name)), name


def test_without_constraints_no_margin_is_computed():
    class Untouchable(HalfLine):
        def margins(self, state, action, next_state):
            raise AssertionError

    planner(Untouchable()).plan(torch.zeros(2, 1))


FIELDS = ("mean", "costs", "weights", "margin", "soft_value")


@pytest.mark.parametrize("options", [{"hard": True}, {"violation_cost": 2.0, "tighten": 0.2}], ids=str)
def test_blocks_of_environments_score_as_all_at_once(options, monkeypatch):
    state, noise = torch.linspace(-1, 3, 7).unsqueeze(-1), torch.randn(2, 7, 2, 16, 4, 1)
    given = {"noise": noise, "parameters": torch.randn(7, 2, 1)}
    mppi = planner(horizon=4, num_samples=16, num_iterations=2, **options)
    whole = mppi.plan(state, **given)
    monkeypatch.setattr("pompc.planner.blocks.BLOCK_ON_CPU", 2 * 2 * 16)
    blocks = mppi.plan(state, **given)
    for name in FIELDS:
        torch.testing.assert_close(getattr(blocks, name), getattr(whole, name))


def test_a_compiled_plan_keeps_the_same_constraints(monkeypatch):
    """Traced into one graph without a break; what the compiler makes of a graph is tested elsewhere."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager", fullgraph=True))
    monkeypatch.setattr("pompc.planner.scoring.require_compiler", lambda name: None)
    state, noise = torch.linspace(-1, 3, 7).unsqueeze(-1), torch.randn(1, 7, 1, 16, 2, 1)
    options = {"horizon": 2, "num_samples": 16, "hard": True, "violation_cost": 2.0, "tighten": 0.2}
    plans = [
        planner(HalfLine(end=2.0), **options, compile=compiled).plan(state, noise=noise) for compiled in (False, True)
    ]
    for name in FIELDS:
        torch.testing.assert_close(getattr(plans[1], name), getattr(plans[0], name))


def test_batched_equals_one_by_one():
    state, noise = torch.linspace(-1, 3, 5).unsqueeze(-1), torch.randn(1, 5, 1, 32, 5, 1)
    mppi = planner(hard=True, num_samples=32)
    together = mppi.plan(state, noise=noise)
    for i in range(5):
        alone = mppi.plan(state[i : i + 1], noise=noise[:, i : i + 1])
        torch.testing.assert_close(alone.mean[0], together.mean[i])
        torch.testing.assert_close(alone.costs[0], together.costs[i])


class Broken(HalfLine):
    """A wall that cannot be measured beyond 0.5."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def margins(self, state, action, next_state):
        return torch.where(next_state > 0.5, self.value, 1.0 - next_state)


@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
@pytest.mark.parametrize("options", [{"hard": True}, {"violation_cost": 1.0}], ids=str)
def test_a_margin_that_is_no_number_is_named_or_dropped(options, value):
    noise = torch.zeros(1, 2, 1, 64, 5, 1)
    noise[0, 1, 0, 7, 2] = 10.0
    state = torch.tensor([[-0.5], [0.3]])
    with pytest.raises(NonFiniteError, match=r"planner margin .*environment 1, candidate 0, sample 7, step 2"):
        planner(Broken(value), **options).plan(state, noise=noise)
    plan = planner(Broken(value), drop_nonfinite=True, **options).plan(state, noise=noise)
    assert plan.weights[1, 0, 7] == 0
    assert plan.mean.isfinite().all()
    assert plan.soft_value.isfinite().all()


def test_a_cost_that_is_not_finite_is_dropped_with_the_infeasible_ones():
    class Poisoned(HalfLine):
        def running(self, state, action, next_state, parameters):
            return torch.where(next_state[..., 0] < -1.0, torch.nan, -next_state[..., 0])

    state = torch.tensor([[-0.8], [0.9], [30.0]])
    plan = planner(Poisoned(), hard=True, drop_nonfinite=True, init_std=2.0).plan(state)
    assert plan.weights[plan.states[..., 1:, 0].lt(-1.0).any(-1)].eq(0).all()
    assert plan.weights[:2][plan.margin[:2] < 0].eq(0).all()
    assert plan.mean.isfinite().all()
    with pytest.raises(NonFiniteError, match="planner cost"):
        planner(Poisoned(), hard=True, init_std=2.0).plan(state)


def test_a_mean_whose_cost_is_not_finite_gives_way_to_the_best_sample():
    class Hole(HalfLine):
        def running(self, state, action, next_state, parameters):
            return torch.where(next_state[..., 0].abs() < 0.2, torch.nan, 0.0)

    sides = torch.tensor([-1.0, 0.8]).view(1, 1, 2, 1, 1)
    options = {"horizon": 1, "num_samples": 2, "num_zero_mean": 0, "include_mean": False}
    plan = planner(Hole(), hard=True, **options).plan(torch.zeros(1, 1), proposals=sides)
    torch.testing.assert_close(plan.weights, torch.full((1, 1, 2), 0.5))
    assert plan.mean.item() in (-1.0, pytest.approx(0.8))


def test_an_infinite_margin_is_kept():
    class Free(HalfLine):
        def margins(self, state, action, next_state):
            return torch.full_like(next_state, torch.inf)

    for options in ({"hard": True}, {"violation_cost": 3.0}):
        plan = planner(Free(), tighten=5.0, **options).plan(torch.zeros(2, 1))
        assert plan.margin.eq(torch.inf).all()
        assert plan.costs.isfinite().all()


@pytest.mark.parametrize("shape", [lambda x: x[..., 0], lambda x: x[..., :0], lambda x: x[0]])
def test_margins_of_another_shape_are_refused(shape):
    class Odd(HalfLine):
        def margins(self, state, action, next_state):
            return shape(next_state)

    with pytest.raises(UserError, match=r"margins returned the shape .* where \[5, 2, 1, 64, constraint\] is needed"):
        planner(Odd(), hard=True).plan(torch.zeros(2, 1))


PLAIN = FunctionModel(lambda x, u: x + u, lambda x, u: x[..., 0])


@pytest.mark.parametrize(
    ("options", "name"),
    [({"hard": True}, "planner.hard"), ({"violation_cost": 1.0, "tighten": 0.1}, "planner.violation_cost")],
)
def test_a_model_without_margins_is_refused_in_one_line_when_the_planner_is_made(options, name):
    with pytest.raises(UserError, match=name) as error:
        planner(PLAIN, **options)
    assert "\n" not in str(error.value)
    for environment in ("acrobot", "carla_racing", "linear_system", "lunar_lander", "algo.model=known"):
        assert environment in str(error.value)


def test_margins_of_a_model_without_them_cannot_be_asked_for():
    with pytest.raises(UserError, match=r"plan\(margins=True\) needs the margins"):
        planner(PLAIN).plan(torch.zeros(2, 1), margins=True)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"tighten": 0.1}, "planner.tighten=0.1 tightens nothing"),
        ({"tighten": -0.1, "hard": True}, "tighten"),
        ({"violation_cost": -1.0}, "violation_cost"),
        ({"violation_cost": torch.inf}, "violation_cost"),
        ({"violation_cost": torch.nan}, "violation_cost"),
        ({"hard": 2}, "hard"),
    ],
)
def test_options_out_of_range_are_named(options, named):
    with pytest.raises(UserError, match=named):
        MPPIConfig(**options)


class Task(HalfLine):
    """The half-line as an explicit model of an environment."""

    state_dim, action_dim, parameter_dim, nominal = 1, 1, 1, torch.zeros(1)

    def state(self, observation):
        return observation

    def observe(self, state):
        return state

    def reward(self, state, action, next_state):
        return next_state[..., 0]

    def parameters(self, high_action):
        return high_action


def test_a_known_model_and_its_imagination_are_constrained_if_and_only_if_the_task_is():
    class Unconstrained(Task):
        margins = None

    for task, constrained in ((Task(), True), (Unconstrained(), False)):
        model = KnownModel(task)
        assert isinstance(model, Constrained) is constrained
        assert isinstance(Imagination(model), Constrained) is constrained
    state, action = torch.randn(3, 4, 1), torch.randn(3, 4, 1)
    expected = Task().margins(state, action, state)
    for passed_on in (KnownModel(Task()), Imagination(KnownModel(Task()))):
        assert torch.equal(passed_on.margins(state, action, state), expected)
