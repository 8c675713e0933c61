"""The planner checks its inputs and names every fault with the needed shape."""

import numpy as np
import pytest
import torch

from pompc.errors import NonFiniteError, UserError
from pompc.models import FunctionModel
from pompc.planner import MPPI, MPPIConfig

B, M, N, H, A, P = 3, 2, 16, 4, 2, 1


class Following:
    """A point that pays its distance from a target."""

    def step(self, state, action):
        return state + action

    def running(self, state, action, next_state, parameters):
        return (state - parameters).square().sum(-1)

    def terminal(self, state, parameters):
        return torch.zeros_like(state[..., 0])


def planner(model=None, *, low=-1.0, high=1.0, device="cpu", action_dim=A, **options):
    model = Following() if model is None else model
    config = MPPIConfig(**{"horizon": H, "num_samples": N, "num_iterations": 2, **options})
    return MPPI(config, model, model, action_dim, low=low, high=high, device=device)


def right():
    return {
        "state": torch.randn(B, A),
        "parameters": torch.randn(B, M, A),
        "mean": torch.rand(B, H, A),
        "is_init": torch.tensor([True, False, False]),
        "proposals": torch.rand(B, M, P, H, A),
        "discount": torch.rand(B),
        "noise": torch.randn(2, B, M, N, H, A),
    }


def plan(mppi=None, **given):
    given = {**right(), **given}
    return (planner() if mppi is None else mppi).plan(given.pop("state"), **given)


def test_right_inputs_are_taken():
    torch.manual_seed(0)
    given = right()
    first = plan(**given)
    assert first.mean.shape == (B, M, H, A)
    same = {"is_init": given["is_init"][:, None], "discount": given["discount"][:, None]}
    assert torch.equal(plan(**{**given, **same}).mean, first.mean)
    shared = {**given, "proposals": given["proposals"][:, :1]}
    each = {**given, "proposals": given["proposals"][:, :1].expand(-1, M, -1, -1, -1)}
    assert torch.equal(plan(**shared).mean, plan(**each).mean)


WRONG = {
    "state": [(A,), (B, 1, A), ()],
    "parameters": [(1, M, A), (B, A), (B + 1, M, A), (M, A)],
    "mean": [(1, H, A), (B, H + 1, A), (B, H, 1), (H, A), (B, M, H, A), (B, A, H), (1, 1, A)],
    "proposals": [(1, 1, P, H, A), (B, M + 1, P, H, A), (B, P, H, A), (B, M, P, H, 1), (B, M, P, 1, A)],
    "discount": [(), (1,), (B, M), (1, B)],
    "noise": [
        (N, H, A),
        (1, B, M, N, H, A),
        (2, B, 1, N, H, A),
        (2, 1, M, N, H, A),
        (2, B, M, 1, H, A),
        (2, B, M, N, H, 1),
    ],
}


@pytest.mark.parametrize(("name", "shape"), [(name, shape) for name, shapes in WRONG.items() for shape in shapes])
def test_a_wrong_shape_is_refused_by_the_arguments_name_and_both_shapes(name, shape):
    needed = " or ".join(
        {
            "state": [r"\[batch, state\]"],
            "parameters": [rf"\[{B}, candidate, parameter\]"],
            "mean": [rf"\[{B}, {H}, {A}\], \[batch, horizon, action\]"],
            "proposals": [rf"\[{B}, 1, proposal, {H}, {A}\]", rf"\[{B}, {M}, proposal, {H}, {A}\]"],
            "discount": [rf"\[{B}\]", rf"\[{B}, 1\]"],
            "noise": [rf"\[2, {B}, {M}, {N}, {H}, {A}\]"],
        }[name]
    )
    shown = str(list(shape)).replace("[", r"\[").replace("]", r"\]")
    with pytest.raises(UserError, match=rf"^{name} has the shape {shown}; it must be {needed}"):
        plan(**{name: torch.zeros(shape)})


@pytest.mark.parametrize("shape", [(), (1,), (B + 1,), (1, B), (B, 2)])
def test_is_init_of_a_wrong_shape_is_refused(shape):
    with pytest.raises(UserError, match=r"^is_init has the shape .*must be \[3\] or \[3, 1\]"):
        plan(is_init=torch.zeros(shape, dtype=torch.bool))


def test_an_input_without_environments_is_refused_with_the_way_to_share_it():
    with pytest.raises(UserError, match=r"pass mean\.unsqueeze\(0\)$"):
        plan(mean=torch.zeros(H, A))
    with pytest.raises(
        UserError, match=r"for the same in all environments pass noise\.expand\(-1, 3, -1, -1, -1, -1\)$"
    ):
        plan(noise=torch.zeros(2, 1, M, N, H, A))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64, torch.int32, torch.uint8])
def test_other_numbers_are_converted(dtype):
    state, noise = torch.tensor([[1, 0], [2, 1], [0, 3]]), torch.randn(2, B, M, N, H, A)
    given = {**right(), "noise": noise, "is_init": torch.zeros(B, dtype=torch.bool)}
    for name in ("mean", "proposals", "parameters"):
        given[name] = torch.ones_like(given[name])
    expected = plan(**{**given, "state": state.float()})
    names = ("mean", "proposals", "parameters")
    found = plan(**{**given, "state": state.to(dtype)})
    others = plan(**{**given, "state": state.to(dtype), **{name: given[name].to(dtype) for name in names}})
    for one in (found, others):
        assert one.mean.dtype == torch.float32
        assert torch.equal(one.mean, expected.mean)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("state", np.zeros((B, A)), r"state must be a torch.Tensor, not ndarray: pass torch.as_tensor\(state\)"),
        ("discount", 0.9, "discount must be a torch.Tensor, not float"),
        ("is_init", torch.zeros(B), r"is_init must be of torch.bool, not torch.float32: pass is_init.bool\(\)"),
        ("state", torch.zeros(B, A, dtype=torch.complex64), "state must be of real numbers, not of torch.complex64"),
        ("mean", torch.zeros(B, H, A, dtype=torch.bool), "mean must be of real numbers, not of torch.bool"),
        ("mean", torch.zeros(B, H, A, device="meta"), r"mean is on meta, the planner on cpu: pass mean.to\('cpu'\)"),
    ],
)
def test_another_type_or_device_is_refused(name, value, words):
    with pytest.raises(UserError, match=words):
        plan(**{name: value})


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("name", ["state", "parameters", "mean", "proposals", "discount", "noise"])
def test_a_number_that_is_not_finite_is_named_even_where_samples_are_dropped(name, drop, bad):
    given = right()
    place = tuple(size - 1 for size in given[name].shape)
    given[name][place] = bad
    with pytest.raises(NonFiniteError, match=rf"^planner {name} is not finite \(first at the index \[.*\d\]\)"):
        plan(planner(drop_nonfinite=drop), **given)


def test_an_infinite_warm_start_is_named_even_if_the_cost_is_finite():
    free = FunctionModel(lambda x, u: x, lambda x, u: torch.zeros_like(x[..., 0]))
    for bad in (torch.nan, torch.inf):
        with pytest.raises(NonFiniteError, match="planner mean"):
            planner(free).plan(torch.zeros(1, 1), mean=torch.full((1, H, A), bad))
    dropped = torch.full((1, H, A), torch.nan)
    assert planner(free).plan(torch.zeros(1, 1), mean=dropped, is_init=torch.tensor([True])).mean.isfinite().all()


def test_costs_may_overflow_in_their_sum_over_samples():
    large = FunctionModel(lambda x, u: x, lambda x, u: 5e37 + 1e37 * u[..., 0])
    found = planner(large).plan(torch.zeros(B, 1))
    assert found.costs.isfinite().all()
    assert found.mean.isfinite().all()


# -- bounds, options and the user's functions ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"low": 1.0, "high": -1.0}, r"low=1 is above high=-1 in entry 0 of the action"),
        ({"low": torch.tensor([0.0, 0.5]), "high": torch.tensor([1.0, 0.2])}, r"low=0.5 is above high=0.2 in entry 1"),
        ({"low": torch.zeros(3)}, r"low has the shape \[3\]; it must be one number or \[2\]"),
        ({"high": torch.zeros(1, 2)}, r"high has the shape \[1, 2\]"),
        ({"high": float("nan")}, "high=.*nan.* is not a number"),
        ({"init_std": 3.0}, r"init_std=3.0 is above planner.max_std=2.0"),
        ({"init_std": (0.5, 2.5)}, r"init_std=\(0.5, 2.5\) is above planner.max_std=2.0"),
        ({"num_zero_mean": -1}, "num_zero_mean must be at least 0, not -1"),
        ({"control_cost": 1.5}, r"control_cost must lie in \[0, 1\]"),
        ({"control_cost": 0.1, "adapt_std": True, "min_std": 0.0}, "raise planner.min_std"),
    ],
)
def test_bounds_and_options_that_contradict_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        planner(**options)


def test_a_locked_action_and_open_bounds_are_taken():
    mppi = planner(low=torch.tensor([-torch.inf, 0.3]), high=torch.tensor([torch.inf, 0.3]))
    assert (plan(mppi).actions[..., 1] == 0.3).all()
    assert MPPIConfig(init_std=2.0, max_std=2.0).init_std == 2.0


def zero(x, *_):
    return torch.zeros_like(x[..., 0])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (FunctionModel(lambda x, u: x[..., :1], zero), r"dynamics.step returned the shape \[3, 1, 16, 1\] where"),
        (FunctionModel(lambda x, u: x, lambda x, u: zero(x)[..., None]), r"cost.running returned the shape"),
        (FunctionModel(lambda x, u: x, zero, lambda x: x), r"cost.terminal less the terminal value returned the shape"),
    ],
)
def test_a_function_that_returns_another_shape_is_named(model, words):
    with pytest.raises(UserError, match=words):
        planner(model).plan(torch.zeros(B, A))


def test_a_terminal_value_with_a_dimension_too_many_is_named():
    free = FunctionModel(lambda x, u: x, zero)
    with pytest.raises(UserError, match=r"cost.terminal less the terminal value returned the shape \[3, 3, 16, 16\]"):
        planner(free).plan(torch.zeros(B, A), terminal_value=lambda x: x[..., :1])
