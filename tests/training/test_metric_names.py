"""The table of names: units, meanings, and nothing that no run logs. That it is complete, the smoke runs check."""

import ast
import re
from pathlib import Path

import pytest

from pompc.metrics import TERM_METRICS
from pompc.training import metric_names
from pompc.training.metric_names import MEDIA, METRICS

ROOT = Path(__file__).parents[2]
COMPOSED = {*TERM_METRICS, "model_error_max", "reward_error_max", "residual_loss", "margin_loss"}
"""Names that the code puts together."""


@pytest.fixture(scope="module")
def words():
    """Every string and every name of a field in the code, but for the table itself."""
    found = set()
    for path in (file for folder in ("pompc", "algorithms", "envs") for file in (ROOT / folder).rglob("*.py")):
        if path != Path(metric_names.__file__):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                match node:
                    case ast.Constant(value=str(text)):
                        found.add(text)
                    case ast.AnnAssign(target=ast.Name(id=name)) | ast.keyword(arg=str(name)):
                        found.add(name)
    return found


@pytest.mark.parametrize("name", METRICS)
def test_a_name_of_the_table_is_logged_somewhere(name, words):
    column = name.rpartition("/")[2]
    assert column in words | COMPOSED


def test_every_name_has_a_unit_and_a_phrase():
    for name, metric in METRICS.items():
        assert re.fullmatch(r"[\w/ ]+", metric.unit), name
        assert re.fullmatch(r"\S.*[^.]", metric.meaning), name
        assert metric.best in (None, "max", "min"), name
    assert all(MEDIA.values())


def test_what_is_better_large_is_kept_large_and_what_is_better_small_small():
    assert METRICS["eval/reward"].summary == "max,last"
    assert METRICS["eval/cost"].summary == "min,last"
    assert METRICS["train/kl_weight"].summary == "last"
