"""Score a method's restored pictures of a dataset under its protocol: a row a picture, and a card of means."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mperceiver import config, images, lineage
from mperceiver.data import DataError, prepared_card
from mperceiver.data.loader import Prepared
from mperceiver.metrics import METRICS, NIQE_WEIGHTS, score_batch
from mperceiver.progress import progress

CHUNK = 8  # pictures a worker takes at a time
BATCH_PIXELS = 2**20  # pictures of one size are scored together up to so many pixels
RESAMPLES = 1000


def scores_file(method: str, dataset: str) -> Path:
    return Path("results/scores") / method / f"{dataset}.csv"


def scores_card(method: str, dataset: str) -> Path:
    return scores_file(method, dataset).with_suffix(".json")


def score(method: str, dataset: str, workers: int = 1) -> Path:
    """Write results/scores/{method}/{dataset}.csv and its card, whole or not at all; return the card's path.

    The card's result: {"n", "protocol", "protocol_sha256", "means": {metric: mean or null}, "tasks": {task: {"n",
    metric: {"mean", "low", "high"}}}}, low to high being the 95 % bootstrap interval of the mean. Where a metric cannot
    be had for some pictures of a task, its mean is over the others and its own "n" says over how many.

    Args:
        workers: threads. Never changes a number.

    Raises:
        ConfigError, LineageError: something is not described, or not restored yet, or restored from other pictures.
        PictureError: a restored picture is missing, damaged or of another size than its ground truth, by name.
    """
    config.load("methods", method)
    name = config.load("datasets", dataset).protocol
    protocol = config.load("protocols", name)
    lineage.commit()  # a result without a commit cannot be kept: say so before the work, not after
    prepared = Prepared(dataset)
    restored_card = _restored_card(method, dataset)
    folder = restored_card.with_suffix("")
    _all_there(prepared, folder)
    rows = _rows(prepared, folder, protocol, workers, f"score {method} {dataset}")

    scores_card(method, dataset).unlink(missing_ok=True)  # the old one must not stand beside the new file
    lineage.write_text(scores_file(method, dataset), _csv(prepared, rows, protocol.metrics))
    lineage.write_card(
        scores_card(method, dataset),
        verb="score",
        spec={"method": method, "dataset": dataset, "protocol": protocol},
        inputs=config.score_inputs(method, dataset),
        outputs=[scores_file(method, dataset)],
        result={
            "n": len(rows),
            "protocol": name,
            "protocol_sha256": lineage.sha256(config.path_of("protocols", name)),
            "means": {m: _mean([row[m] for row in rows]) for m in protocol.metrics},
            "tasks": {task: _summary(prepared, rows, task) for task in dict.fromkeys(prepared.tasks)},
        },
        sources=_weights(protocol),
    )
    return scores_card(method, dataset)


def interval(values: list[float]) -> tuple[float, float, float]:
    """Mean of some numbers and its 95 % percentile bootstrap interval (RESAMPLES resamples).

    The seed is fixed: methods on one dataset are resampled alike.
    """
    array = np.asarray(values, np.float64)
    rng = np.random.Generator(np.random.PCG64(0))
    rows = max(1, 2**20 // len(array))  # resamples at a time
    sizes = [min(rows, RESAMPLES - done) for done in range(0, RESAMPLES, rows)]
    means = [array[rng.integers(len(array), size=(size, len(array)))].mean(1) for size in sizes]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(array.mean()), float(low), float(high)


# ---------------------------------------------------------------- before


def _restored_card(method: str, dataset: str) -> Path:
    path = Path("results/restored") / method / f"{dataset}.json"
    card = lineage.read_card(path)
    made_of = card["inputs"].get(str(prepared_card(dataset)))
    lineage.read_card(prepared_card(dataset))
    if made_of is not None and made_of != lineage.sha256(prepared_card(dataset)):
        raise lineage.LineageError(
            f"{path.with_suffix('')}: restored from another state of {dataset} than {prepared_card(dataset)} tells of; "
            f"restore it again: mperceiver restore {method} {dataset}"
        )
    return path


def _all_there(prepared: Prepared, folder: Path) -> None:
    missing = [name for name in prepared.ids if not (folder / f"{name}.png").is_file()]
    if missing:
        raise images.PictureError(
            f"{folder / missing[0]}.png: no such picture, {len(missing)} of {len(prepared)} are missing; "
            f"restore them again: mperceiver restore {folder.parent.name} {folder.name}"
        )


def _weights(protocol: config.Protocol) -> dict[str, str]:
    """SHA-256 of the weights that the protocol's metrics rest on, for the card."""
    from mperceiver import perceptual

    files = []
    if "lpips" in protocol.metrics:
        files += perceptual.weights(protocol.lpips)
    if "niqe" in protocol.metrics:
        files.append(("basicsr", NIQE_WEIGHTS))
    return {
        f"{package}:{inside}": lineage.sha256(perceptual.package_file(package, inside)) for package, inside in files
    }


# ---------------------------------------------------------------- pictures


def _rows(prepared: Prepared, folder: Path, protocol: config.Protocol, workers: int, label: str) -> list[dict]:
    """The metrics of every picture, in the dataset's order."""
    from concurrent.futures import ThreadPoolExecutor

    import torch

    def chunk(start: int) -> list[dict]:
        found = []
        for pictures, restored, gt in _batches(prepared, folder, range(start, min(start + CHUNK, len(prepared)))):
            try:
                found += score_batch(restored, gt, protocol)
            except images.PictureError as error:
                raise images.PictureError(f"{folder}, {', '.join(pictures)}: {error}") from None
        return found

    threads = torch.get_num_threads()
    # A picture a core, not a part of each picture: nobody waits, and no sum is split otherwise on another machine.
    torch.set_num_threads(1)
    rows = []
    try:
        with progress(label, len(prepared)) as advance, ThreadPoolExecutor(max(workers, 1)) as pool:
            try:
                for done in pool.map(chunk, range(0, len(prepared), CHUNK)):
                    rows += done
                    advance(len(done))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(threads)
    return rows


def _batches(
    prepared: Prepared, folder: Path, rows: range
) -> Iterator[tuple[list[str], np.ndarray, np.ndarray | None]]:
    """Neighbours of one size together: ids, restored and ground truth, uint8 (B, H, W, 3), each decoded once."""
    held: list[tuple[str, np.ndarray, np.ndarray | None]] = []
    for i in rows:
        restored, gt = _pair(prepared, folder, i)
        if held:
            alike = held[0][1].shape == restored.shape and (held[0][2] is None) == (gt is None)
            if not alike or (len(held) + 1) * restored[..., 0].size > BATCH_PIXELS:
                yield _stack(held)
                held = []
        held.append((prepared.ids[i], restored, gt))
    if held:
        yield _stack(held)


def _stack(held: list[tuple]) -> tuple[list[str], np.ndarray, np.ndarray | None]:
    pictures, restored, gt = zip(*held, strict=True)
    return list(pictures), np.stack(restored), None if gt[0] is None else np.stack(gt)


def _pair(prepared: Prepared, folder: Path, i: int) -> tuple[np.ndarray, np.ndarray | None]:
    path = folder / f"{prepared.ids[i]}.png"
    restored, gt = images.decode(path), _target(prepared, i)
    height, width = prepared.size(i) if gt is None else gt.shape[:2]
    if restored.shape[:2] != (height, width):
        raise images.PictureError(
            f"{path}: is {restored.shape[1]}x{restored.shape[0]} px, but {width}x{height} px in {prepared.name}; "
            f"restore it again: mperceiver restore {folder.parent.name} {folder.name}"
        )
    return restored, gt


def _target(prepared: Prepared, i: int) -> np.ndarray | None:
    try:
        return prepared.gt(i)
    except DataError:  # a real picture, without ground truth
        return None


# ---------------------------------------------------------------- numbers


def _csv(prepared: Prepared, rows: list[dict], metrics: list[str]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "task", *metrics])
    for name, task, row in zip(prepared.ids, prepared.tasks, rows, strict=True):
        writer.writerow([name, task, *("" if row[m] is None else repr(row[m]) for m in metrics)])
    return out.getvalue()


def _mean(values: list[float | None]) -> float | None:
    have = [value for value in values if value is not None]
    return float(np.mean(have)) if have else None


def _summary(prepared: Prepared, rows: list[dict], task: str) -> dict:
    mine = [row for row, of in zip(rows, prepared.tasks, strict=True) if of == task]
    summary: dict = {"n": len(mine)}
    for metric in (m for m in METRICS if m in mine[0]):
        have = [row[metric] for row in mine if row[metric] is not None]
        mean, low, high = interval(have) if have else (None, None, None)
        summary[metric] = {"mean": mean, "low": low, "high": high}
        if 0 < len(have) < len(mine):
            summary[metric]["n"] = len(have)
    return summary
