"""Data: download, unpack, pair, prepare, generate and load pictures."""

from pathlib import Path

CLEAN = "clean"  # task of a row whose picture is as it came: it has no lq but its gt


class DataError(RuntimeError):
    """Pictures cannot be had, prepared or read; the message says which, why, and what to do next."""
