"""The rows, columns and blocks that a table's configuration asks for, before anything is filled in."""

from collections.abc import Iterator
from itertools import count

from mperceiver import config
from mperceiver.config.tables import Block, ColumnGroup, RowGroup, Table, places_of
from mperceiver.report.columns import KINDS
from mperceiver.report.grid import AVERAGE, Column, FilledBlock, Row, TableError


def blocks_of(name: str, table: Table) -> list[FilledBlock]:
    """The blocks of a table. Raises ConfigError for a bad method, TableError for an unknown kind of column."""
    numbers = count()
    blocks = []
    for block in table.parts:
        of_methods = [_rows(group) for group in block.rows]
        beside = {name for rows in of_methods for row in rows for name in row.names}
        of_files = [_reported_rows(group, block, beside) for group in block.rows]
        rows = [row for pair in zip(of_methods, of_files, strict=True) for part in pair for row in part]
        columns = [column for group in block.columns for column in _columns(name, group, numbers)]
        blocks.append(FilledBlock(block.title, rows, columns + _averages(block, columns, numbers)))
    return blocks


def averaged(block: FilledBlock, average: Column) -> list[Column]:
    """The columns of a block that one of its averages is over."""
    return [column for column in block.columns if column.key == average.key and not column.average]


def _rows(group: RowGroup) -> list[Row]:
    methods = [(name, config.load("methods", name)) for name in group.methods]
    return [
        Row(
            group=group.title,
            method=name,
            title=m.title,
            ranked=m.kind not in config.REFERENCES,
            members=tuple(config.members(name)),
            names=(m.reported,) if isinstance(m.reported, str) else tuple(m.reported),
        )
        for name, m in methods
    ]


def _reported_rows(group: RowGroup, block: Block, beside: set[str]) -> list[Row]:
    """A row for each method of the group's file with a number under the block's columns, but for those that stand beside other rows."""
    if group.reported is None:
        return []
    places = {place.place for place in places_of(block) if place.file == group.reported}
    sources: dict[str, str] = {}
    for number in config.reported_numbers(group.reported):
        if number.place in places and number.method not in beside:
            sources.setdefault(number.method, number.source)
    return [
        Row(
            group=group.title,
            method=f"{group.reported}: {name}",
            title=name,
            names=(name,),
            file=group.reported,
            source=source,
        )
        for name, source in sources.items()
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
