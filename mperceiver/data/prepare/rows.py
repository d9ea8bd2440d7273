"""The rows of a prepared dataset, and writing them to its Arrow file."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from mperceiver.data import DataError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS, BATCH_BYTES = 256, 32 * 2**20  # a record batch is written when it has reached either


class Row(TypedDict):
    """A row: PNG or JPEG bytes of a degraded picture and its ground truth.

    ``lq`` is None for clean pictures and for pictures that are degraded when they are read; ``gt`` is None for real pictures
    without a ground truth. ``source``: SHA-256 of the file or files that the row is made of. ``recipe``: JSON with all that
    was drawn, or "" for pictures that this project did not degrade.
    """

    id: str
    task: str
    lq: bytes | None
    gt: bytes | None
    source: str
    recipe: str


def arrow_schema() -> "pa.Schema":
    """Columns of the Arrow file."""
    import pyarrow as pa

    columns = {"id": pa.string(), "task": pa.string(), "lq": pa.binary(), "gt": pa.binary()}
    return pa.schema(columns | {"source": pa.string(), "recipe": pa.string()})


def write_rows(name: str, path: Path, rows: Iterable[Row]) -> dict[str, Any]:
    """Stream rows into an Arrow IPC file; returns what the card says of them: count, rows a task, and a hash.

    The hash is over the lines "<id> <SHA-256 of gt followed by lq>". A card with one hash a picture would be too large for
    Snakemake to compare by content. Raises DataError for two rows of one id.
    """
    import pyarrow as pa

    schema = arrow_schema()
    ids: set[str] = set()
    tasks: Counter[str] = Counter()
    pictures = hashlib.sha256()
    batch: list[Row] = []
    batch_bytes = 0
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for row in rows:
            if row["id"] in ids:
                raise DataError(f"{name}: two rows have the id {row['id']}; rename a picture or a task")
            ids.add(row["id"])
            data = (row["gt"] or b"") + (row["lq"] or b"")
            pictures.update(f"{row['id']} {hashlib.sha256(data).hexdigest()}\n".encode())
            tasks[row["task"]] += 1
            batch.append(row)
            batch_bytes += len(data)
            if len(batch) >= BATCH_ROWS or batch_bytes >= BATCH_BYTES:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
                batch, batch_bytes = [], 0
        if batch:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
    return {"count": len(ids), "tasks": dict(tasks), "pictures": pictures.hexdigest()}
