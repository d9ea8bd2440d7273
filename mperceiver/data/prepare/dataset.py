"""Make a dataset's pairs: one memory-mapped Arrow file, the same bytes whatever the number of workers.

What a row is and in which order they come is told by the module that makes them.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from mperceiver import config, files, lineage, paths
from mperceiver.data import DataError
from mperceiver.data.prepare import ready_made, synthesised
from mperceiver.parallel import cores, in_processes
from mperceiver.progress import progress

BATCH_ROWS, BATCH_BYTES = 256, 32 * 2**20  # a record batch is written when it has either


def prepare_dataset(name: str, workers: int | None = None) -> Path:
    """Write data/prepared/{name}.arrow and its card, whole or not at all; return the card's path.

    Args:
        name: a dataset. Its pictures, or those of the datasets in `from`, have been downloaded.
        workers: processes; as many as there are cores if not given. Never changes a byte.

    Raises:
        ConfigError: a dataset or degradation is not as it must be. LineageError: a download is missing or was changed.
        PictureError, DataError: a picture cannot be read or is too small, by name.
    """
    dataset = config.load("datasets", name)
    inputs = config.prepare_inputs(name)
    synthesised.try_degradations(name, dataset)
    lineage.commit()  # a result without a commit cannot be kept: say so before the work, not after
    for card in inputs:
        if card.startswith("data/"):
            _unchanged(name, card)
    target = paths.prepared_file(name)
    if dataset.pairs:
        planned, rows_of = ready_made.planned(name, dataset, target.parent), ready_made.rows_of
    else:
        planned, rows_of = nullcontext((synthesised.plan(name, dataset), None)), synthesised.rows_of
    with planned as (jobs, faults), files.atomic_file(target) as beside:
        workers = min(workers or cores(), len(jobs))
        with (
            closing(in_processes(rows_of, jobs, workers)) as batches,
            progress(f"prepare {name}", sum(job.rows for job in jobs)) as step,
        ):
            result = _write(name, beside, zip(jobs, batches, strict=True), step, faults)
        if faults is not None:
            result |= faults.judged(result["count"])
        paths.prepared_card(name).unlink(missing_ok=True)  # the old one must not stand beside the new file
    lineage.write_card(
        paths.prepared_card(name),
        verb="prepare",
        spec=dataset,
        inputs=inputs,
        outputs=[target],
        seed=dataset.seed,
        result=result,
    )
    return paths.prepared_card(name)


def _unchanged(name: str, card: str) -> None:
    """Raise unless what a card in data/raw/ or data/prepared/ tells of is there, and as it was made."""
    made = Path(card).with_suffix("" if Path(card).parent.name == "raw" else ".arrow")
    verb = "download" if Path(card).parent.name == "raw" else "prepare"
    origin = made.stem
    if not Path(card).is_file() or not made.exists():
        raise lineage.LineageError(
            f"{name}: the pictures of {origin} are not in {made}; run: mperceiver {verb} {origin}"
        )
    if lineage.read_card(card)["outputs"].get(str(made)) != files.sha256(made):
        again = "download --force" if verb == "download" else verb
        raise lineage.LineageError(
            f"{name}: {made} is not as the card tells; someone changed it. Run: mperceiver {again} {origin}"
        )


# ---------------------------------------------------------------- writing


def _write(
    name: str, path: Path, done: Iterator[tuple[Any, list]], step: Any, faults: ready_made.Faults | None
) -> dict[str, Any]:
    """Stream the rows of (job, its rows) into an Arrow IPC file; what the card says of them.

    A card holds one hash over all rows ("<id> <SHA-256 of gt and lq>" a line): one for each of a large set's pictures would
    make it too large for Snakemake to compare by content. Pairs that gave a fault and no row are collected in ``faults``.
    """
    import pyarrow as pa

    kinds = {"id": pa.string(), "task": pa.string(), "lq": pa.binary(), "gt": pa.binary(), "source": pa.string()}
    schema = pa.schema(kinds | {"recipe": pa.string()})
    ids: set[str] = set()
    pictures = hashlib.sha256()
    tasks: Counter = Counter()
    held: list[dict] = []
    size = 0
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for job, rows in done:
            for row in rows:
                if isinstance(row, ready_made.Fault):
                    faults.found.append(row)
                    continue
                if row["id"] in ids:
                    raise DataError(f"{name}: two rows would be named {row['id']}; rename a picture or a task")
                ids.add(row["id"])
                data = (row["gt"] or b"") + (row["lq"] or b"")
                pictures.update(f"{row['id']} {hashlib.sha256(data).hexdigest()}\n".encode())
                tasks[row["task"]] += 1
                held.append(row)
                size += len(data)
                if len(held) >= BATCH_ROWS or size >= BATCH_BYTES:
                    writer.write_batch(pa.RecordBatch.from_pylist(held, schema))
                    held, size = [], 0
            step(job.rows)
        if held:
            writer.write_batch(pa.RecordBatch.from_pylist(held, schema))
    return {"count": len(ids), "tasks": dict(tasks), "pictures": pictures.hexdigest()}
