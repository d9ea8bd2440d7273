"""A prepared dataset of noise, written by hand, and files of config/."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from mperceiver import images, lineage

KINDS = {"id": pa.string(), "task": pa.string(), "lq": pa.binary(), "gt": pa.binary()}


def write_config(texts: dict[str, str]) -> None:
    """Write files of config/: {path without .yaml: text}."""
    for name, text in texts.items():
        path = Path("config") / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def write_pairs(name: str, sizes: list[tuple[int, int]], seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """data/prepared/{name}.arrow with a card: pairs p-0, p-1, … of (H, W) px; returns (lq, gt), uint8 (H, W, 3) each."""
    rng = np.random.default_rng(seed)
    pairs = [tuple(rng.integers(0, 256, (2, *size, 3), dtype=np.uint8)) for size in sizes]
    rows = [
        {"id": f"p-{i}", "task": "rain", "lq": images.encode(lq), "gt": images.encode(gt), "source": "", "recipe": ""}
        for i, (lq, gt) in enumerate(pairs)
    ]
    schema = pa.schema(KINDS | {"source": pa.string(), "recipe": pa.string()})
    Path("data/prepared").mkdir(parents=True, exist_ok=True)
    with pa.OSFile(f"data/prepared/{name}.arrow", "wb") as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    lineage.write_card(f"data/prepared/{name}.json", verb="prepare", spec={}, outputs=[f"data/prepared/{name}.arrow"])
    return pairs
