"""The numbers of a table as a frame: a line for each row, column, member of the row, and dataset of the column.

A member is a method with scores of its own: the row's method itself, or each run of a method of kind mean.
"""

from dataclasses import asdict, fields
from itertools import product

import pandas as pd

from mperceiver import paths
from mperceiver.config.tables import Table
from mperceiver.report.columns import KINDS
from mperceiver.report.grid import FilledBlock, Row, TableError, Value
from mperceiver.report.scores import state_of_pairs
from mperceiver.report.tables.layout import averaged

PLACE = ["row", "column"]  # positions in the table's lists of rows and of columns
TYPES = {"mean": float, "low": float, "high": float, "n": int, "trained_on": int}


def values(rows: list[Row], blocks: list[FilledBlock]) -> pd.DataFrame:
    """The values that the blocks show, or show the mean of. Averages have none of their own."""
    lines = [
        {"row": rows.index(row), "column": column.number, "member": member, "dataset": dataset}
        | asdict(KINDS[column.kind].value(member, dataset, column))
        for block in blocks
        for row, column in product(dict.fromkeys(block.rows), block.columns)
        if not column.average
        for member, dataset in product(row.members, column.datasets)
    ]
    names = [*PLACE, "member", "dataset", *(field.name for field in fields(Value))]
    return pd.DataFrame(lines, columns=names).astype(TYPES)


def check_protocols(name: str, table: Table, blocks: list[FilledBlock], lines: pd.DataFrame) -> None:
    """Raise TableError if a column, or an average that is not `mixed`, holds numbers of two protocols."""
    for block, spec in zip(blocks, table.parts, strict=True):
        for column in block.columns:
            where, columns = f"table {name}, column {column.label} ({column.place})", [column]
            if column.average:
                where, columns = f"table {name}, column Average", averaged(block, column)
            if not (column.average and spec.average == "mixed"):
                _check(where, lines[lines["column"].isin([one.number for one in columns])])


def _check(where: str, lines: pd.DataFrame) -> None:
    scored = lines[lines["protocol"] != ""].sort_values("row", kind="stable")
    states = scored.drop_duplicates(["protocol", "protocol_sha256"])  # a protocol has another digest after it is edited
    if len(states) < 2:
        return
    (who, one), (other_who, other) = (
        (f"{line.member} on {line.dataset}", f"{line.protocol} ({line.protocol_sha256[:12]})")
        for line in states.head(2).itertuples()
    )
    raise TableError(
        f"{where}: a column cannot mix two protocols: {who} was scored under {one}, {other_who} under {other}. "
        "If the protocol, or a dataset's `protocol`, was changed in between, score both again (snakemake). "
        "If the columns differ on purpose, give each a table, remove `average`, or set `average: mixed`"
    )


def check_datasets(name: str, blocks: list[FilledBlock], lines: pd.DataFrame) -> None:
    """Raise TableError if a column holds scores on two states of one dataset, which was prepared again between them."""
    columns = {column.number: column for block in blocks for column in block.columns}
    scored = lines[lines["protocol"] != ""]
    for (number, dataset), group in scored.groupby(["column", "dataset"], sort=False):
        firsts: dict[str, str] = {}  # state -> the first member that was scored on it
        for member in group["member"]:
            if (state := state_of_pairs(member, dataset)) is not None:
                firsts.setdefault(state, member)
        if len(firsts) > 1:
            column = columns[number]
            raise TableError(f"table {name}, column {column.label} ({column.place}): {_two_states(dataset, firsts)}")


def _two_states(dataset: str, firsts: dict[str, str]) -> str:
    (one, who), (other, other_who) = list(firsts.items())[:2]
    again = " and ".join(f"mperceiver score {member} {dataset}" for member in (who, other_who))
    return (
        f"a column cannot mix scores on two states of {dataset}: {paths.scores_card(who, dataset)} is of "
        f"{paths.prepared_card(dataset)} ({one[:12]}), {paths.scores_card(other_who, dataset)} of another one ({other[:12]}). "
        f"{dataset} was prepared again in between: score both again (snakemake, or {again}, which say what to restore before)"
    )
