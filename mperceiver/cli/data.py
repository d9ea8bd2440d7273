"""Verbs that bring frozen weights and pictures, and prepare them."""

import os
from pathlib import Path
from typing import Annotated

import typer

from mperceiver import config
from mperceiver.cli.base import DatasetName, Threads, Workers, quiet, verb
from mperceiver.config.experiments import Experiment


@verb
def foundation(
    name: Annotated[str, typer.Argument(help="stem of config/foundations/<name>.yaml")],
    build: Annotated[bool, typer.Option("--build", help="pre-train it by its own recipe first")] = False,
    threads: Threads = 0,
) -> None:
    """Stage a foundation's frozen weights in data/foundations/, verified; or pre-train it."""
    from mperceiver.foundations import staging

    if build:
        quiet(threads)
        print(staging.build(name))
    print(staging.stage(name))


@verb
def download(
    name: DatasetName,
    force: Annotated[bool, typer.Option("--force", help="again, though it is there")] = False,
    force_digest: Annotated[
        bool,
        typer.Option("--force-digest", help="again, and whatever comes where only the last download gave a digest"),
    ] = False,
) -> None:
    """Bring a dataset's pictures or archives to data/raw/ from the first of its sources that is there."""
    from mperceiver.data.raw.download import download_dataset

    print(download_dataset(name, config.mirrors(_experiment()), force, force_digest))


@verb
def doctor(
    names: Annotated[list[str] | None, typer.Argument(help="datasets and foundations; none: all of them")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table")] = False,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="ask the SLURM cluster instead: is it fit for slurm/")
    ] = False,
) -> None:
    """Ask after every source of datasets and foundations without downloading any; code 1 if one gives no more what it did."""
    if cluster:
        from mperceiver.cluster.preflight import print_checks

        if not print_checks():
            raise typer.Exit(1)
        return
    from mperceiver.data.raw.doctor import FINE, ask_sources, print_answers

    answers = ask_sources(names or [], config.mirrors(_experiment()))
    print_answers(answers, as_json)
    if any(answer.state not in FINE for answer in answers):
        raise typer.Exit(1)


@verb
def prepare(
    name: DatasetName,
    workers: Workers = 0,
    replay: Annotated[
        str | None,
        typer.Option(help="only render this picture again, with its layers: an id, or a file with its recipe (.json)"),
    ] = None,
) -> None:
    """Cut, degrade and pair a dataset's pictures into data/prepared/."""
    if replay is not None:
        from mperceiver.data.look.replay import render_again

        print(render_again(name, replay))
        return
    from mperceiver.data.prepare.dataset import prepare_dataset

    print(prepare_dataset(name, workers or None))


@verb
def encode(
    foundation: Annotated[str, typer.Argument(help="a foundation")], name: DatasetName, threads: Threads = 0
) -> None:
    """Cache the frozen towers' work on a training dataset: latents and CLIP embeddings."""
    quiet(threads)
    from mperceiver.training import processes
    from mperceiver.training.latents import encode_dataset

    processes.say(str(encode_dataset(foundation, name)))
    processes.leave()


@verb
def show(
    name: DatasetName,
    file: Annotated[Path | None, typer.Argument(help="PNG to write; none: results/shown/<name>.png")] = None,
    count: Annotated[int, typer.Option(min=1, help="pairs at most")] = 24,
    task: Annotated[str | None, typer.Option(help="only pictures of this task")] = None,
) -> None:
    """Draw a contact sheet of a prepared dataset: degraded pictures beside their ground truths."""
    from mperceiver.data.look.show import draw_contact_sheet

    print(draw_contact_sheet(name, file, count, task))


@verb
def export(
    name: DatasetName,
    folder: Annotated[Path, typer.Argument(help="a new folder; gets lq/, gt/ and pairs.jsonl")],
    layers: Annotated[
        bool,
        typer.Option("--layers", help="also layers/: depth, streaks, masks and blurs of pictures that have a recipe"),
    ] = False,
) -> None:
    """Write a prepared dataset as plain folders of pictures, for other programs."""
    from mperceiver.data.look.export import export_pairs

    print(export_pairs(name, folder, layers))


def _experiment() -> Experiment | None:
    """The experiment in force, for its `mirror`: $MPERCEIVER_EXPERIMENT, set by the workflow, or none."""
    path = os.environ.get("MPERCEIVER_EXPERIMENT")
    return config.parse(Path(path), Experiment) if path else None
