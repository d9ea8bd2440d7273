"""Prepared datasets, written by hand, as any program might have made them; and files of config/."""

from itertools import zip_longest
from pathlib import Path

import numpy as np
import pyarrow as pa

from mperceiver import images, lineage

PICTURES = ("lq", "gt")
SCHEMA = pa.schema(
    {name: pa.binary() if name in PICTURES else pa.string() for name in ("id", "task", *PICTURES, "source", "recipe")}
)


def write_config(texts: dict[str, str]) -> None:
    """Write files of config/: {path without .yaml: text}."""
    for name, text in texts.items():
        path = Path("config") / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def write_rows(name: str, rows: list[tuple], batch: int = 7) -> None:
    """data/prepared/{name}.arrow with a card, in record batches of at most ``batch`` rows.

    A row is (id, task, lq, gt, source, recipe); the last two are empty where it is shorter.
    """
    table = [dict(zip_longest(SCHEMA.names, row, fillvalue="")) for row in rows]
    Path("data/prepared").mkdir(parents=True, exist_ok=True)
    with pa.OSFile(f"data/prepared/{name}.arrow", "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist(table, schema=SCHEMA), max_chunksize=batch)
    lineage.begin("prepare", {}).write_card(f"data/prepared/{name}.json", outputs=[f"data/prepared/{name}.arrow"])


def write_pairs(name: str, sizes: list[tuple[int, int]], seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """data/prepared/{name}.arrow with a card: pairs p-0, p-1, … of (H, W) px; returns (lq, gt), uint8 (H, W, 3) each."""
    rng = np.random.default_rng(seed)
    pairs = [tuple(rng.integers(0, 256, (2, *size, 3), dtype=np.uint8)) for size in sizes]
    write_rows(name, [(f"p-{i}", "rain", images.encode(lq), images.encode(gt)) for i, (lq, gt) in enumerate(pairs)])
    return pairs
