"""The verb that restores."""

import json as text
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

TOLD = 3  # most probable degradations
LEAST = 0.05  # probability of one that is told


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
        _photographs(method, Path(source), target, {"tile_px": tile, "memory_gib": memory_gib}, skip_existing, json)
        return
    if Path(source).suffix or (Path(source).is_dir() and not config.path_of("datasets", source).is_file()):
        what, example = ("a folder", "restored/") if Path(source).is_dir() else ("a photograph", "restored.png")
        fail(
            f"{source} looks like {what}: say where the restored one goes, e.g. mperceiver restore {method} {source} {example}"
        )
    if tile or memory_gib or skip_existing or json:
        fail(f"{source} is a dataset: how it is restored stands in config/methods/{method}.yaml, and nowhere else")
    from mperceiver.restoring.restore import restore_dataset

    print(restore_dataset(method, source))


def _photographs(method: str, source: Path, target: Path, changes: dict, skip_existing: bool, json: bool) -> None:
    from mperceiver.progress import progress
    from mperceiver.restoring import photographs

    spec = photographs.chosen(method, **changes)
    found = (photographs.in_folder if source.is_dir() else photographs.in_file)(source, target)
    todo = [photograph for photograph in found if not (skip_existing and photograph.target.exists())]
    if len(todo) < len(found):
        _say(f"{len(found) - len(todo)} of {len(found)} pictures are in {target} already")
    failed, alone = [], len(todo) == 1
    total, unit = (photographs.steps(spec), "steps") if alone else (len(todo), "pictures")
    with progress(f"restore {method} {source}", total, unit) as advance:
        for result in photographs.restore(method, spec, todo, advance if alone else None) if todo else ():
            for note in result.photograph.notes:
                _say(f"{result.photograph.source}: {note}")
            if result.error:
                failed.append(result)
                if len(found) > 1:
                    _say(f"not restored: {result.error}")
            elif result.outcome.tiles:
                _say(_words(result))
            if json:
                print(text.dumps(result.record()), flush=True)
            elif not result.error:
                print(result.photograph.target, flush=True)
            if not alone:
                advance(1)
    if len(failed) == 1 and len(found) == 1:
        fail(failed[0].error)
    if failed:
        names = ", ".join(result.photograph.source.name for result in failed)
        fail(f"{len(failed)} of {len(found)} pictures were not restored: {names}; the reasons stand above")


def _say(line: str) -> None:
    import sys

    print(line, file=sys.stderr, flush=True)


def _words(result) -> str:
    """Size, work and what it looks like, in a line."""
    outcome, (width, height) = result.outcome, result.photograph.size
    tiles = f" in {outcome.tiles.count} tiles" if outcome.tiles.count > 1 else ""
    line = f"{result.photograph.source}: {width}x{height}{tiles}, {outcome.seconds:.1f} s"
    likely = sorted((outcome.probabilities or {}).items(), key=lambda item: -item[1])[:TOLD]
    seen = ", ".join(f"{name.replace('-', ' ')} {p:.0%}" for name, p in likely if p >= LEAST)
    return line + (f"; looks like {seen}" if seen else "")
