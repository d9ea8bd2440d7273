"""Long frozen work on many crops, in parts that are files: killed, it goes on with the part it was at; of several processes,
each makes its share.
"""

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from mperceiver import files
from mperceiver.progress import progress
from mperceiver.training import processes

PART = 256  # crops a part: minutes of sampling at the paper's scale, no more is lost
KEY = "made-of.txt"


def in_parts(
    folder: Path, key: str, counts: dict[str, int], make: Callable[[str, range, Callable[[int], None]], Any], label: str
) -> dict[str, list[Path]]:
    """Arrow files of ``PART`` rows each, in order, for the ``counts`` rows of each name; those in ``folder`` are taken.

    Args:
        key: tells of all that the rows are made of; what lies in ``folder`` under another key is removed.
        make: (name, rows, advance) -> the record batches of these rows; ``advance(n)`` counts rows that are done.
        label: what is told while it works.
    """
    import pyarrow as pa

    told = folder / KEY
    if processes.is_main() and (not told.is_file() or told.read_text() != key):
        shutil.rmtree(folder, ignore_errors=True)
        files.write_text(told, key)
    processes.together()
    rows = {
        folder / f"{name}-{start:09d}.arrow": (name, range(start, min(start + PART, count)))
        for name, count in counts.items()
        for start in range(0, count, PART)
    }
    world = processes.world()
    mine = {path: rows[path] for path in list(rows)[world.process_index :: world.num_processes] if not path.is_file()}
    total = sum(len(part) for _, part in mine.values())
    with progress(label, total, "crops") if processes.is_main() else nullcontext(lambda n: None) as advance:
        for path, (name, part) in mine.items():
            batches = make(name, part, advance)
            with files.atomic_file(path) as beside, pa.OSFile(str(beside), "wb") as sink:
                with pa.ipc.new_file(sink, batches[0].schema) as writer:
                    for batch in batches:
                        writer.write_batch(batch)
    processes.together()
    return {name: [path for path, (owner, _) in rows.items() if owner == name] for name in counts}


def join(parts: list[Path], path: Path, metadata: dict[str, str]) -> None:
    """One Arrow file of all parts' rows, whole or not at all, with ``metadata`` on its schema."""
    import pyarrow as pa

    schema = pa.ipc.open_file(pa.memory_map(str(parts[0]))).schema.with_metadata(metadata)
    with (
        files.atomic_file(path) as beside,
        pa.OSFile(str(beside), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        for part in parts:
            reader = pa.ipc.open_file(pa.memory_map(str(part)))
            for i in range(reader.num_record_batches):
                writer.write_batch(reader.get_batch(i).replace_schema_metadata(metadata))


class Rows:
    """Memory-mapped Arrow files one after the other, read row by row: nothing is in memory but what was asked for."""

    def __init__(self, paths: list[Path]) -> None:
        import pyarrow as pa

        self.table = pa.concat_tables([pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in paths])
        self._columns = {name: self.table[name] for name in self.table.column_names}

    def __len__(self) -> int:
        return self.table.num_rows

    def bytes(self, column: str, i: int):
        """The bytes of one binary value, where they lie on the disk."""
        return self._columns[column][i].as_buffer()
