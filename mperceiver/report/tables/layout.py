"""The rows, columns and blocks that a table's configuration asks for, before anything is filled in."""

from collections.abc import Iterator
from itertools import count

from mperceiver import config
from mperceiver.config.tables import Block, ColumnGroup, RowGroup, Table
from mperceiver.report.columns import KINDS
from mperceiver.report.grid import AVERAGE, Column, FilledBlock, Row, TableError

REFERENCES = (
    "identity",
    "vae",
)  # kinds of methods beside which others are read; they restore nothing, and have no rank


def blocks_of(name: str, table: Table) -> list[FilledBlock]:
    """The blocks of a table. Raises ConfigError for a bad method, TableError for an unknown kind of column."""
    numbers = count()
    blocks = []
    for block in table.parts:
        rows = [row for group in block.rows for row in _rows(group)]
        columns = [column for group in block.columns for column in _columns(name, group, numbers)]
        blocks.append(FilledBlock(block.title, rows, columns + _averages(block, columns, numbers)))
    return blocks


def averaged(block: FilledBlock, average: Column) -> list[Column]:
    """The columns of a block that one of its averages is over."""
    return [column for column in block.columns if column.key == average.key and not column.average]


def _rows(group: RowGroup) -> list[Row]:
    methods = [(name, config.load("methods", name)) for name in group.methods]
    return [
        Row(group.title, name, m.title, m.kind not in REFERENCES, tuple(config.members(name))) for name, m in methods
    ]


def _columns(name: str, group: ColumnGroup, numbers: Iterator[int]) -> list[Column]:
    kind = KINDS.get(group.kind)
    if kind is None:
        raise TableError(
            f"table {name}, column {group.label}: there is no kind of column `{group.kind}`. "
            f"Known kinds (mperceiver/report/columns): {', '.join(KINDS)}. A new module there is named in KINDS in its __init__.py"
        )
    return [
        Column(
            number=next(numbers),
            label=group.label,
            datasets=tuple(group.datasets),
            task=group.task,
            key=key,
            measure=measure,
            kind=group.kind,
            has_pictures=kind.HAS_PICTURES,
            reported=group.reported,
            scored=group.scored,
        )
        for key, measure in kind.measures(group).items()
    ]


def _averages(block: Block, columns: list[Column], numbers: Iterator[int]) -> list[Column]:
    """A column for each metric of the block: the mean over its columns of that metric."""
    measures = {column.key: column for column in columns if column.has_pictures} if block.average else {}
    return [
        Column(
            number=next(numbers),
            label="Average (over protocols)" if block.average == "mixed" else "Average",
            datasets=(AVERAGE,),
            task=None,
            key=key,
            measure=column.measure,
            kind=column.kind,
            has_pictures=False,
            reported=block.average_reported,
            average=True,
        )
        for key, column in measures.items()
    ]
