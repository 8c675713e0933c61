"""Plain values -> frozen dataclasses and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from pompc.config.schema import build, first_sentence, group
from pompc.config.values import MISSING, plain
from pompc.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Inner:
    decay: float = 0.9
    name: str = "inv"


@dataclass(frozen=True, kw_only=True)
class Outer:
    count: int
    rate: float = 0.5
    flag: bool = False
    mode: Literal["a", "b"] = "a"
    shape: tuple[int, ...] = (64, 64)
    pair: tuple[float, str] = (1.0, "x")
    zones: tuple[tuple[float, float, float], ...] = ()
    dial: float | Inner = field(default_factory=Inner)
    limit: float | None = None
    where: Path = Path("runs")
    options: dict[str, Any] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)


def test_defaults_build_the_default():
    values = group(Outer).defaults()
    assert values["count"] == MISSING
    assert values["shape"] == [64, 64]
    values["count"] = 3
    assert build(Outer, values) == Outer(count=3)
    assert plain(build(Outer, values)) == values


def test_values_become_what_the_annotations_say():
    built = build(
        Outer,
        {"count": 1e6, "rate": 1, "shape": [1, 2, 3], "zones": [[0, 1, 2]], "dial": 0.3, "limit": 2, "where": "here"},
    )
    assert (built.count, built.rate, built.shape, built.dial, built.limit) == (1_000_000, 1.0, (1, 2, 3), 0.3, 2.0)
    assert built.zones == ((0.0, 1.0, 2.0),)
    assert built.where == Path("here")
    assert type(built.count) is int
    assert type(built.rate) is float
    assert build(Outer, {"count": 1, "dial": {"decay": 0.5}}).dial == Inner(decay=0.5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "count has no value"),
        ({"count": MISSING}, "count has no value"),
        ({"cuont": 1}, "unknown key 'cuont'; did you mean 'count'"),
        ({"count": 1, "inner": {"decy": 1}}, "unknown key 'inner.decy'; did you mean 'inner.decay'"),
        ({"count": 1, "dial": {"decy": 1}}, "unknown key 'dial.decy'; did you mean 'dial.decay'"),
        ({"count": 1.5}, "count must be a whole number, not 1.5"),
        ({"count": True}, "count must be a whole number, not true"),
        ({"count": 1, "rate": "fast"}, "rate must be a number, not 'fast'"),
        ({"count": 1, "flag": 1}, "flag must be true or false, not 1"),
        ({"count": 1, "mode": "c"}, "mode must be one of a, b, not 'c'"),
        ({"count": 1, "shape": 3}, "shape must be a list, each a whole number, not 3"),
        ({"count": 1, "shape": [1, "x"]}, r"shape\[1\] must be a whole number"),
        ({"count": 1, "pair": [1.0]}, "pair must be a list of 2"),
        ({"count": 1, "limit": "x"}, "limit must be a number or null, not 'x'"),
        ({"count": 1, "inner": 3}, "inner must be a mapping"),
        ({"count": 1, "where": 3}, "where must be a path"),
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(UserError, match=message) as error:
        build(Outer, values)
    assert "\n" not in str(error.value)


def test_messages_say_where_a_field_lies():
    with pytest.raises(UserError, match=r"^env\.rate must"):
        build(Outer, {"count": 1, "rate": "x"}, "env")
    with pytest.raises(UserError, match=r"^env\.inner\.decay must"):
        build(Outer, {"count": 1, "inner": {"decay": "x"}}, "env")


def test_an_annotation_that_says_nothing_to_a_user_is_a_bug():
    @dataclass(frozen=True)
    class Odd:
        when: set[int] = field(default_factory=set)

    with pytest.raises(TypeError, match=r"Odd\.when has an annotation that is not supported"):
        group(Odd)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("of Adam.", "of Adam"),
        ("of Adam. A second sentence.", "of Adam"),
        ("a weight (Williams et al. 2017) of it. More.", "a weight (Williams et al. 2017) of it"),
        ("of products. ``high`` is TF32.", "of products"),
        ("1, 2, .. s; null for 0.5 of it.", "1, 2, .. s; null for 0.5 of it"),
    ],
)
def test_the_first_sentence_of_a_text(text, sentence):
    assert first_sentence(text) == sentence
