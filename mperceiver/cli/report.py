"""Verbs that score, print, and tell where a number comes from."""

from pathlib import Path
from typing import Annotated

import typer

from mperceiver.cli.base import DatasetName, MethodName, Workers, fail, verb


@verb
def score(method: MethodName, dataset: DatasetName, workers: Workers = 0) -> None:
    """Score a method's restored pictures of a dataset under the dataset's protocol."""
    from mperceiver.parallel import cores
    from mperceiver.scoring.datasets import score as make

    print(make(method, dataset, workers or cores()))


@verb
def table(name: Annotated[str, typer.Argument(help="stem of config/tables/<name>.yaml")]) -> None:
    """Print a table as HTML, CSV and LaTeX."""
    from mperceiver.report.tables import write

    print(write(name))


@verb
def figure(name: Annotated[str, typer.Argument(help="stem of config/figures/<name>.yaml")]) -> None:
    """Draw a figure."""
    from mperceiver.report.figures import write

    print(write(name))


@verb
def report(experiment: Annotated[Path, typer.Argument(help="config/<name>.yaml")]) -> None:
    """Write the site results/report/index.html."""
    from mperceiver.report.site import write

    print(write(experiment))


@verb
def trace(
    target: Annotated[str, typer.Argument(help="a table's name, or the path of a card")],
    method: Annotated[str | None, typer.Option(help="the cell's row")] = None,
    dataset: Annotated[str | None, typer.Option(help="the cell's column")] = None,
    task: Annotated[str | None, typer.Option(help="the cell's task, where the column has one")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="hash every file of the chain again")] = False,
) -> None:
    """Follow a cell or a card down to the files it was made of."""
    from rich.console import Console

    from mperceiver.report.trace import trace as follow

    tree, problems = follow(target, method=method, dataset=dataset, task=task, verify=verify)
    Console(soft_wrap=True).print(tree)
    if verify and not problems:
        print("verified: every file of the chain is what its card says")
    if problems:
        fail("\n".join(problems))


@verb
def explain(
    restored: Annotated[Path, typer.Argument(help="folder of restored pictures")],
    gt: Annotated[Path, typer.Argument(help="folder of their ground truths, of the same names")],
    psnr: Annotated[float | None, typer.Option(help="the reported PSNR in dB")] = None,
    ssim: Annotated[float | None, typer.Option(help="the reported SSIM")] = None,
    shown: Annotated[int, typer.Option(help="ways shown a metric")] = 6,
    workers: Workers = 0,
    as_json: Annotated[bool, typer.Option("--json", help="every way, for machines")] = False,
) -> None:
    """Tell which way of scoring gives a reported number: why is my PSNR 2 dB off?"""
    reported = {name: value for name, value in (("psnr", psnr), ("ssim", ssim)) if value is not None}
    if not reported:
        fail("say what is reported: --psnr 29.98, or --ssim 0.91, or both")
    from mperceiver.scoring.console import print_ways
    from mperceiver.scoring.explain import explain

    print_ways(explain(restored, gt, reported, workers or None), reported, shown, as_json)
