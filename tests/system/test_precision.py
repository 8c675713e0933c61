"""The precision of matrix products is switched for a block and for nothing else."""

from types import SimpleNamespace

import pytest
import tiny
import torch

from pompc.errors import NonFiniteError, UserError
from pompc.models import FunctionModel
from pompc.planner import MPPI, MPPIConfig
from pompc.system.precision import (
    PLANNING,
    PRECISIONS,
    matmul_precision,
    onednn_is_float32,
    products_are_centred,
    warn_of_slow_products,
)


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    """Restore the precision; keep the three apart, also on a machine that replaces them all by one."""
    monkeypatch.setattr("pompc.system.precision.onednn_is_float32", lambda: False)
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("before", PRECISIONS)
@pytest.mark.parametrize("inside", PRECISIONS)
def test_a_block_has_its_precision_and_leaves_the_one_before(before, inside):
    torch.set_float32_matmul_precision(before)
    with matmul_precision(inside):
        assert torch.get_float32_matmul_precision() == inside
    assert torch.get_float32_matmul_precision() == before
    with pytest.raises(KeyError), matmul_precision(inside):
        raise KeyError
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("inside", PLANNING)
def test_convolutions_are_rounded_unless_it_is_highest(inside, before, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", before)
    with matmul_precision(inside):
        assert torch.backends.cudnn.allow_tf32 == (inside in ("high", "medium"))
    assert torch.backends.cudnn.allow_tf32 == before


def test_blocks_nest():
    torch.set_float32_matmul_precision("highest")
    seen = []
    with matmul_precision("medium"):
        with matmul_precision("high"):
            seen.append(torch.get_float32_matmul_precision())
        seen.append(torch.get_float32_matmul_precision())
    assert [*seen, torch.get_float32_matmul_precision()] == ["high", "medium", "highest"]


def test_highest_is_exact_and_medium_is_close():
    a, b = torch.randn(64, 300), torch.randn(300, 64)
    exact = a.double() @ b.double()
    errors = []
    for precision in PRECISIONS:
        with matmul_precision(precision):
            errors.append(((a @ b).double() - exact).abs().max().item() / exact.abs().max().item())
    assert errors[0] < 1e-5
    assert max(errors) < 2e-2


@pytest.mark.parametrize("value", ["low", "", "Medium", "bfloat16"])
def test_anything_else_is_refused_in_one_line(value):
    with pytest.raises(UserError, match=r"planner\.matmul_precision must be one of highest, high, medium") as caught:
        MPPIConfig(matmul_precision=value)
    assert "\n" not in str(caught.value)


def watched(seen, cost=0.0):
    """A model that notes the precision of its steps and costs."""

    def step(state, action):
        seen.append(torch.get_float32_matmul_precision())
        return state + action

    def running(state, action):
        seen.append(torch.get_float32_matmul_precision())
        return state[..., 0] + cost

    return FunctionModel(step, running)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_planner_evaluates_its_model_in_the_precision_it_is_given(precision):
    torch.set_float32_matmul_precision("highest")
    seen = []
    model = watched(seen)
    MPPI(MPPIConfig(horizon=3, num_iterations=2, matmul_precision=precision), model, model, 1).plan(torch.zeros(2, 1))
    assert seen == [precision] * 2 * (3 + 1)
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_plan_that_fails_leaves_the_precision_as_it_was():
    torch.set_float32_matmul_precision("high")
    model = watched([], cost=torch.nan)
    planner = MPPI(MPPIConfig(horizon=3, matmul_precision="medium"), model, model, 1)
    with pytest.raises(NonFiniteError):
        planner.plan(torch.zeros(2, 1))
    assert torch.get_float32_matmul_precision() == "high"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_update_learns_in_its_precision_and_acts_in_the_planners(precision, monkeypatch):
    torch.set_float32_matmul_precision("highest")
    agent, seen = tiny.agent(matmul_precision=precision), SimpleNamespace(update=[], plan=[])
    agent.budget.transitions, agent.budget.burst = 21, 0  # beyond the seed phase
    loss, charge = agent.model_loss, agent.planner.scorer.charge
    note = torch.get_float32_matmul_precision
    monkeypatch.setattr(agent, "model_loss", lambda batch: seen.update.append(note()) or loss(batch))
    monkeypatch.setattr(agent.planner.scorer, "charge", lambda *a: seen.plan.append(note()) or charge(*a))
    agent.update(tiny.batch(agent))
    tiny.World(agent).step()
    assert seen.update == [precision]
    assert set(seen.plan) == {"highest"}
    assert note() == "highest"
    batch = tiny.batch(agent)
    batch["observation"][0] = torch.nan
    with pytest.raises(NonFiniteError):
        agent.update(batch)
    assert note() == "highest"


@pytest.mark.parametrize("value", PRECISIONS)
def test_medium_replaces_all_precisions_if_it_is_float32(value, monkeypatch):
    monkeypatch.setattr("pompc.system.precision.onednn_is_float32", lambda: True)
    before = torch.get_float32_matmul_precision()
    with matmul_precision(value):
        assert torch.get_float32_matmul_precision() == "medium"
    assert torch.get_float32_matmul_precision() == before


def test_products_are_float32_on_this_machine_whichever_library_makes_them(monkeypatch):
    monkeypatch.setattr("pompc.system.precision.onednn_is_float32", onednn_is_float32)
    a, b = torch.randn(256, 384), torch.randn(384, 384)
    exact = a.double() @ b.double()
    with matmul_precision("highest"):
        products = (
            a @ b,
            torch.baddbmm(torch.zeros(1, 1, 384), a[None], b[None])[0],
            torch.addmm(torch.zeros(384), a, b),
        )
    for product in products:
        assert (product - exact).abs().max() < 1e-5 * exact.abs().max()  # bfloat16 factors: 2e-3


@pytest.mark.parametrize(("vendor", "cuda"), [("GenuineIntel", False), ("", False), ("AuthenticAMD", True)])
def test_float32_is_not_replaced_on_other_processors_or_beside_cuda(vendor, cuda, monkeypatch):
    monkeypatch.setattr("pompc.system.precision.cpu_vendor", lambda: vendor)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert not onednn_is_float32.__wrapped__()


@pytest.mark.parametrize("rounds", [False, True])
def test_whether_medium_rounds_is_tried(rounds, monkeypatch):
    monkeypatch.setattr("pompc.system.precision.cpu_vendor", lambda: "AuthenticAMD")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    product = (lambda a, b: a.bfloat16().float()) if rounds else (lambda a, b: a.clone())
    monkeypatch.setattr(torch.Tensor, "__matmul__", product)
    assert onednn_is_float32.__wrapped__() is not rounds
    assert torch.get_float32_matmul_precision() == "highest"


def test_centred_products_are_asked_for_by_a_block_and_end_with_it():
    with matmul_precision("centred"):
        assert products_are_centred()
        assert torch.get_float32_matmul_precision() == "highest"
        with matmul_precision("medium"):
            assert not products_are_centred()
        assert products_are_centred()
    assert not products_are_centred()
    with pytest.raises(KeyError), matmul_precision("centred"):
        raise KeyError
    assert not products_are_centred()


def test_only_a_planner_takes_centred_products():
    assert MPPIConfig(matmul_precision="centred").matmul_precision in PLANNING
    with pytest.raises(UserError, match=r"algo\.matmul_precision must be one of highest, high, medium, not 'centred'"):
        tiny.config(matmul_precision="centred")


@pytest.mark.parametrize(
    ("field", "flags", "slow"),
    [
        ("flags", "fpu sse2 avx2 fma", True),
        ("flags", "fpu avx2 avx512f avx512_bf16", False),
        ("flags", "fpu amx_bf16 amx_tile", False),
        ("Features", "fp asimd", True),
        ("Features", "fp asimd bf16", False),
        ("unreadable", "", False),
    ],
)
def test_centred_products_warn_on_a_processor_without_bfloat16(field, flags, slow, monkeypatch, recwarn):
    monkeypatch.setattr("pompc.system.process._cpuinfo", lambda name: flags if name == field else "")
    for precision in PLANNING:
        tiny.agent(planner={"matmul_precision": precision})
    assert [str(warning.message).split()[0] for warning in recwarn] == ["planner.matmul_precision=centred"] * slow


def test_centred_products_do_not_warn_on_cuda(monkeypatch, recwarn):
    monkeypatch.setattr("pompc.system.precision.lacks_bfloat16", lambda: True)
    warn_of_slow_products("centred", torch.device("cuda"))
    assert not recwarn.list
