"""The verbs that restore."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from mperceiver.cli.base import DatasetName, MethodName, Threads, configure_torch, fail, prepare_torch, verb
from mperceiver.printing import say


@verb("Restoring")
def restore(
    method: MethodName,
    source: Annotated[
        str,
        typer.Argument(
            help="A photograph, a folder of photographs, or a dataset (stem of config/datasets/<name>.yaml)."
        ),
    ],
    target: Annotated[
        str | None,  # not Path, which turns an empty text into a dot
        typer.Argument(
            help="For a photograph: the PNG file to write. For a folder: another folder. For a dataset: none."
        ),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(
            help="Side of tiles in px.", show_default="the method's; if it has none, as large as the memory allows"
        ),
    ] = None,
    memory_gib: Annotated[
        float | None,
        typer.Option(help="Most device memory to use, weights included, in GiB.", show_default="all that is free"),
    ] = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="For a folder: skip pictures that are in TARGET already.")
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Also write the picture before and after, side by side: TARGET-compare.png, or TARGET/compare/.",
        ),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON for each photograph instead of its path.")
    ] = False,
    threads: Threads = 0,
) -> None:
    """Restore a photograph of any size, a folder of photographs, or a prepared dataset into results/restored/.

    Restored photographs are PNG files. If one cannot be restored, the reason is printed, the others are restored, and the exit code is 1.
    """
    for name, given in (("SOURCE", source), ("TARGET", target)):
        if given == "":
            fail(f"{name} is empty: was it a variable that is not set? A dot (.) is this folder")
    from mperceiver import config

    if target is not None:
        config.or_shipped()
        configure_torch(threads)  # imported with the model: a photograph that is refused, or only copied, needs none
        from mperceiver.restoring.console import restore_photographs

        changes = {"tile_px": tile, "memory_gib": memory_gib}
        restore_photographs(method, Path(source), Path(target), changes, skip_existing, json, compare)
        return
    prepare_torch(threads)
    is_folder, is_dataset = Path(source).is_dir(), config.path_of("datasets", source).is_file()
    if Path(source).suffix or (is_folder and not is_dataset):
        what, example = ("a folder", "restored/") if is_folder else ("a photograph", "restored.png")
        command = shlex.join(["mperceiver", "restore", method, source, example])
        fail(f"{source} is {what}: say where to write, e.g. {command}")
    if (tile, memory_gib) != (None, None) or skip_existing or json or compare:
        fail(
            f"{source} is taken for a dataset, and --tile, --memory-gib, --skip-existing, --compare and --json are for photographs only. "
            f"A dataset is restored by the settings in {config.path_of('methods', method)}, so that its scores can be repeated"
        )
    from mperceiver.restoring.datasets import restore_dataset

    say(restore_dataset(method, source))


@verb("Restoring")
def command(method: MethodName, dataset: DatasetName) -> None:
    """Run the program of a method of kind command on a prepared dataset, and check what it wrote; `restore` then takes it in."""
    from mperceiver.restoring.commands import run_command

    say(run_command(method, dataset))
