"""Data: download, unpack, pair, degrade, prepare and load pictures."""

CLEAN = "clean"  # task of a row whose picture is not degraded; such a row stores only its ground truth


class DataError(RuntimeError):
    """Pictures cannot be downloaded, prepared or read; the message says which, why, and what to do next."""
