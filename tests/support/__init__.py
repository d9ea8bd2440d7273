"""Worlds, servers and clusters that tests share: `from support import examples`."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
TINY = PROJECT / "tests/tiny"
