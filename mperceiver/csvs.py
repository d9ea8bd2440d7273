"""CSV files whose texts no spreadsheet takes for a formula (what begins with = + - @ could call a program), and benchmark TSVs.

Names of files and headings of tables come from strangers. A text that begins with one of these characters is written with an apostrophe
before it (``guarded``), and read without it (``unguarded``). Numbers are written as they are. In a benchmark TSV, Snakemake keeps the
time and memory that a job took.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

FORMULA = re.compile(r"'*[=+\-@\t\r]")
LINE_END = "\r\n"  # csv then quotes a text that has either of the two characters


def to_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The text of a CSV file. A text is ``guarded``; None and a float that is no number are empty; lines end with \\n."""
    lines = []
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=LINE_END)
    for row in (header, *rows):
        out.seek(0)
        out.truncate()
        writer.writerow([_cell(value) for value in row])
        lines.append(out.getvalue().removesuffix(LINE_END))
    return "\n".join([*lines, ""])


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return guarded(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def guarded(text: str) -> str:
    """The text as it stands in a cell: no spreadsheet computes it, and ``unguarded`` gives it back."""
    return f"'{text}" if FORMULA.match(text) else text


def unguarded(cell: str) -> str:
    """The text of a cell that ``guarded`` made."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def measured(benchmark: Path, column: str) -> float | None:
    """What a job took, by a column of its benchmark TSV: ``s`` (seconds), ``cpu_time`` (CPU seconds); None where that is not told."""
    try:
        with benchmark.open(newline="", encoding="utf-8") as file:
            return float(next(csv.DictReader(file, delimiter="\t"))[column])
    except (OSError, StopIteration, KeyError, ValueError):
        return None
