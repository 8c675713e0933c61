"""The cases of tests/cases/planner: wrong inputs are refused by name, and the importance term has no bias."""

import importlib.util
import re
from pathlib import Path

import pytest

from pompc.errors import UserError

CASES = Path(__file__).parent.parent / "cases" / "planner"


def case(name):
    spec = importlib.util.spec_from_file_location(name, CASES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unbatched_state", r"state has the shape \[2\]; it must be \[batch, state\]: .* state.unsqueeze\(0\)"),
        ("init_std_above_max_std", r"init_std=30.0 is above planner.max_std=2.0: raise planner.max_std"),
        ("noise_of_a_wrong_shape", r"noise has the shape \[256, 20, 1\]; it must be \[1, 1, 1, 256, 20, 1\]"),
        ("mean_of_one_for_three", r"mean has the shape \[1, 20, 1\]; it must be \[3, 20, 1\].*expand\(3, -1, -1\)"),
        ("parameters_of_one_for_three", r"parameters has the shape \[1, 1, 1\]; it must be \[3, .*expand\(3, -1, -1\)"),
    ],
)
def test_silent_inputs_are_refused(name, words):
    with pytest.raises(UserError, match=words):
        getattr(case("silent_inputs"), name)()


@pytest.mark.parametrize(
    "options",
    [{}, {"noise": "coloured"}, {"noise": "coloured", "noise_exponent": 2.0}, {"num_zero_mean": 4096}],
    ids=str,
)
def test_little_is_left_of_a_warm_start_without_costs(options):
    start, left = map(float, re.findall(r"\d+\.\d+", case("numerics").left_over(**options)))
    assert start > 0.4
    assert left < 0.07
