"""Agents that are shipped with the family; ``results/carla_racing/export_demo.py`` writes their files."""

from pathlib import Path

ADAPTIVE_HRL = Path(__file__).parent / "adaptive_hrl.pt"
