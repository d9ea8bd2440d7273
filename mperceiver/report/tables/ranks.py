"""Places in a column: 1 is the best. Numbers that print alike share a place, and the next one has the next place."""

import pandas as pd

from mperceiver.report.grid import Column, Measure, Row


def places(means: pd.Series, measure: Measure) -> pd.Series:
    """The place of each number in the measure's direction, Int64; NA where there is no number, or no direction."""
    if measure.higher_is_better is None:
        return pd.Series(pd.NA, means.index, "Int64")
    as_printed = means.map(lambda mean: float(f"{mean:.{measure.decimals}f}"), na_action="ignore")
    return as_printed.rank(method="dense", ascending=not measure.higher_is_better).astype("Int64")


def rank(cells: pd.DataFrame, rows: list[Row], columns: list[Column]) -> pd.Series:
    """The places of all cells, column by column; rows that are not ranked, and the paper's numbers, have none."""
    competing = cells.loc[[rows[number].ranked for number in cells["row"]]]
    ranks = [places(means, columns[number].measure) for number, means in competing.groupby("column")["mean"]]
    return pd.concat(ranks).reindex(cells.index) if ranks else pd.Series(pd.NA, cells.index, "Int64")
