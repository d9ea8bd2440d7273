"""Print the conventions of scoring that `explain` compared: a table for each metric, or JSON."""

import dataclasses
from collections.abc import Sequence

from rich.table import Table

from mperceiver.metrics import METRICS
from mperceiver.printing import console, say_json
from mperceiver.scoring.explain import ReportedNumber, ScoringConvention

FEWEST, MOST = 6, 24  # rows of a table, if their number is not given: all conventions that fit
# Differences that another JPEG decoder or another rounding can make.
CLOSE = {"psnr": 0.02, "ssim": 0.001}


def print_conventions(
    conventions: Sequence[ScoringConvention],
    reported: dict[str, ReportedNumber],
    rows: int | None = None,
    as_json: bool = False,
) -> None:
    """Print ``conventions``, sorted as ``explain_numbers`` returns them.

    Args:
        reported: the reported numbers, {"psnr": in dB} or {"ssim": 0 to 1}, or both.
        rows: rows of a table; None: those that fit, but not very few or very many.
        as_json: print every convention as JSON instead.
    """
    if as_json:
        say_json([dataclasses.asdict(convention) for convention in conventions], indent=1)
        return
    output = console()
    for metric, number in reported.items():
        of_metric = [convention for convention in conventions if convention.metric == metric]
        if not of_metric:
            output.print(f"{METRICS[metric].label}: the pictures are too small for every convention")
            continue
        fitting = sum(convention.fits for convention in of_metric)
        output.print(_table(metric, number, of_metric, rows or min(max(fitting, FEWEST), MOST)))
        words = _printed(metric, number)
        if fitting:
            kept = rows or MOST
            output.print(
                f"{fitting} of {len(of_metric)} conventions give {words}"
                + (", and this number cannot tell which of them was used" if fitting > 1 else "")
                + (f"; the {kept} plainest are shown (--shown {fitting} shows all)" if fitting > kept else "")
                + "."
            )
        elif abs(of_metric[0].difference) <= CLOSE[metric]:
            output.print(
                f"No convention of scoring gives {words} on these pictures. The nearest differ from it by so little that another JPEG "
                "decoder, or another rounding of the pictures, may be the cause."
            )
        else:
            output.print(
                f"No convention of scoring gives {words} on these pictures. The reported number was "
                "measured on other pictures, or on another test set (docs/why-is-my-number-different.md)."
            )


def _printed(metric: str, number: ReportedNumber) -> str:
    decimals = METRICS[metric].decimals if number.decimals is None else number.decimals
    return f"{number.value:.{decimals}f}"


def _table(metric: str, number: ReportedNumber, conventions: Sequence[ScoringConvention], rows: int) -> Table:
    label, decimals = METRICS[metric].label, max(METRICS[metric].decimals, number.decimals or 0)
    title = f"{label} reported as {_printed(metric, number)}; {len(conventions)} conventions of scoring"
    table = Table(title=title, title_justify="left")
    for heading in ("value", "difference"):
        table.add_column(heading, justify="right")
    for heading in ("fits", "convention", "protocol"):
        table.add_column(heading)
    for convention in conventions[:rows]:
        numbers = f"{convention.value:.{decimals}f}", f"{convention.difference:+.{decimals + 1}f}"
        named = ", ".join(convention.protocols) or "–"
        table.add_row(*numbers, "yes" if convention.fits else "no", ", ".join(convention.words), named)
    return table
