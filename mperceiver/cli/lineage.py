"""Verbs that tell where a number comes from."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from mperceiver.cli.base import DatasetName, fail, verb
from mperceiver.printing import say

PANEL = "Where numbers come from"


@verb(PANEL)
def trace(
    target: Annotated[str | None, typer.Argument(help="A table's name, or the path of a card or of an output.")] = None,
    method: Annotated[str | None, typer.Option(help="The method of the cell's row.")] = None,
    dataset: Annotated[str | None, typer.Option(help="The dataset of the cell's column.")] = None,
    task: Annotated[str | None, typer.Option(help="The task of the cell's column, if it has one, e.g. haze.")] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Hash every file again and compare with the cards; exit code 1 if one differs."),
    ] = False,
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help="With --verify: every card in data/ and results/. A file whose size and time are as when it was last hashed is "
            "not read again.",
        ),
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="With --all: read every file all the same.")] = False,
    diff: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="A B",
            help="Print what differs between two outputs and all that they depend on, nearest cause first. Each is a card, an "
            "output, a run, or method/dataset; or both are commits.",
        ),
    ] = None,
    stale: Annotated[
        bool,
        typer.Option(
            "--stale", help="Print what other code or configuration than today's made, and what making it anew costs."
        ),
    ] = False,
) -> None:
    """Print what a table's cell or an output was made of, down to the files of the dataset's source."""
    cell = {f"the target {target}": target, "--method": method, "--dataset": dataset, "--task": task}
    verifying = {"--verify": verify, "--all": everything, "--fresh": fresh}
    # Each way imports what it needs, so that a cell is traced without waiting for the others'.
    if diff is not None:
        from mperceiver.report.differences import print_differences

        _refuse(cell | verifying | {"--stale": stale}, "--diff", f"mperceiver trace --diff {shlex.join(diff)}")
        return print_differences(*diff)
    if stale:
        from mperceiver.report.why import print_stale

        _refuse(cell | verifying, "--stale", "mperceiver trace --stale")
        return print_stale()
    from mperceiver.report.trace import print_trace, print_verified

    alone = f"mperceiver trace {_typed(target, method, dataset, task)} --verify"
    if everything and verify:
        of_all = "mperceiver trace --verify --all" + (" --fresh" if fresh else "")
        _refuse(cell, "--all, which means everything", f"{alone} or {of_all}" if target is not None else of_all)
        return print_verified(fresh)
    if fresh and verify and target is not None:
        fail(f"--fresh would have no effect without --all, since every file is read then: {alone}")
    if everything or fresh:
        fail("--all belongs to --verify, and --fresh to both: mperceiver trace --verify --all")
    if target is None:
        fail("name a table, a card or an output: mperceiver trace demo-tasks (or everything: --verify --all)")
    print_trace(target, method, dataset, task, verify)


def _refuse(others: dict[str, Any], way: str, meant: str) -> None:
    """Fail if one of some other arguments, {name: value}, is given. ``meant``: the command without them."""
    given = [name for name, value in others.items() if value not in (None, False)]
    if given:
        fail(f"{' and '.join(given)} would have no effect with {way}: {meant}")


def _typed(target: str | None, method: str | None, dataset: str | None, task: str | None) -> str:
    """What names a card or a cell on a command line."""
    options = {"--method": method, "--dataset": dataset, "--task": task}
    words = [word for option, value in options.items() if value is not None for word in (option, value)]
    return shlex.join([*([] if target is None else [target]), *words])


@verb(PANEL)
def why(
    rule: Annotated[str, typer.Argument(help="A rule of the workflow, e.g. restore.")],
    names: Annotated[list[str] | None, typer.Argument(help="Its names, e.g. demo demo-mid6.")] = None,
) -> None:
    """Say why Snakemake would run a job, or would not: which key of which file, which input."""
    from mperceiver.report.why import print_why

    print_why(rule, tuple(names or ()))


@verb(PANEL)
def crate(
    experiment: Annotated[Path, typer.Argument(help="Experiment: a file config/<name>.yaml.")] = Path(
        "config/demo.yaml"
    ),
) -> None:
    """Write an experiment's lineage as a Workflow Run RO-Crate, with PROV-JSON in it, into results/export/."""
    from mperceiver.export.crate import write_crate

    say(write_crate(experiment))


@verb(PANEL)
def croissant(dataset: DatasetName) -> None:
    """Describe a prepared dataset in MLCommons' Croissant format, in results/export/croissant/."""
    from mperceiver.export.croissant import write_croissant

    say(write_croissant(dataset))


@verb(PANEL)
def bundle(
    table: Annotated[str, typer.Argument(help="Table: the stem of config/tables/<name>.yaml.")],
    with_pictures: Annotated[bool, typer.Option("--with-pictures", help="Add the restored pictures.")] = False,
    with_weights: Annotated[bool, typer.Option("--with-weights", help="Add the trained weights.")] = False,
) -> None:
    """Put a table with all that its numbers came from into one zip, which a reviewer checks without this project."""
    from mperceiver.export.bundle import write_bundle

    say(write_bundle(table, with_pictures, with_weights))


@verb(PANEL)
def runs(as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False) -> None:
    """List all runs: state, mean scores, cost, commit, and what differs from the run each is like."""
    from mperceiver.report.runs import print_runs

    print_runs(as_json)
