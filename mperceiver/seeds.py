"""Seeds derived from names, so that random numbers depend neither on the order of pictures nor on the number of workers."""

import hashlib


def picture_seed(dataset: str, picture: str, seed: int) -> int:
    """Seed of one picture, in [0, 2^64): ``seed_of`` the text ``dataset|picture|seed``."""
    return seed_of(f"{dataset}|{picture}|{seed}")


def seed_of(text: str) -> int:
    """The first 8 bytes of the text's SHA-256, big-endian."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
