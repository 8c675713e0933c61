"""The summary of the experiment on virtual targets follows from its table."""

import importlib.util
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "results" / "virtual_targets"


def experiment():
    spec = importlib.util.spec_from_file_location("virtual_targets", FOLDER / "experiment.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_the_summary_of_the_table():
    lines = experiment().summary(FOLDER / "acrobot.csv")
    assert lines in (FOLDER / "README.md").read_text(encoding="utf-8"), f"README.md lacks:\n{lines}"


def test_all_variants_learned_from_the_same_data():
    """Before any learning the metrics of the first batch are the same for all variants, seed by seed."""
    found = list(experiment().read(FOLDER / "acrobot.csv").values())
    assert all((variant["value_error"][:, 0] == found[0]["value_error"][:, 0]).all() for variant in found)
    assert all((variant["truth"] == found[0]["truth"]).all() for variant in found)
