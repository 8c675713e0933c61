"""Options are checked where they are made; a subclass that changes a default inherits the rest."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Interval, Len, Lt

from pompc.config.options import (
    Finite,
    NonNegativeFloat,
    Options,
    PositiveFloat,
    PositiveInt,
    PositiveShare,
    Share,
    Top,
)
from pompc.config.schema import build, group
from pompc.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Planner(Options):
    """Attributes:
    horizon: not read, for it is not indented.
    """

    section = "planner"

    horizon: PositiveInt = 3


@dataclass(frozen=True, kw_only=True)
class Base(Options):
    """Options of a base.

    Attributes:
        rate: of Adam.
            On a second line. And a second sentence.
        mode: how it is done.
        width: of a layer; null takes the size's.
        weight: of a loss.
        planner: of the planner.

    Raises:
        rate: this is no option.
    """

    section = "algo"

    rate: PositiveFloat = 1e-3
    mode: Literal["fast", "exact"] = "exact"
    width: PositiveInt | None = None
    weight: Annotated[Share, Top()] = 0.5
    planner: Annotated[Planner, Top()] = field(default_factory=Planner)


@dataclass(frozen=True, kw_only=True)
class Derived(Base):
    """Options beside those of the base.

    Attributes:
        mode: another text.
        more: its own option.
    """

    rate: float = 0.5
    width: int | None = 7
    weight: float | None = None
    more: Finite = 1.0


@pytest.mark.parametrize(
    ("annotation", "value", "words"),
    [
        (PositiveInt, 0, "must be positive, not 0"),
        (PositiveInt, 1.5, "must be a whole number, not 1.5"),
        (PositiveFloat, math.inf, "must be positive, not inf"),
        (PositiveFloat, math.nan, "must be a number, not nan"),
        (NonNegativeFloat, -1.0, "must be at least 0, not -1.0"),
        (Share, 1.5, "must lie in [0, 1], not 1.5"),
        (PositiveShare, 0.0, "must lie in (0, 1], not 0.0"),
        (Finite, math.inf, "must be finite, not inf"),
        (Annotated[int, Ge(2)], 1, "must be at least 2, not 1"),
        (Annotated[float, Lt(3)], 3.0, "must be below 3, not 3.0"),
        (Annotated[float, Interval(gt=-1)], -1.0, "must be above -1, not -1.0"),
        (Annotated[float, Interval(le=0)], 1.0, "must be at most 0, not 1.0"),
        (Annotated[tuple[int, ...], Len(1, 2)], (), "the length of value must lie in [1, 2], not 0"),
        (tuple[PositiveInt, ...], (1, 0), "value[1] must be positive, not 0"),
        (Literal["a", "b"], "c", "must be one of a, b, not 'c'"),
        (Literal[1, 5], True, "must be one of 1, 5, not true"),
        (bool, 1, "must be true or false, not 1"),
        (PositiveInt | None, 0, "must be positive, not 0"),
        (PositiveInt | None, "x", "must be a whole number or null, not 'x'"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_key(annotation, value, words):
    cls = dataclass(frozen=True)(type("One", (Options,), {"__annotations__": {"value": annotation}}))
    for make in (lambda: cls(value), lambda: build(cls, {"value": value})):
        with pytest.raises(UserError) as error:
            make()
        assert str(error.value).endswith(words)
        assert "value" in str(error.value)


def test_a_key_has_its_section_or_lies_at_the_top():
    for options, key in (({"rate": -1.0}, "algo.rate"), ({"weight": 2.0}, "weight")):
        with pytest.raises(UserError, match=rf"^{key} must"):
            Base(**options)
    with pytest.raises(UserError, match=r"^planner\.horizon must"):
        Planner(horizon=0)
    with pytest.raises(UserError, match=r"^planner\.horizon must"):
        build(Base, {"planner": {"horizon": 0}}, "algo")


def test_a_subclass_that_changes_a_default_inherits_range_place_and_text():
    base, derived = group(Base).options, group(Derived).options
    for name in ("rate", "width"):
        assert derived[name].kind == base[name].kind
        assert derived[name].text == base[name].text != ""
    assert (derived["rate"].default, derived["width"].default) == (0.5, 7)
    with pytest.raises(UserError, match=r"algo\.width must be positive"):
        Derived(width=0)
    assert Derived(width=None).width is None


def test_a_subclass_that_changes_the_type_keeps_the_place_alone():
    option = group(Derived).options["weight"]
    assert option.top
    assert option.kind.words == "a number or null"
    assert Derived(weight=9.0).weight == 9.0


def test_a_default_without_its_annotation_is_a_bug_and_not_ignored():
    @dataclass(frozen=True, kw_only=True)
    class Forgetful(Base):
        rate = 0.5

    with pytest.raises(TypeError, match=r"Forgetful\.rate has no annotation .* write rate: TYPE"):
        group(Forgetful)


def test_values_given_in_python_become_what_the_annotations_say():
    @dataclass(frozen=True, kw_only=True)
    class Config(Options):
        sizes: tuple[int, ...] = ()
        weight: float = 0.0
        count: int = 1
        planner: Planner = field(default_factory=Planner)

    made = Config(sizes=[1, 2.0], weight="inf", count=8.0, planner={"horizon": 3})
    assert made == Config(sizes=(1, 2), weight=math.inf, count=8, planner=Planner(horizon=3))
    assert (type(made.sizes), type(made.count), type(made.planner)) == (tuple, int, Planner)


def test_texts_are_the_attributes_of_the_docstrings():
    texts = {name: option.text for name, option in group(Derived).options.items()}
    assert texts["rate"] == "of Adam. On a second line. And a second sentence."
    assert (texts["mode"], texts["more"]) == ("another text.", "its own option.")
    assert group(Planner).options["horizon"].text == ""
