"""The planner as a layer: its gradients against finite differences, against autograd and against closed forms."""

import math

import pytest
import torch

from pompc.errors import UserError
from pompc.models import NumpyDynamics
from pompc.planner import MPPI, MPPIConfig
from pompc.planner.layer import SampledLayer, layer, require_derivative, warn_of_few
from pompc.planner.noise import CommonNoise, WhiteNoise

HORIZON, TEMPERATURE, STD = 3, 0.7, 0.6


class Curved:
    """A point pushed by its action; the cost has a weight, a target and a bend as parameters."""

    def __init__(self):
        self.push = torch.tensor(0.5, requires_grad=True)
        self.steps = 0

    def step(self, state, action):
        self.steps += action[..., 0].numel()
        return torch.sin(state) + self.push * action

    def running(self, state, action, next_state, parameters):
        weight, target = parameters[..., 0], parameters[..., 1]
        return (weight * (next_state[..., 0] - target).square() + 0.1 * action[..., 0].square()).exp() - 1

    def terminal(self, state, parameters):
        return parameters[..., 2] * state[..., 0].cos()


class Quadratic:
    """The cost ``u' P u / 2 + q' u + c`` of all actions: the state collects them, the parameters are q and c."""

    def __init__(self, matrix):
        self.matrix = matrix

    def step(self, state, action):
        return torch.cat([state[..., 1:], action], -1)

    def running(self, state, action, next_state, parameters):
        return torch.zeros_like(state[..., 0])

    def terminal(self, state, parameters):
        linear = (parameters[..., :HORIZON] * state).sum(-1) + parameters[..., HORIZON]
        return 0.5 * ((state @ self.matrix) * state).sum(-1) + linear


P = torch.tensor([[2.0, 0.3, 0.0], [0.3, 1.0, -0.2], [0.0, -0.2, 0.5]])
Q = torch.tensor([0.8, -0.5, 0.3])


def make(model, **options):
    options = {"num_samples": 64, "num_zero_mean": 0, "init_std": STD, "temperature": TEMPERATURE, **options}
    return MPPI(MPPIConfig(horizon=HORIZON, **options), model, model, 1, low=-9.0, high=9.0)


def inputs(batch=2, candidates=3, samples=64, iterations=1):
    generator = torch.Generator().manual_seed(3)
    parameters = torch.rand(batch, candidates, 3, generator=generator) + 0.3
    noise = torch.randn(iterations, batch, candidates, samples, HORIZON, 1, generator=generator)
    mean = 0.3 * torch.randn(batch, HORIZON, 1, generator=generator)
    return torch.randn(batch, 1, generator=generator), parameters.requires_grad_(), mean, noise


def gradients(layered, *wanted):
    """Differentiate an uneven mix of all entries of the plan, then one of the soft values."""
    mixes = [torch.linspace(-1.0, 2.0, x.numel()).view_as(x) for x in (layered.mean, layered.soft_value)]
    outputs = [(x * mix).sum() for x, mix in zip((layered.mean, layered.soft_value), mixes, strict=True)]
    return [torch.autograd.grad(x, wanted, retain_graph=True, allow_unused=True) for x in outputs]


def quadratic(samples=2**16, **options):
    """Plan for the quadratic cost around zero; return what came out, and q."""
    torch.manual_seed(0)
    planner = make(Quadratic(P), num_samples=samples, **options)
    parameters = torch.cat([Q, torch.tensor([1.5])]).view(1, 1, -1).requires_grad_()
    return planner, parameters


def jacobian(planner, parameters, mean=None, **options):
    found = layer(planner, torch.zeros(1, HORIZON), parameters, mean, **options)
    rows = [torch.autograd.grad(x, parameters, retain_graph=True)[0][0, 0, :HORIZON] for x in found.mean.flatten()]
    return found, torch.stack(rows)


# -- the identities --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"num_elites": 9}, {"num_iterations": 3, "adapt_std": True}])
def test_the_values_are_those_of_a_plan_to_the_last_bit(options):
    model = Curved()
    state, parameters, mean, noise = inputs(iterations=options.get("num_iterations", 1))
    planner = make(model, **options)
    plan = planner.plan(state, parameters=parameters, mean=mean, noise=noise)
    steps = model.steps
    found = layer(planner, state, parameters, mean, noise)
    assert torch.equal(found.mean, plan.mean)
    assert torch.equal(found.soft_value, plan.soft_value)
    assert torch.equal(found.effective_samples, plan.effective_samples)
    assert model.steps == 2 * steps, "the gradient takes no model steps"


@pytest.mark.parametrize("options", [{}, {"num_zero_mean": 8}, {"num_elites": 9}, {"discount": 0.8}])
def test_the_gradients_are_those_of_autograd_through_the_weights(options):
    state, parameters, mean, noise = inputs()
    planner = make(Curved(), **options)
    plan = planner.plan(state, parameters=parameters, mean=mean, noise=noise)
    cost = planner.scorer.evaluate(plan.states, plan.actions, parameters).sum(-1)
    elite = cost.masked_fill(plan.weights == 0, torch.inf)
    direct = torch.einsum("bmk,bmkha->bmha", torch.softmax(-elite / TEMPERATURE, -1), plan.actions)
    soft = -TEMPERATURE * (torch.logsumexp(-cost / TEMPERATURE, -1) - math.log(64))
    found = layer(planner, state, parameters, mean, noise)
    expected = gradients(found._replace(mean=direct, soft_value=soft), parameters)
    for ours, theirs in zip(gradients(found, parameters), expected, strict=True):
        torch.testing.assert_close(ours[0], theirs[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pinned", [False, True])
def test_the_gradients_are_the_finite_differences_of_plans_with_common_noise(pinned):
    state, parameters, mean, noise = inputs()
    planner, first = make(Curved()), torch.tensor([[0.4], [-0.2]]) if pinned else None
    found = layer(planner, state, parameters, mean, noise, first=first)
    ours, step = gradients(found, parameters), 1e-2
    for entry in range(3):
        shift = step * torch.nn.functional.one_hot(torch.tensor(entry), 3)
        ends = [
            planner.plan(state, parameters=parameters + sign * shift, mean=mean, noise=noise, first=first)
            for sign in (1, -1)
        ]
        mixes = [torch.linspace(-1.0, 2.0, x.numel()).view_as(x) for x in (found.mean, found.soft_value)]
        moved = ((ends[0].mean - ends[1].mean) * mixes[0]).sum((-1, -2)) / (2 * step)
        valued = (ends[0].soft_value - ends[1].soft_value) * mixes[1] / (2 * step)
        torch.testing.assert_close(ours[0][0][..., entry], moved, atol=2e-3, rtol=2e-3)
        torch.testing.assert_close(ours[1][0][..., entry], valued, atol=2e-3, rtol=2e-3)


def test_environments_and_candidates_do_not_touch_each_other():
    state, parameters, mean, noise = inputs()
    planner = make(Curved())
    found = layer(planner, state, parameters, mean, noise)
    alone = layer(planner, state[1:], parameters[1:, 2:], mean[1:], noise[:, 1:, 2:])
    torch.testing.assert_close(alone.mean[0, 0], found.mean[1, 2])
    torch.testing.assert_close(alone.soft_value[0, 0], found.soft_value[1, 2])
    (gradient,) = torch.autograd.grad(found.mean[1, 2].sum() + found.soft_value[1, 2], parameters)
    (lonely,) = torch.autograd.grad(alone.mean.sum() + alone.soft_value.sum(), parameters)
    torch.testing.assert_close(lonely, gradient)
    gradient[1, 2] = 0.0
    assert not gradient.any()


# -- closed forms ----------------------------------------------------------------------------------------------------


def test_one_iteration_has_the_gradient_of_mpc_with_a_proximal_term():
    planner, parameters = quadratic()
    found, ours = jacobian(planner, parameters)
    regular = P + TEMPERATURE / STD**2 * torch.eye(HORIZON)
    optimum = -torch.linalg.solve(regular, Q)
    volume = torch.logdet(torch.eye(HORIZON) + STD**2 * P / TEMPERATURE)
    value = 1.5 + 0.5 * Q @ optimum + TEMPERATURE / 2 * volume
    torch.testing.assert_close(found.mean.flatten(), optimum, atol=0.01, rtol=0)
    torch.testing.assert_close(found.soft_value.item(), value.item(), atol=0.01, rtol=0)
    torch.testing.assert_close(ours, -torch.linalg.inv(regular), atol=0.01, rtol=0)
    (slope,) = torch.autograd.grad(found.soft_value.sum(), parameters)
    torch.testing.assert_close(slope.flatten(), torch.cat([optimum, torch.ones(1)]), atol=0.01, rtol=0)


@pytest.mark.parametrize("noise", ["white", "coloured", "integrated"])
def test_the_fixed_point_has_the_gradient_of_the_exact_minimum(noise):
    planner, parameters = quadratic(noise=noise)
    exact = -torch.linalg.inv(P)
    optimum = (exact @ Q).view(1, HORIZON, 1)
    found, implicit = jacobian(planner, parameters, optimum, implicit=True)
    _, one_step = jacobian(planner, parameters, optimum)
    torch.testing.assert_close(found.mean[0], optimum, atol=0.01, rtol=0)
    assert (implicit - exact).abs().max() < 0.06 < 0.5 < (one_step - exact).abs().max()


def test_the_bias_of_the_soft_value_is_a_constant_at_converged_means_only():
    planner, _ = quadratic()
    linear = torch.tensor([[0.8, -0.5, 0.3], [-1.5, 0.2, 1.0], [0.0, 0.0, 0.0]])
    parameters = torch.cat([linear, torch.zeros(3, 1)], -1).unsqueeze(1)
    optimum = -linear @ torch.linalg.inv(P)
    least = 0.5 * (linear * optimum).sum(-1)
    state, noise = torch.zeros(3, HORIZON), torch.randn(1, 1, 1, 2**16, HORIZON, 1).expand(-1, 3, -1, -1, -1, -1)
    biases = [
        layer(planner, state, parameters, mean.unsqueeze(-1), noise).soft_value[:, 0] - least
        for mean in (optimum, torch.zeros(3, HORIZON))
    ]
    constant = TEMPERATURE / 2 * torch.logdet(torch.eye(HORIZON) + STD**2 * P / TEMPERATURE)
    torch.testing.assert_close(biases[0], constant.expand(3), atol=0.01, rtol=0)
    assert biases[1].std() > 0.1


def test_a_pinned_first_action_is_kept_and_the_fixed_point_is_that_of_the_other_actions():
    planner, parameters = quadratic(noise="coloured")
    first = torch.tensor([[0.4]])
    exact = -torch.linalg.inv(P[1:, 1:])
    optimum = torch.cat([first[0], exact @ (Q[1:] + P[1:, 0] * 0.4)])
    found, ours = jacobian(planner, parameters, optimum.view(1, -1, 1), first=first, implicit=True)
    torch.testing.assert_close(found.mean.flatten(), optimum, atol=0.02, rtol=0)
    torch.testing.assert_close(ours[1:, 1:], exact, atol=0.1, rtol=0)
    assert ours[0].abs().max() < 1e-5
    assert ours[1:, 0].abs().max() < 1e-5


def test_a_flat_cost_has_a_finite_gradient_of_its_fixed_point():
    planner, _ = quadratic(256)
    planner = make(Quadratic(torch.zeros(HORIZON, HORIZON)), num_samples=256)
    _, ours = jacobian(planner, torch.zeros(1, 1, HORIZON + 1, requires_grad=True), implicit=True)
    largest = STD**2 / TEMPERATURE / 0.05
    assert ours.diagonal().min() < -1.0
    assert ours.norm() < 2 * HORIZON * largest
    assert torch.isfinite(ours).all()


def test_the_soft_values_of_first_actions_average_to_the_soft_value():
    planner, parameters = quadratic(2**12)
    torch.manual_seed(1)
    first = STD * torch.randn(512, 1)
    every = parameters.detach().expand(512, 1, -1)
    values = layer(
        planner,
        torch.zeros(512, HORIZON),
        every,
        None,
        planner.noise((1, 512, 1, 2**12, HORIZON, 1), planner.device),
        first=first,
    ).soft_value
    free = layer(planner, torch.zeros(1, HORIZON), parameters).soft_value
    total = -TEMPERATURE * (torch.logsumexp(-values / TEMPERATURE, 0) - math.log(512))
    torch.testing.assert_close(total.item(), free.item(), atol=0.05, rtol=0)


# -- through the dynamics --------------------------------------------------------------------------------------------


def test_only_a_second_rollout_has_gradients_of_the_dynamics_the_state_and_the_first_action():
    model = Curved()
    state, parameters, mean, noise = inputs()
    first = torch.tensor([[0.4], [-0.2]]).requires_grad_()
    state = state.requires_grad_()
    planner = make(model)
    plain = layer(planner, state, parameters, mean, noise, first=first)
    assert gradients(plain, model.push, state, first)[1] == (None, None, None)
    before = planner.model_steps
    found = layer(planner, state, parameters, mean, noise, first=first, through_dynamics=True)
    assert planner.model_steps - before == 2 * (before)
    assert torch.equal(found.soft_value, plain.soft_value)
    ours, step = gradients(found, model.push, state, first), 1e-2
    for index, entry in enumerate((model.push, state, first)):
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                entry.add_(sign * step)
                ends.append(planner.plan(state, parameters=parameters, mean=mean, noise=noise, first=first))
                entry.sub_(sign * step)
        mixes = [torch.linspace(-1.0, 2.0, x.numel()).view_as(x) for x in (found.mean[..., 1:, :], found.soft_value)]
        valued = ((ends[0].soft_value - ends[1].soft_value) * mixes[1]).sum() / (2 * step)
        torch.testing.assert_close(ours[1][index].sum(), valued, atol=5e-3, rtol=5e-3)


def test_networks_in_the_terminal_value_get_a_gradient():
    net = torch.nn.Linear(1, 1)
    state, parameters, mean, noise = inputs()
    planner = make(Curved())
    found = layer(planner, state, parameters, mean, noise, terminal_value=lambda state: net(state)[..., 0])
    for gradient in gradients(found, net.weight):
        assert gradient[0].abs().max() > 1e-3


# -- the door --------------------------------------------------------------------------------------------------------


def test_common_noise_seeds_no_device_but_its_own(monkeypatch):
    """``torch.manual_seed`` would seed every device of the machine."""
    monkeypatch.setattr(torch, "manual_seed", lambda seed: pytest.fail("it seeds all devices"))
    drawn = CommonNoise(WhiteNoise(), seed=4)((2, 1, 8, 3, 1), torch.device("cpu"))
    own = torch.Generator().manual_seed(4)
    assert torch.equal(drawn[1, 0], WhiteNoise()((8, 3, 1), torch.device("cpu"), generator=own))


def test_common_noise_gives_the_same_plan_in_any_batch_and_leaves_the_random_state():
    state, parameters, mean, _ = inputs()
    planner = make(Curved(), noise="spline", noise_knots=2)
    planner.noise = CommonNoise(planner.noise, seed=4)
    before = torch.get_rng_state()
    together, again = (layer(planner, state, parameters, mean) for _ in range(2))
    assert torch.equal(together.mean, again.mean)
    assert torch.equal(before, torch.get_rng_state())
    alone = layer(planner, state[1:], parameters[1:], mean[1:])
    torch.testing.assert_close(alone.mean, together.mean[1:])
    other = make(Curved(), noise="spline", noise_knots=2)
    other.noise = CommonNoise(other.noise, seed=5)
    assert not torch.allclose(layer(other, state, parameters, mean).mean, together.mean)


def test_as_a_layer_the_planner_repeats_its_plan_and_its_value_depends_on_the_first_action():
    state, parameters, mean, _ = inputs()
    sampled = SampledLayer(make(Curved()))
    is_init = torch.tensor([[False], [True]])
    plan, again = (sampled(state, parameters, mean=mean, is_init=is_init)[0] for _ in range(2))
    assert torch.equal(plan, again)
    assert not torch.allclose(sampled(state, parameters, mean=mean)[0][1], plan[1])
    first = plan[:, 0, 0].detach()
    pinned, near = sampled(state, parameters, first, mean=mean, is_init=is_init)
    torch.testing.assert_close(pinned[:, :, 0], first.unsqueeze(1).expand(-1, 3, -1))
    far = sampled(state, parameters, first + 2.0, mean=mean, is_init=is_init)[1]
    assert (far[:, 0] > near[:, 0] + 0.5).all()
    assert gradients(layer(sampled.planner, state, parameters, mean), parameters)[0][0].any()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"hard": True}, "planner.hard"),
        ({"control_cost": 0.5}, "control_cost"),
        ({"drop_nonfinite": True}, "nonfinite"),
        ({"effective_samples": 5.0}, "effective_samples"),
        ({"num_rollouts": 2}, "num_rollouts"),
    ],
)
def test_options_without_a_derivative_are_refused(options, named):
    with pytest.raises(UserError, match=named):
        require_derivative(MPPIConfig(**options))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"adapt_std": True}, "adapt_std"),
        ({"num_zero_mean": 2}, "num_zero_mean"),
        ({"num_elites": 5}, "elites"),
        ({"init_covariance": [[1.0]]}, "init_covariance"),
    ],
)
def test_a_fixed_point_is_refused_for_other_samples(options, named):
    state, parameters, mean, noise = inputs()
    with pytest.raises(UserError, match=named):
        layer(make(Curved(), **options), state, parameters, mean, noise, implicit=True)


def test_a_fixed_point_is_refused_for_samples_that_a_limit_of_change_moves():
    state, parameters, mean, noise = inputs()
    config, model = make(Curved()).config, Curved()
    limited = MPPI(config, model, model, 1, low=-9.0, high=9.0, max_rate=0.1)
    with pytest.raises(UserError, match="leave out max_rate and max_acceleration"):
        layer(limited, state, parameters, mean, noise, implicit=True)


def test_through_the_dynamics_a_limit_of_change_holds_the_first_action_as_in_the_plan():
    """At the limit, the first action of the samples does not move with the given one; below it, it does."""
    state, parameters, mean, noise = inputs()
    config, model = make(Curved()).config, Curved()
    limited = MPPI(config, model, model, 1, low=-9.0, high=9.0, max_rate=0.3)
    first = torch.tensor([[0.8], [0.2]]).requires_grad_()
    found = layer(limited, state, parameters, mean, noise, first=first, through_dynamics=True)
    torch.testing.assert_close(found.mean[:, 0, 0], torch.tensor([[0.3], [0.2]]))
    (slope,) = torch.autograd.grad(found.soft_value.sum(), first)
    assert slope[0] == 0
    assert slope[1].abs() > 1e-3
    applied = torch.tensor([[0.3], [0.2]])
    torch.testing.assert_close(
        found.soft_value,
        layer(limited, state, parameters, mean, noise, first=applied, through_dynamics=True).soft_value,
    )


def test_through_the_dynamics_needs_a_model_and_a_cost_with_a_derivative():
    state, parameters, mean, noise = inputs()
    simulator = NumpyDynamics(lambda state, action: state + action)
    planner = MPPI(make(Curved()).config, simulator, Curved(), 1)
    with pytest.raises(UserError, match="through_dynamics needs a model in torch, and NumpyDynamics simulates"):
        layer(planner, state, parameters, mean, noise, through_dynamics=True)
    with pytest.raises(UserError, match=r"planner.change_cost has no gradient with respect to first"):
        layer(make(Curved(), change_cost=1.0), state, parameters, first=torch.zeros(2, 1), through_dynamics=True)


def test_a_first_action_of_another_shape_is_refused():
    with pytest.raises(UserError, match="first has the shape"):
        make(Curved()).plan(torch.zeros(2, 1), parameters=torch.ones(2, 1, 3), first=torch.zeros(1, 1))


def test_few_effective_samples_are_warned_of():
    with pytest.warns(UserWarning, match="effective samples are few"):
        warn_of_few(9.9)
    warn_of_few(10.1)
