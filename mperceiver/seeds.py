"""Seeds: a picture's own, from its name, so that neither the order of pictures nor the number of workers matters."""

import hashlib


def picture_seed(dataset: str, picture: str, seed: int) -> int:
    """Seed of one picture: the first 8 bytes of SHA-256 of ``dataset|picture|seed``, big-endian.

    So neither the order of pictures nor the number of workers matters.
    """
    return seed_of(f"{dataset}|{picture}|{seed}")


def seed_of(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
