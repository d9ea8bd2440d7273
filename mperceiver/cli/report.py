"""Verbs that score, print tables and figures, and explain a reported number."""

from pathlib import Path
from typing import Annotated

import typer

from mperceiver.cli.base import DatasetName, MethodName, Threads, Workers, fail, prepare_torch, verb
from mperceiver.printing import say

PANEL = "Scores, tables and figures"


@verb(PANEL)
def score(method: MethodName, dataset: DatasetName, workers: Workers = 0) -> None:
    """Score a method's restored pictures of a dataset by the dataset's protocol; write results/scores/."""
    prepare_torch()
    from mperceiver.parallel import cores
    from mperceiver.scoring.datasets import score_dataset

    say(score_dataset(method, dataset, workers or cores()))


@verb(PANEL)
def measure(method: MethodName, threads: Threads = 0) -> None:
    """Measure what restoring costs a method at 256, 512 and 1024 px: parameters, GMAC, seconds, memory; write results/costs/."""
    prepare_torch(threads)
    from mperceiver.restoring import cost

    say(cost.measure(method))


@verb(PANEL)
def table(name: Annotated[str, typer.Argument(help="Table: the stem of config/tables/<name>.yaml.")]) -> None:
    """Write a table as HTML, CSV and LaTeX into results/tables/, from the scores that are there."""
    from mperceiver.report.tables import write

    say(write(name))


@verb(PANEL)
def figure(name: Annotated[str, typer.Argument(help="Figure: the stem of config/figures/<name>.yaml.")]) -> None:
    """Draw a figure into results/figures/, from the results that are there."""
    from mperceiver.report.figures import write

    say(write(name))


@verb(PANEL)
def report(experiment: Annotated[Path, typer.Argument(help="Experiment: a file config/<name>.yaml.")]) -> None:
    """Write the site results/report/<experiment>/index.html from an experiment's tables and figures."""
    from mperceiver.report.site import write

    say(write(experiment))


@verb(PANEL)
def explain(
    restored: Annotated[Path, typer.Argument(help="Folder of restored pictures.")],
    gt: Annotated[Path, typer.Argument(help="Folder of their ground truths, with the same file names.")],
    psnr: Annotated[
        str | None, typer.Option(metavar="DB", help="The reported PSNR in dB, with the decimals that are printed.")
    ] = None,
    ssim: Annotated[
        str | None, typer.Option(metavar="0..1", help="The reported SSIM, with the decimals that are printed.")
    ] = None,
    shown: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of conventions to show for each metric.", show_default="those that fit, up to 24"
        ),
    ] = None,
    workers: Workers = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print every convention as JSON instead of tables.")] = False,
) -> None:
    """Find the convention of scoring that gives a reported number: why does my PSNR differ by 2 dB from the paper's?"""
    given = {name: text for name, text in (("psnr", psnr), ("ssim", ssim)) if text is not None}
    if not given:
        fail("no reported number was given: add --psnr 29.98, --ssim 0.91, or both")
    from mperceiver.scoring.console import print_conventions
    from mperceiver.scoring.explain import ReportedNumber, explain_numbers

    reported = {name: ReportedNumber.of(text) for name, text in given.items()}
    if "ssim" in reported and not 0 <= reported["ssim"].value <= 1:
        fail(f"--ssim {ssim}: SSIM is from 0 to 1 (91.2 % is 0.912)")
    print_conventions(explain_numbers(restored, gt, reported, workers or None), reported, shown, as_json)
