"""Print the conventions of scoring that `explain` compared: a table for each metric, or JSON."""

import dataclasses
import json
from collections.abc import Sequence

from rich.table import Table

from mperceiver.metrics import METRICS
from mperceiver.printing import console, say
from mperceiver.scoring.explain import CLOSE, ScoringConvention


def print_conventions(
    conventions: Sequence[ScoringConvention], reported: dict[str, float], rows: int, as_json: bool = False
) -> None:
    """Print ``conventions``, sorted as ``explain_numbers`` returns them.

    Args:
        reported: the reported numbers, {"psnr": dB} or {"ssim": 0 to 1}, or both.
        rows: rows of a table.
        as_json: print every convention as JSON instead.
    """
    if as_json:
        say(json.dumps([dataclasses.asdict(convention) for convention in conventions], indent=1))
        return
    output = console()
    for metric, value in reported.items():
        of_metric = [convention for convention in conventions if convention.metric == metric]
        output.print(_table(metric, value, of_metric, rows))
        if abs(of_metric[0].difference) > CLOSE[metric]:
            output.print(
                f"No convention of scoring gives {value:.{METRICS[metric].decimals}f} on these pictures. The reported number was "
                "measured on other pictures, or on another test set (docs/why-is-my-number-different.md)."
            )


def _table(metric: str, value: float, conventions: Sequence[ScoringConvention], rows: int) -> Table:
    label, decimals = METRICS[metric].label, METRICS[metric].decimals
    title = f"{label} reported as {value:.{decimals}f}; {len(conventions)} conventions of scoring, nearest first"
    table = Table(title=title, title_justify="left")
    for heading in ("value", "difference"):
        table.add_column(heading, justify="right")
    table.add_column("convention")
    table.add_column("protocol")
    for convention in conventions[:rows]:
        numbers = f"{convention.value:.{decimals}f}", f"{convention.difference:+.{decimals}f}"
        table.add_row(*numbers, ", ".join(convention.words), ", ".join(convention.protocols) or "–")
    return table
