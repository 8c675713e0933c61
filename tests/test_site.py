"""The documentation site builds without a warning; the test is skipped without mkdocs (the extra ``docs``)."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")
pytest.importorskip("mkdocstrings_handlers.python")

ROOT = Path(__file__).parent.parent


def test_the_site_builds_strictly_with_pages_and_reference(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "docs/index.html" in (tmp_path / "index.html").read_text()
    assert 'id="pompc.agent.MPPIRL.proposals"' in (tmp_path / "api/pompc.html").read_text()
    assert (tmp_path / "algorithms/tdmpc2.py").read_text() == (ROOT / "algorithms/tdmpc2.py").read_text()
