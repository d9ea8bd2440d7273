"""The verbs. Each parses its arguments, calls one function, and says what it made.

Names are stems of files in config/; paths follow from them. A rule of the workflow has the name of its verb.
"""

import errno
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from mperceiver import config

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__.splitlines()[0]
)

DatasetName = Annotated[str, typer.Argument(help="stem of config/datasets/<name>.yaml")]
RunName = Annotated[str, typer.Argument(help="stem of config/runs/<name>.yaml")]
MethodName = Annotated[str, typer.Argument(help="stem of config/methods/<name>.yaml")]
Workers = Annotated[int, typer.Option(help="processes, 0: one a core")]
Threads = Annotated[int, typer.Option(help="torch threads, 0: one a core")]


def verb(function: Callable) -> Callable:
    """Make a command of ``function``: errors a user can act on are told in words, without a traceback."""

    @functools.wraps(function)
    def run(*arguments, **options):
        try:
            return function(*arguments, **options)
        except Exception as error:
            message = _message(error)
            if message is None or os.environ.get("MPERCEIVER_TRACEBACK"):
                raise
            _fail(message)

    return app.command(function.__name__)(run)


def _message(error: Exception) -> str | None:
    """What to tell a user instead of a traceback; None if it is no error of theirs."""
    cause: BaseException | None = error
    while cause and getattr(cause, "errno", None) not in (errno.ENOSPC, errno.EDQUOT):
        cause = cause.__context__
    if cause or "os error 28" in str(error):  # safetensors has an error of its own
        where = getattr(cause, "filename", None) or "while writing"
        return f"the disk is full ({where}); nothing half-written was left. Free space and run the same command again"
    if isinstance(error, FileNotFoundError) and str(error.filename).startswith(("data/", "results/")):
        return f"{error.filename}: no such file; the work that makes it has not been done (snakemake {error.filename})"
    if isinstance(error, PermissionError):
        return f"{error.filename}: {error.strerror}; the account that runs this may not write or read there"
    if isinstance(error, (ValueError, RuntimeError)) and type(error).__module__.startswith("mperceiver"):
        return str(error)
    return None


def _fail(message: str) -> None:
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, soft_wrap=True).print(Text("error: ", style="bold red") + Text(message))
    raise typer.Exit(1)


def _quiet(threads: int = 0) -> None:
    """Before torch is imported: its threads, no hub, none of the libraries' notices."""
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # what torch takes its number from
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@verb
def foundation(
    name: Annotated[str, typer.Argument(help="stem of config/foundations/<name>.yaml")],
    build: Annotated[bool, typer.Option("--build", help="pre-train it by its own recipe first")] = False,
    threads: Threads = 0,
) -> None:
    """Stage a foundation's frozen weights in data/foundations/, verified; or pre-train it."""
    from mperceiver import foundations

    if build:
        _quiet(threads)
        print(foundations.build(name))
    print(foundations.stage(name))


@verb
def download(
    name: DatasetName, force: Annotated[bool, typer.Option("--force", help="again, though it is there")] = False
) -> None:
    """Bring a dataset's pictures to data/raw/ from the first of its sources that is there."""
    from mperceiver.data.download import download as fetch

    print(fetch(name, config.mirrors(_experiment()), force))


@verb
def prepare(name: DatasetName, workers: Workers = 0) -> None:
    """Cut, degrade and pair a dataset's pictures into data/prepared/."""
    from mperceiver.data.prepare import prepare as make

    print(make(name, workers or None))


@verb
def encode(
    foundation: Annotated[str, typer.Argument(help="a foundation")], name: DatasetName, threads: Threads = 0
) -> None:
    """Cache the frozen towers' work on a training dataset: latents and CLIP embeddings."""
    _quiet(threads)
    import torch

    from mperceiver import lineage
    from mperceiver.models.foundation import load
    from mperceiver.training.latents import encode as make

    lineage.commit()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    path = make(load(foundation, device), name)
    inputs = [f"data/foundations/{foundation}.json", f"data/prepared/{name}.json"]
    lineage.write_card(
        path.with_suffix(".json"),
        verb="encode",
        spec={"foundation": foundation, "dataset": name},
        inputs=inputs,
        outputs=[path],
        device=device,
    )
    print(path)


def _train(run: str, stage: str, threads: int) -> None:
    _quiet(threads)
    from mperceiver.training.stages import train

    print(train(run, stage))


@verb
def train_predictor(run: RunName, threads: Threads = 0) -> None:
    """Stage 1: the degradation predictor."""
    _train(run, "predictor", threads)


@verb
def train_branches(run: RunName, threads: Threads = 0) -> None:
    """Stage 2: the textual and the visual branch."""
    _train(run, "branches", threads)


@verb
def train_drm(run: RunName, threads: Threads = 0) -> None:
    """Stage 3: the detail refinement module."""
    _train(run, "drm", threads)


@verb
def train_network(run: RunName, threads: Threads = 0) -> None:
    """A baseline's one stage."""
    _train(run, "network", threads)


@verb
def restore(
    method: MethodName,
    source: Annotated[str, typer.Argument(help="stem of config/datasets/<name>.yaml, or a photograph")],
    target: Annotated[Path | None, typer.Argument(help="with a photograph: where to write the restored one")] = None,
    tile: Annotated[
        int | None, typer.Option(help="with a photograph: side of the tiles in px, for less memory")
    ] = None,
    threads: Threads = 0,
) -> None:
    """Restore a prepared dataset into results/restored/, or one photograph of any size."""
    _quiet(threads)
    from mperceiver.restore import restore_dataset, restore_file

    if target is None and Path(source).suffix:
        _fail(
            f"{source} looks like a photograph: say where the restored one goes, e.g. mperceiver restore {method} {source} restored.png"
        )
    if target is None:
        print(restore_dataset(method, source))
    else:
        restore_file(method, Path(source), target, tile)
        print(target)


@verb
def score(method: MethodName, dataset: DatasetName, workers: Workers = 0) -> None:
    """Score a method's restored pictures of a dataset under the dataset's protocol."""
    from mperceiver.data.pool import cores
    from mperceiver.scoring import score as make

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
    from mperceiver.report.pages import write

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
        _fail("\n".join(problems))


def _experiment() -> config.Experiment | None:
    """The experiment in force, for its `mirror`: $MPERCEIVER_EXPERIMENT, set by the workflow, or none."""
    path = os.environ.get("MPERCEIVER_EXPERIMENT")
    return config.parse(Path(path), config.Experiment) if path else None


if __name__ == "__main__":
    sys.exit(app())
