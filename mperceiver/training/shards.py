"""Long work on the rows of datasets, written in shards: Arrow files of a few rows each.

Killed work continues with the shard it was writing. Several processes share the shards among them. Beside each shard lies its
SHA-256: a shard that has changed since is made again.
"""

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa

from mperceiver import files
from mperceiver.progress import progress
from mperceiver.training import processes

SHARD_ROWS = 256  # minutes of sampling at the paper's scale: the most that a killed job loses
KEY_FILE = "key.txt"

# (dataset, rows, advance) -> the record batches of these rows. ``advance(n)`` reports n more rows as done.
MakeRows = Callable[[str, range, Callable[[int], None]], list[pa.RecordBatch]]


def write_shards(folder: Path, key: str, counts: dict[str, int], make: MakeRows, label: str) -> dict[str, list[Path]]:
    """Write the rows of several datasets into shards of ``SHARD_ROWS`` rows; sound shards that ``folder`` already has are kept.

    Args:
        key: describes everything that the rows depend on. Shards that were written under another key are removed.
        counts: the number of rows of each dataset.
        make: computes the rows of one shard.
        label: is shown by the progress bar.

    Returns the paths of each dataset's shards, in the order of their rows.
    """
    key_file = folder / KEY_FILE
    if processes.is_main() and (not key_file.is_file() or key_file.read_text(encoding="utf-8") != key):
        shutil.rmtree(folder, ignore_errors=True)
        files.write_text(key_file, key)
    processes.wait_for_all()
    shards = {
        folder / f"{dataset}-{start:09d}.arrow": (dataset, range(start, min(start + SHARD_ROWS, count)))
        for dataset, count in counts.items()
        for start in range(0, count, SHARD_ROWS)
    }
    world = processes.world()
    own = list(shards)[world.process_index :: world.num_processes]
    missing = {path: shards[path] for path in own if not _is_sound(path)}
    total = sum(len(rows) for _, rows in missing.values())
    with progress(label, total, "crops") if processes.is_main() else nullcontext(lambda n: None) as advance:
        for path, (dataset, rows) in missing.items():
            batches = make(dataset, rows, advance)
            with files.atomic_file(path) as beside, pa.OSFile(str(beside), "wb") as sink:
                with pa.ipc.new_file(sink, batches[0].schema) as writer:
                    for batch in batches:
                        writer.write_batch(batch)
                sink.close()
                # Before the shard appears, so that no shard is without its digest.
                files.write_text(_digest_file(path), files.sha256(beside))
    processes.wait_for_all()
    return {dataset: [path for path, (owner, _) in shards.items() if owner == dataset] for dataset in counts}


def _digest_file(shard: Path) -> Path:
    return shard.with_suffix(".sha256")


def _is_sound(shard: Path) -> bool:
    """Whether a shard is there and is as it was written."""
    if not shard.is_file():
        return False
    try:
        sound = files.sha256(shard) == _digest_file(shard).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        sound = False
    if not sound:
        processes.say(f"{shard}: not as it was written; its rows are made again")
    return sound


def shard_of(row: int, count: int) -> range:
    """The rows of the shard that contains ``row``, among ``count`` rows."""
    start = row // SHARD_ROWS * SHARD_ROWS
    return range(start, min(start + SHARD_ROWS, count))


def join_shards(shards: list[Path], path: Path, metadata: dict[str, str]) -> None:
    """Write the rows of all ``shards`` into one Arrow file, whole or not at all, with ``metadata`` in its schema."""
    schema = pa.ipc.open_file(pa.memory_map(str(shards[0]))).schema.with_metadata(metadata)
    with (
        files.atomic_file(path) as beside,
        pa.OSFile(str(beside), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        for shard in shards:
            reader = pa.ipc.open_file(pa.memory_map(str(shard)))
            for i in range(reader.num_record_batches):
                writer.write_batch(reader.get_batch(i).replace_schema_metadata(metadata))


class MappedRows:
    """The rows of several Arrow files in turn, memory-mapped: only the values that are read take memory."""

    def __init__(self, paths: list[Path]) -> None:
        self.table = pa.concat_tables([pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in paths])
        self._columns = {name: self.table[name] for name in self.table.column_names}

    def __len__(self) -> int:
        return self.table.num_rows

    def bytes(self, column: str, i: int) -> pa.Buffer:
        """The bytes of a binary value, in the mapped file."""
        return self._columns[column][i].as_buffer()
