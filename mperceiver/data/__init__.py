"""Data: download, unpack, pair, prepare, generate and load pictures."""


class DataError(RuntimeError):
    """Pictures cannot be had, prepared or read; the message says which, why, and what to do next."""
