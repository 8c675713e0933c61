"""Equality with the official implementations, on numbers computed once with them on the CPU.

Other files of the same layout are read from the folder that ``POMPC_PARITY_DIR`` names.
"""

import os
from pathlib import Path

import pytest
import torch
from parity import ALGORITHM, Case, check_networks, check_planner, check_sequences, check_updates

OWN = Path(__file__).parent / "data"
FOLDER = Path(os.environ.get("POMPC_PARITY_DIR", OWN))


@pytest.fixture(params=sorted(FOLDER.glob("*.pt")), ids=lambda path: path.stem)
def case(request):
    """Load every file of the folder."""
    return Case(torch.load(request.param, weights_only=True), strict=FOLDER == OWN)


def test_there_are_files():
    assert {torch.load(path, weights_only=True)["kind"] for path in FOLDER.glob("*.pt")} == ALGORITHM.keys()


def test_networks(case):
    check_networks(case)


def test_value_of_action_sequences(case):
    check_sequences(case)


def test_updates(case, monkeypatch):
    check_updates(case, monkeypatch)


def test_planner(case):
    check_planner(case)
