"""Verbs for frozen weights and pictures: get them, check their sources, prepare them, look at them."""

from pathlib import Path
from typing import Annotated

import typer

from mperceiver.cli.base import DatasetName, FoundationName, Threads, Workers, fail, prepare_torch, verb
from mperceiver.printing import say

PANEL = "Weights and pictures"


@verb(PANEL)
def foundation(
    name: FoundationName,
    build: Annotated[bool, typer.Option("--build", help="First pre-train it by the recipe in its file.")] = False,
    threads: Threads = 0,
) -> None:
    """Put a foundation's frozen weights into data/foundations/, each file verified by its SHA-256."""
    from mperceiver.foundations import building, staging

    if build:
        prepare_torch(threads)
        say(building.build(name))
    say(staging.stage(name))


@verb(PANEL)
def download(
    name: DatasetName,
    force: Annotated[bool, typer.Option("--force", help="Download again what is there already.")] = False,
    force_digest: Annotated[
        bool,
        typer.Option(
            "--force-digest",
            help="Download again, and accept files that differ from the last download; "
            "a digest in the dataset's file must match all the same.",
        ),
    ] = False,
) -> None:
    """Download a dataset's pictures or archives into data/raw/, from the first of its sources that works."""
    from mperceiver.data.raw.download import download_dataset

    say(download_dataset(name, _mirrors(), force, force_digest))


@verb(PANEL)
def doctor(
    names: Annotated[
        list[str] | None, typer.Argument(help="Datasets and foundations to check.", show_default="all of them")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Check the SLURM cluster instead: is it fit for slurm/config.yaml?")
    ] = False,
) -> None:
    """Check that every source of datasets and foundations still offers its files, without downloading; exit code 1 if one does not."""
    if cluster:
        from mperceiver.cluster.preflight import print_checks

        if not print_checks():
            raise typer.Exit(1)
        return
    from mperceiver.data.raw.doctor import FINE, ask_sources, print_answers

    answers = ask_sources(names or [], _mirrors())
    print_answers(answers, as_json)
    if any(answer.state not in FINE for answer in answers):
        raise typer.Exit(1)


@verb(PANEL)
def prepare(
    name: DatasetName,
    workers: Workers = 0,
    replay: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Only render one picture of the dataset again, with its layers: its id, or a .json file with its recipe.",
        ),
    ] = None,
) -> None:
    """Cut, degrade and pair a dataset's pictures; write them to data/prepared/."""
    if replay is not None:
        if workers:
            raise typer.BadParameter("has no effect beside --replay, which renders one picture", param_hint="--workers")
        from mperceiver.data.look.replay import render_again

        say(render_again(name, replay))
        return
    from mperceiver.data.prepare.dataset import prepare_dataset

    say(prepare_dataset(name, workers or None))


@verb(PANEL)
def degradations(
    name: Annotated[
        str | None, typer.Argument(help="Print what the parameters of this degradation mean.", show_default="list all")
    ] = None,
) -> None:
    """List the degradations that a dataset's `degradations` can have, with their parameters."""
    from mperceiver.degradations.describe import print_docstring, print_table

    if name is None:
        print_table()
        return
    try:
        print_docstring(name)
    except ValueError as error:
        fail(str(error))


@verb(PANEL)
def encode(foundation: FoundationName, name: DatasetName, threads: Threads = 0) -> None:
    """Compute the VAE latents and CLIP embeddings of a training dataset once; write them to data/latents/."""
    prepare_torch(threads)
    from mperceiver.training import processes
    from mperceiver.training.latents import encode_dataset

    processes.say(str(encode_dataset(foundation, name)))
    processes.leave()


@verb(PANEL)
def show(
    name: DatasetName,
    file: Annotated[
        Path | None, typer.Argument(help="PNG file to write.", show_default="results/shown/<name>.png")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Largest number of pairs to draw.")] = 24,
    task: Annotated[str | None, typer.Option(help="Draw only pictures of this task, e.g. haze.")] = None,
) -> None:
    """Draw a contact sheet of a prepared dataset: degraded pictures beside their ground truths."""
    from mperceiver.data.look.show import draw_contact_sheet

    say(draw_contact_sheet(name, file, count, task))


@verb(PANEL)
def export(
    name: DatasetName,
    folder: Annotated[Path, typer.Argument(help="A new folder; lq/, gt/ and pairs.jsonl are written into it.")],
    layers: Annotated[
        bool,
        typer.Option(
            "--layers", help="Also write layers/: depth, streaks, masks and blur kernels of pictures degraded here."
        ),
    ] = False,
) -> None:
    """Write a prepared dataset as folders of picture files, for other programs."""
    from mperceiver.data.look.export import export_pairs

    say(export_pairs(name, folder, layers))


def _mirrors() -> list[Path]:
    """Folders with local copies of datasets: $MPERCEIVER_MIRROR's, then those of the workflow's experiment."""
    from mperceiver import config
    from mperceiver.config.experiments import Experiment

    path = config.experiment_of_workflow()
    return config.mirrors(config.parse(path, Experiment) if path else None)
