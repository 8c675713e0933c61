"""The same comparisons hold for files of other sizes, which an independent, plain BOOM makes."""

import math

import pytest
from parity import Case, check_networks, check_planner, check_sequences, check_updates
from plain_boom import Sizes, make_file
from torch import nn

from pompc.networks.layers import SimNorm

FILES = {
    "small": Sizes(obs=5, action=2, enc=20, enc_layers=3, mlp=28, latent=12, group=4, horizon=2, batch=24, heads=2),
    "three_heads": Sizes(
        obs=9, action=4, enc=16, enc_layers=2, mlp=24, latent=24, group=8, horizon=4, batch=12, heads=3, pair=(2, 0)
    ),
    "middle": Sizes(obs=31, action=38, enc=24, enc_layers=2, mlp=32, latent=21, group=8, horizon=3, batch=20, heads=2),
    "many": Sizes(obs=20, action=50, enc=24, enc_layers=2, mlp=32, latent=16, group=8, horizon=2, batch=16, heads=2),
}
"""Files: SimNorm is off and the alignment weak for 24 to 48 action entries, so in "middle"."""
_MADE = {}


@pytest.fixture(params=FILES)
def case(request):
    """Make every file once, and an agent of it per test."""
    if request.param not in _MADE:
        _MADE[request.param] = make_file(FILES[request.param])
    return Case(_MADE[request.param], strict=True)


def test_networks(case):
    check_networks(case)
    in_the_middle = 24 <= case.data["inference"]["action"].shape[-1] <= 48
    assert isinstance(case.agent.model.dynamics[-1].activation, nn.Identity if in_the_middle else SimNorm)
    assert case.agent.alignment_coef == (1 / 1000 if in_the_middle else 1 / 50)


def test_value_of_action_sequences(case):
    check_sequences(case)


def test_updates(case, monkeypatch):
    check_updates(case, monkeypatch)


def test_planner(case):
    check_planner(case, fixed=(math.inf, math.inf))


@pytest.mark.parametrize(
    ("options", "check"),
    [
        ({"simnorm": False}, lambda case, patch: check_networks(case)),
        ({"alignment_coef": 1 / 1000}, check_updates),
        ({"policy_value": "mean"}, check_updates),
    ],
    ids=["simnorm", "coefficient", "mean of the heads"],
)
def test_the_comparison_sees_another_option(options, check, monkeypatch):
    if "small" not in _MADE:
        _MADE["small"] = make_file(FILES["small"])
    with pytest.raises(AssertionError):
        check(Case(_MADE["small"], strict=True, **options), monkeypatch)
