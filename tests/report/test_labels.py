"""Names of columns are those that runs log."""

import pytest

from pompc.report.comparison import TRACES
from pompc.report.labels import LABELS, label
from pompc.report.scores import better
from pompc.training.metric_names import METRICS


@pytest.mark.parametrize("column", TRACES)
def test_a_trace_is_a_column_that_trainings_log(column):
    assert f"train/{column}" in METRICS


@pytest.mark.parametrize("column", LABELS)
def test_a_short_name_is_of_a_column_that_evaluations_log(column):
    assert f"eval/{column}" in METRICS


def test_a_column_without_a_short_name_keeps_its_own():
    assert label("lap_time") == "lap time"


def test_what_is_better_is_known_of_logged_columns_alone():
    assert [better(name) for name in ("reward", "cost", "length", "mine")] == ["higher", "lower", None, None]
