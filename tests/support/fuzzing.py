"""Damaged bytes, made from sound ones with a seed: what a broken disk, a cut line or a hostile person makes of a file."""

import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

INTERESTING = [
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x7f\xff\xff\xff",
    b"../",
    b"\\",
    b"\r\n",
    b"9" * 20,
    b"-1",
]
MEMORY_BYTES = 600 << 20  # that a target may add to the process, at its peak


def damaged(sound: Sequence[bytes], rng: random.Random, splice: bool = True) -> bytes:
    """One of the sound files, damaged at one to four places; with ``splice`` the end may be that of another one."""
    data = bytearray(rng.choice(sound))
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice([1, 1, 2, 4, 16, 300]))
        way = rng.randrange(8)
        if way == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif way == 1:
            data[at:end] = rng.randbytes(end - at)
        elif way == 2:
            piece = rng.choice(INTERESTING)
            data[at : at + len(piece)] = piece
        elif way == 3:
            data[at:at] = rng.choice(INTERESTING) * rng.choice([1, 1, 50])
        elif way == 4:
            del data[at:end]
        elif way == 5:
            data[at:at] = data[at:end] * rng.choice([1, 2, 30])
        elif way == 6 or not splice:
            del data[at:]
        else:
            other = rng.choice(sound)
            data[at:] = other[rng.randrange(len(other) + 1) :]
    return bytes(data)


def rounds(sound: Sequence[bytes], count: int, splice: bool = True) -> Iterator[tuple[str, bytes]]:
    """(what to say of a failure, damaged file): ``count`` of them, or with $FUZZ_SECONDS as many as that time allows.

    $FUZZ_SEED repeats the run whose seed a failure named.
    """
    seconds = float(os.environ.get("FUZZ_SECONDS", 0))
    seed, ends = int(os.environ.get("FUZZ_SEED", 0)), time.monotonic() + seconds
    number = 0
    while time.monotonic() < ends if seconds else number < count:
        rng = random.Random(f"{seed}-{number}")
        yield f"FUZZ_SEED={seed}, file {number}", damaged(sound, rng, splice)
        number += 1


def reset_peak() -> int:
    """Let ``peak_bytes`` count from here on, whatever this process has had before; return what it has now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return peak_bytes()


def peak_bytes() -> int:
    """The most memory that this process has had since ``reset_peak``."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
