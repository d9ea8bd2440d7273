"""The verb that restores."""

from pathlib import Path
from typing import Annotated

import typer

from mperceiver import config
from mperceiver.cli.base import MethodName, Threads, fail, quiet, verb

Source = Annotated[str, typer.Argument(help="stem of config/datasets/<name>.yaml, a photograph, or a folder of them")]
Target = Annotated[Path | None, typer.Argument(help="of a photograph: the restored one's name; of a folder: another")]
Tile = Annotated[int | None, typer.Option(help="side of the tiles in px (default: as large as the memory allows)")]
MemoryGib = Annotated[
    float | None, typer.Option(help="memory it may take on the device, weights included (default: what is free)")
]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="of a folder: leave what is in TARGET already")]
Json = Annotated[bool, typer.Option("--json", help="a line of JSON for each photograph, on standard output")]


@verb
def restore(
    method: MethodName,
    source: Source,
    target: Target = None,
    tile: Tile = None,
    memory_gib: MemoryGib = None,
    skip_existing: SkipExisting = False,
    json: Json = False,
    threads: Threads = 0,
) -> None:
    """Restore a prepared dataset into results/restored/, a photograph of any size, or a folder of photographs.

    Photographs become PNGs. One that cannot be restored is named with the reason, the others are restored, and the exit
    code is 1.
    """
    quiet(threads)
    if target is not None:
        from mperceiver.restoring.console import restore_photographs

        changes = {"tile_px": tile, "memory_gib": memory_gib}
        restore_photographs(method, Path(source), target, changes, skip_existing, json)
        return
    if Path(source).suffix or (Path(source).is_dir() and not config.path_of("datasets", source).is_file()):
        what, example = ("a folder", "restored/") if Path(source).is_dir() else ("a photograph", "restored.png")
        fail(
            f"{source} looks like {what}: say where the restored one goes, e.g. mperceiver restore {method} {source} {example}"
        )
    if tile or memory_gib or skip_existing or json:
        fail(f"{source} is a dataset: how it is restored stands in config/methods/{method}.yaml, and nowhere else")
    from mperceiver.restoring.datasets import restore_dataset

    print(restore_dataset(method, source))
