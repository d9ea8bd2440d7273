"""The verb that restores."""

from pathlib import Path
from typing import Annotated

import typer

from mperceiver.cli.base import MethodName, Threads, fail, quiet, verb


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
    quiet(threads)
    from mperceiver.restore import restore_dataset, restore_file

    if target is None and Path(source).suffix:
        fail(
            f"{source} looks like a photograph: say where the restored one goes, e.g. mperceiver restore {method} {source} restored.png"
        )
    if target is None:
        print(restore_dataset(method, source))
    else:
        restore_file(method, Path(source), target, tile)
        print(target)
