"""Restore photographs as the command line does: what was written goes to standard output, all else to standard error."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mperceiver.config.base import SURE
from mperceiver.images import PictureError
from mperceiver.printing import say, say_json, shown
from mperceiver.progress import progress
from mperceiver.restoring import finding, photographs
from mperceiver.restoring.definitions import definition
from mperceiver.restoring.photographs import PhotographResult

MOST_NAMED = 3  # degradations that are named, the most probable first
LEAST_PROBABILITY = 0.05  # of a degradation that is named


def restore_photographs(
    method: str,
    source: Path,
    target: Path,
    changes: dict[str, Any],
    skip_existing: bool = False,
    as_json: bool = False,
    compare: bool = False,
) -> None:
    """Restore the photograph ``source`` into the file ``target``, or those in a folder into the folder ``target``.

    For each restored photograph a line goes to standard output: its path, or a JSON object; with ``as_json`` photographs that
    could not be restored have one, too.

    Args:
        changes: settings of the method that the command line sets otherwise; None leaves a setting as it is.
        compare: write a picture of before and after, too; see ``finding.compare_in``.
        skip_existing: pass over photographs whose restored file, and comparison with ``compare``, is there, by this method as it is now
            from the file as it is now.

    Raises:
        PictureError: before the work, see ``finding.to_restore``; at the end, if a photograph could not be restored; the others were.
        ConfigError, LineageError: see ``photographs.restore_each``.
    """
    spec = photographs.method_for_photographs(method, **changes)
    all_photographs = finding.to_restore(source, target, compare)
    waiting = all_photographs
    if skip_existing:
        now = definition(method, spec)
        waiting = [photograph for photograph in all_photographs if not photograph.is_restored(method, now)]
    if len(waiting) < len(all_photographs):
        _note(f"{len(all_photographs) - len(waiting)} of {len(all_photographs)} pictures are in {target} already")
    unread: dict[Path, str] = {}
    if source.is_dir():
        unread, others = finding.left_out(source, target)
        for path, reason in unread.items():
            _note(f"not restored: {path}: {reason}")
        if others:
            _note(f"no pictures, left alone: {', '.join(path.name for path in others)}")
    if not waiting:
        if unread:
            raise PictureError(_not_restored(list(unread), len(all_photographs) + len(unread)))
        return
    failed: list[PhotographResult] = []
    single = len(waiting) == 1  # its progress is told in parts of its work
    total, unit = (100, "%") if single else (len(waiting), "pictures")
    restored = len(all_photographs) - len(waiting)
    with (
        progress(f"restore {method} {source}", total, unit) as advance,
        _told_if_stopped(lambda: restored, len(all_photographs), target),
    ):

        def report(share: float) -> None:
            if single or not share:
                advance(100 * share / photographs.views(spec))

        for result in photographs.restore_each(method, spec, waiting, report):
            restored += not result.error
            for note in result.photograph.notes:
                _note(f"{result.photograph.source}: {note}")
            if result.error:
                failed.append(result)
                if len(all_photographs) > 1:
                    _note(f"not restored: {result.error}")
            elif result.outcome.tiles:
                _note(described(result))
            if as_json:
                say_json(result.record())
            elif not result.error:
                say(shown(result.photograph.target, lines=False))
            if not single:
                advance(1)
    if len(failed) == 1 and len(all_photographs) == 1 and not unread:
        raise PictureError(failed[0].error)
    if failed or unread:
        paths = [*(result.photograph.source for result in failed), *unread]
        raise PictureError(_not_restored(paths, len(all_photographs) + len(unread)))


@contextlib.contextmanager
def _told_if_stopped(restored: Callable[[], int], count: int, target: Path) -> Iterator[None]:
    """Say how to go on after Ctrl-C, or a full disk, in the middle of a folder."""
    try:
        yield
    except (KeyboardInterrupt, OSError) as error:
        if count > 1 and not isinstance(error, BrokenPipeError):  # nobody reads any more, as in `| head`
            _note(
                f"{restored()} of {count} pictures are in {target}, each whole; with --skip-existing the same command does the others"
            )
        raise


def _not_restored(paths: list[Path], count: int) -> str:
    names = ", ".join(path.name for path in paths)
    return f"{len(paths)} of {count} pictures were not restored: {names}; the reasons stand above"


def _note(line: str) -> None:
    say(shown(line, lines=False), error=True)


def described(result: PhotographResult) -> str:
    """One line: size in pixels, tiles, seconds, and the most probable degradations."""
    outcome, photograph = result.outcome, result.photograph
    size = "{}x{}".format(*photograph.size) if photograph.size else ""
    tiles = f" in {outcome.tiles.count} tiles" if outcome.tiles and outcome.tiles.count > 1 else ""
    line = f"{photograph.source}: {size}{tiles}, {outcome.seconds:.1f} s"
    if outcome.clean is not None and outcome.clean >= SURE:
        return f"{line}; nothing seems wrong with it: {outcome.clean:.0%}"
    likely = sorted((outcome.probabilities or {}).items(), key=lambda item: -item[1])[:MOST_NAMED]
    degradations = ", ".join(f"{name.replace('-', ' ')} {p:.0%}" for name, p in likely if p >= LEAST_PROBABILITY)
    if not degradations:
        return line
    sure = likely[0][1] >= SURE
    return f"{line}; " + (f"looks like {degradations}" if sure else f"not sure what is wrong with it: {degradations}")
