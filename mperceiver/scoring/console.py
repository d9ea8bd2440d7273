"""Print the ways of scoring that `explain` found: a table for each metric, or JSON."""

import dataclasses
import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from mperceiver.metrics import METRICS
from mperceiver.scoring.explain import CLOSE, Way


def print_ways(ways: Sequence[Way], reported: dict[str, float], rows: int, as_json: bool = False) -> None:
    """Print ``ways``, the nearest first.

    Args:
        reported: the numbers that were asked after, {"psnr": dB} or {"ssim": 0 to 1}, or both.
        rows: how many ways a table shows.
        as_json: print every way as JSON instead.
    """
    if as_json:
        print(json.dumps([dataclasses.asdict(way) for way in ways], indent=1))
        return
    console = Console()
    for metric, value in reported.items():
        of_metric = [way for way in ways if way.metric == metric]
        console.print(_table(metric, value, of_metric, rows))
        if abs(of_metric[0].difference) > CLOSE[metric]:
            console.print(
                f"No way of scoring gives {value:.{METRICS[metric].decimals}f} on these pictures. The reported number was "
                "measured on other pictures, or on another test set (docs/why-is-my-number-different.md)."
            )


def _table(metric: str, value: float, ways: Sequence[Way], rows: int) -> Table:
    label, decimals = METRICS[metric].label, METRICS[metric].decimals
    title = f"{label} reported as {value:.{decimals}f}; {len(ways)} ways of scoring, nearest first"
    table = Table(title=title, title_justify="left")
    for heading in ("value", "difference"):
        table.add_column(heading, justify="right")
    table.add_column("way of scoring")
    table.add_column("protocol")
    for way in ways[:rows]:
        numbers = f"{way.value:.{decimals}f}", f"{way.difference:+.{decimals}f}"
        table.add_row(*numbers, ", ".join(way.words), ", ".join(way.protocols) or "–")
    return table
