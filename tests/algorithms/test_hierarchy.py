"""How the algorithms of the zoo stand on the base class, and who acts where a class decides it."""

import pytest

from pompc.agent import MPPIRL
from pompc.config.compose import compose
from pompc.errors import UserError
from pompc.registry import ALGORITHMS


@pytest.mark.parametrize("name", ALGORITHMS.builtin)
def test_at_most_three_classes_stand_between_the_base_class_and_an_algorithm(name):
    cls = ALGORITHMS.resolve(name)
    between = [base for base in cls.__mro__[1:] if issubclass(base, MPPIRL) and base is not MPPIRL]
    assert issubclass(cls, MPPIRL)
    assert len(between) <= 3


@pytest.mark.parametrize("name", ["ppo", "adaptive_hrl", "hrl_mpc", "subgoal", "dtc", "mppi"])
def test_a_class_that_decides_who_acts_refuses_the_option(name):
    with pytest.raises(UserError, match=r"^unknown key 'policy_share'"):
        compose(name, "acrobot", ["policy_share=0.5"])


@pytest.mark.parametrize("name", ["tdmpc2", "tdmpc_square", "bmpc", "pompc", "adaptive_pompc"])
def test_off_policy_who_acts_is_a_number_or_a_schedule(name):
    assert compose(name, "acrobot", ["policy_share=0.5"])["policy_share"] == 0.5
    schedule = compose(name, "acrobot", ["policy_share={schedule: linear, initial: 0.0, to: 1.0}"])["policy_share"]
    assert (schedule["schedule"], schedule["initial"], schedule["to"]) == ("linear", 0.0, 1.0)


@pytest.mark.parametrize(("name", "dial"), [("ppo", "kl_weight"), ("mppi", "virtual_ratio")])
def test_a_baseline_has_its_dials_at_zero(name, dial):
    with pytest.raises(UserError, match=f"^{dial} must be 0: {name} "):
        ALGORITHMS.resolve(name).Config(**{dial: 0.5})
