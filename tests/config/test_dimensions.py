"""Words that stand for several values, in Hydra's grammar."""

import pytest

from pompc.config.compose import compose, compose_each
from pompc.config.dimensions import Span, dimension
from pompc.errors import UserError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("algo=ppo", ("ppo",)),
        ("algo=ppo,mppi", ("ppo", "mppi")),
        ("seed=choice(0,1)", ("0", "1")),
        ("seed=range(1,4)", ("1", "2", "3")),
        ("seed=range(3,0,-1)", ("3", "2", "1")),
        ("virtual_ratio=range(0,1,0.1)", tuple(f"{tenths / 10}" for tenths in range(10))),
        ("env=my_task:Reach-v0,gym/Pendulum-v1", ("my_task:Reach-v0", "gym/Pendulum-v1")),
        ("algo.hidden_sizes=[16,16]", ("[16,16]",)),
        ("algo.hidden_sizes=[16],[32,32]", ("[16]", "[32, 32]")),
        ("policy_share={over: 64},0.5", ("{over: 64}", "0.5")),
        ("wandb.group='a,b'", ("'a,b'",)),
        ("wandb.group='7',null,true", ("'7'", "null", "true")),
        ("run_dir=a#b", ("a#b",)),
        ("run_dir=~/runs", ("~/runs",)),
        ("steps=", ("",)),
    ],
)
def test_a_text_lists_its_values(text, values):
    assert dimension(text).values == values


@pytest.mark.parametrize(
    ("text", "span", "ends"),
    [
        ("k=interval(0,1)", Span(0.0, 1.0), ("0.0", "1.0")),
        ("k=tag(log,interval(1e-4,1e-2))", Span(1e-4, 1e-2, log=True), ("0.0001", "0.01")),
        ("k=tag(int,interval(10,30))", Span(10, 30, whole=True), ("10", "30")),
    ],
)
def test_an_interval_has_ends_and_no_values(text, span, ends):
    found = dimension(text)
    assert (found.values, found.span, found.ends) == ((), span, ends)


def test_a_range_is_values_and_numbers_both_without_its_stop():
    assert dimension("k=range(10,31,10)").span == Span(10, 30, step=10, whole=True)
    assert dimension("k=range(1,2,0.5)").span == Span(1.0, 1.5, step=0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k=choice(1,2", "put one value in quotes"),
        ("k=1,", "cannot read k=1, as several values"),
        ("k=it's,b", "put one value in quotes"),
        ("k=range(3,1)", "has no values"),
        ("k=range(0,3,0)", "must not be zero"),
        ("k=glob(*)", "name them, k=a,b"),
        ("k=interval(5,1)", "the first number must be the smaller one"),
        ("k=interval(1,2),3", "cannot hold a range"),
        ("k=tag(log,interval(0,1))", "begins above 0"),
        ("k=tag(log,range(1,9,2))", "has no step"),
        ("k=tag(lin,interval(0,1))", "there are: log, int"),
        ("k", "is not key=value"),
        ("+k=1,2", "cannot be added"),
    ],
)
def test_what_cannot_be_read_is_one_line(text, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(").replace("+", r"\+")) as caught:
        dimension(text)
    assert "\n" not in str(caught.value)


def test_many_lines_compose_as_each_alone():
    lines = [["algo=ppo", "env=acrobot", "seed=1"], ["algo=ppo", "env=acrobot"], ["algo=mppi", "env=acrobot", "seed=2"]]
    alone = [compose("ppo", "acrobot", ["seed=1"]), compose("ppo", "acrobot"), compose("mppi", "acrobot", ["seed=2"])]
    assert list(compose_each(lines)) == alone
