"""Scoring in compiled units: the costs of whole trajectories, without their states."""

from functools import partial

import pytest
import torch

from pompc.errors import NonFiniteError, UserError
from pompc.models import FunctionModel
from pompc.planner import MPPI, MPPIConfig
from pompc.planner.blend import BlendedMPPI
from pompc.planner.counted import CountedNoise
from pompc.planner.ensemble import EnsembleMPPI
from pompc.planner.layer import SampledLayer
from pompc.planner.noise import WhiteNoise
from pompc.planner.units import MOST_STEPS, Units, _lengths

HORIZON, SAMPLES = 13, 16


@pytest.fixture(autouse=True)
def traced_without_a_compiler(monkeypatch):
    """Trace into graphs without a break; what the compiler makes of a graph is tested elsewhere."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager", fullgraph=True))
    monkeypatch.setattr("pompc.planner.scoring.require_compiler", lambda what: None)


class Line:
    """A point on a line with a wall; beyond ``end`` the episode ends. The cost takes a goal as its parameter."""

    def __init__(self, end=torch.inf):
        self.end = end

    def step(self, state, action):
        return state + 0.3 * torch.tanh(action) - 0.01 * state

    def running(self, state, action, next_state, parameters):
        goal = 0.5 if parameters is None else parameters[..., 0]
        return (next_state[..., 0] - goal).abs() + 0.1 * action[..., 0].square()

    def terminal(self, state, parameters):
        return state[..., 0].square()

    def terminated(self, state, action, next_state):
        return next_state[..., 0].abs() > self.end

    def margins(self, state, action, next_state):
        return 1.0 - next_state.abs()


class Smooth(Line):
    """A cost of changes from step to step: it needs whole trajectories."""

    def running(self, state, action, next_state, parameters):
        last = torch.cat([torch.zeros_like(action[:1]), action[:-1]])
        return (action - last).square().sum(-1)


class Reference(Line):
    """A cost with a parameter for every step of the horizon."""

    def running(self, state, action, next_state, parameters):
        return (next_state[..., 0] - parameters.movedim(-1, 0)).square()


class Braked(Line):
    """A cost of the action before the last state."""

    def terminal_after(self, state, action, parameters):
        return state[..., 0].square() + 2.0 * action[..., 0].square()


def planner(model, made=None, **options):
    config = MPPIConfig(**{"horizon": HORIZON, "num_samples": SAMPLES, "temperature": 0.3, **options})
    return MPPI(config, model, model, 1, **(made or {}))


def compare(model, given=None, made=None, batch=3, candidates=1, **options):
    """Plan eagerly with states and compiled without; both from the same noise. Return the compiled plan."""
    torch.manual_seed(0)
    state, noise = torch.randn(batch, 1), torch.randn(1, batch, candidates, SAMPLES, HORIZON, 1)
    eager = planner(model, made, **options).plan(state, noise=noise, **(given or {}))
    compiled = planner(model, made, compile=True, **options).plan(state, noise=noise, states=False, **(given or {}))
    assert compiled.states is None
    for name in ("costs", "mean", "weights", "soft_value"):
        torch.testing.assert_close(getattr(compiled, name), getattr(eager, name), rtol=1e-4, atol=1e-5)
    if eager.margin is not None:
        torch.testing.assert_close(compiled.margin, eager.margin)
    return compiled


@pytest.mark.parametrize("end", [torch.inf, 1.2])
def test_units_charge_what_whole_trajectories_cost(end):
    compare(Line(end), discount=0.9)


def test_every_environment_has_its_discount_and_every_candidate_its_parameters():
    given = {
        "discount": torch.tensor([1.0, 0.9, 0.5]),
        "parameters": torch.randn(3, 2, 1),
        "terminal_value": lambda state: -state[..., 0].abs(),
    }
    compare(Line(1.5), given, candidates=2)


@pytest.mark.parametrize("options", [{"violation_cost": 2.0}, {"hard": True, "tighten": 0.05}])
def test_units_measure_the_same_margins(options):
    compare(Line(1.5), {"margins": True}, **options)


@pytest.mark.parametrize("end", [torch.inf, 1.2])
def test_costs_averaged_over_depths_are_those_of_the_eager_plan(end):
    compare(Braked(end), {"terminal_value": lambda state: -state[..., 0].abs()}, discount=0.9, depth_decay=0.5)


def test_an_ensemble_is_a_unit_per_member():
    members = [Line(1.2), Braked(), Line()]
    state, noise = torch.randn(3, 1), torch.randn(1, 3, 1, SAMPLES, HORIZON, 1)
    found = []
    for compiled in (False, True):
        config = MPPIConfig(horizon=HORIZON, num_samples=SAMPLES, temperature=0.3, compile=compiled)
        mppi = EnsembleMPPI(config, members[0], members[0], 1, members=members, join=lambda returns: returns.mean(0))
        found.append(mppi.plan(state, noise=noise, states=not compiled))
    torch.testing.assert_close(found[1].costs, found[0].costs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1].mean, found[0].mean, rtol=1e-4, atol=1e-5)


def test_the_last_action_is_charged():
    compare(Braked())


def test_rollouts_of_a_sample_are_units_too():
    compare(Line(1.5), {"margins": True}, num_rollouts=2, risk="worst")


@pytest.mark.parametrize("rate", [None, 0.2])
def test_limits_and_first_action_of_compiled_samples_are_those_of_the_eager_plan(rate):
    given = {"first": torch.rand(3, 1), "previous": torch.zeros(3, 1, 1)}
    compare(Line(), given, {"max_rate": rate}, change_cost=0.1)


def test_a_blend_with_values_is_charged_on_whole_trajectories():
    torch.manual_seed(0)
    given = {"state": torch.randn(2, 1), "noise": torch.randn(1, 2, 1, SAMPLES, HORIZON, 1)}
    plans = []
    for compile in (False, True):
        config = MPPIConfig(horizon=HORIZON, num_samples=SAMPLES, compile=compile)
        mppi = BlendedMPPI(config, Line(), Line(), 1, blend=lambda: 0.4, step_value=lambda state, a: state[..., 0] * 3)
        plans.append(mppi.plan(**given, states=False))
    torch.testing.assert_close(plans[1].costs, plans[0].costs)


def test_a_callback_sees_states_if_the_plan_keeps_them():
    seen = []
    for states in (True, False):
        planner(Line()).plan(torch.zeros(1, 1), states=states, callback=lambda iteration: seen.append(iteration.states))
    assert seen[0].shape == (1, 1, SAMPLES, HORIZON + 1, 1)
    assert seen[1] is None


@pytest.mark.parametrize("model", [Smooth(), Reference()], ids=["smooth", "reference"])
def test_a_cost_of_whole_trajectories_gets_whole_trajectories(model):
    compare(model, {"parameters": torch.randn(3, 1, HORIZON)})


def test_states_on_request_are_those_of_the_eager_plan():
    torch.manual_seed(0)
    state, noise = torch.randn(3, 1), torch.randn(1, 3, 1, SAMPLES, HORIZON, 1)
    plans = [planner(Line(), compile=compile).plan(state, noise=noise) for compile in (False, True)]
    torch.testing.assert_close(plans[1].states, plans[0].states)
    assert plans[1].states.shape == (3, 1, SAMPLES, HORIZON + 1, 1)


def test_blocks_of_samples_score_as_all_at_once(monkeypatch):
    monkeypatch.setattr("pompc.planner.units.BLOCK", 12)
    compare(Line(1.5), {"margins": True}, batch=1)


@pytest.mark.parametrize("dropped", [True, False])
def test_a_bad_cost_is_dropped_or_named_with_its_step(dropped):
    def running(state, action):
        return torch.where(state[..., 0] > 1.0, torch.inf, state[..., 0])

    model = FunctionModel(lambda state, action: state + torch.where(action > 0, 0.3, 0.0), running)
    mppi = planner(model, compile=True, drop_nonfinite=dropped, include_mean=True, num_zero_mean=0)
    noise = torch.full((1, 1, 1, SAMPLES, HORIZON, 1), -1.0)
    noise[0, 0, 0, 5, 3:] = 1.0
    if dropped:
        assert mppi.plan(torch.zeros(1, 1), noise=noise, states=False).costs[0, 0].isinf().nonzero().tolist() == [[5]]
        return
    with pytest.raises(NonFiniteError, match="environment 0, candidate 0, sample 5, step 7"):
        mppi.plan(torch.zeros(1, 1), noise=noise, states=False)


@pytest.mark.parametrize("horizon", range(1, 130))
def test_units_cover_the_horizon_with_at_most_two_lengths(horizon):
    for most in (1, 3, MOST_STEPS):
        lengths = _lengths(horizon, most)
        assert sum(lengths) == horizon
        assert max(lengths) <= most
        assert len(set(lengths)) <= 2
        assert len(lengths) <= 2 * -(-horizon // most)


def test_a_compiled_horizon_makes_no_more_graphs_when_it_is_longer():
    graphs = {}
    for horizon in (24, 240):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        planner(Line(), compile=True, horizon=horizon).plan(torch.zeros(1, 1), states=False)
        graphs[horizon] = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs[24] == graphs[240]


def test_counted_noise_is_standard_white_noise():
    torch.manual_seed(0)
    drawn = CountedNoise()((20000, 6, 3), torch.device("cpu"))
    assert drawn.shape == WhiteNoise()((20000, 6, 3), torch.device("cpu")).shape
    flat = drawn.reshape(20000, -1).double()
    torch.testing.assert_close(flat.mean(0), torch.zeros(18).double(), atol=0.03, rtol=0)
    torch.testing.assert_close(torch.corrcoef(flat.T), torch.eye(18).double(), atol=0.04, rtol=0)
    torch.testing.assert_close(torch.corrcoef(flat.square().T), torch.eye(18).double(), atol=0.04, rtol=0)
    ordered = flat.flatten().sort().values
    levels = torch.tensor([0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999]).double()
    found = ordered[(levels * len(ordered)).long()]
    torch.testing.assert_close(found, torch.special.ndtri(levels), atol=0.03, rtol=0)
    assert ordered.unique().numel() > 0.95 * len(ordered)


def test_counted_noise_repeats_with_the_random_state_and_differs_between_draws():
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        noise = CountedNoise()
        draws += [noise((64, 5, 2), torch.device("cpu")), noise((64, 5, 2), torch.device("cpu"))]
    assert torch.equal(draws[0], draws[2])
    assert torch.equal(draws[1], draws[3])
    pairs = [(0, 1), (0, 4), (1, 5)]
    assert all(
        abs(torch.corrcoef(torch.stack([draws[a].flatten(), draws[b].flatten()]))[0, 1]) < 0.15 for a, b in pairs
    )


def test_counted_noise_takes_dtype_and_generator():
    def drawn(seed):
        made = {"dtype": torch.float64, "generator": torch.Generator().manual_seed(seed)}
        return planner(Line(), made, compile=True).plan(torch.zeros(1, 1)).actions

    before = torch.get_rng_state()
    assert drawn(1).dtype == torch.float64
    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_plan_without_states_says_how_to_keep_them():
    plan = planner(Line()).plan(torch.zeros(1, 1), states=False)
    with pytest.raises(UserError, match="leave states=False out"):
        plan.trajectories()


@pytest.mark.parametrize("end", [torch.inf, 1.2])
def test_a_layer_plans_in_units_and_its_gradients_stay_to_rounding(end, monkeypatch):
    rolled, found = [], []
    monkeypatch.setattr(Units, "score", lambda self, *given, score=Units.score: rolled.append(1) or score(self, *given))
    torch.manual_seed(0)
    state, mean = torch.randn(3, 1), 0.3 * torch.randn(3, HORIZON, 1)
    for compile in (False, True):
        parameters = torch.linspace(-1.0, 1.0, 6).view(3, 2, 1).requires_grad_()
        layer = SampledLayer(planner(Line(end), compile=compile, discount=0.9, noise="spline"))
        plan, value = layer(state, parameters, mean=mean)
        (slope,) = torch.autograd.grad((plan * torch.arange(HORIZON).view(-1, 1)).sum() + value.sum(), parameters)
        found.append((plan.detach(), value.detach(), slope))
    assert len(rolled) == 1, "the compiled plan alone"
    assert found[0][2].abs().min() > 1e-3
    for eager, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-5)
