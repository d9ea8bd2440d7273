"""Score a method's restored pictures of a dataset under its protocol: a row a picture, and a card of means."""

import csv
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mperceiver import config, images, lineage, paths
from mperceiver.config.protocols import Protocol
from mperceiver.data import DataError
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.files import sha256, write_text
from mperceiver.metrics import METRICS, score_batch
from mperceiver.metrics.blind import BRISQUE_WEIGHTS, NIQE_WEIGHTS
from mperceiver.metrics.weights import package_file
from mperceiver.progress import progress
from mperceiver.scoring.references import References

CHUNK = 8  # pictures a worker takes at a time
BATCH_PIXELS = 2**20  # pictures of one size are scored together up to so many pixels
RESAMPLES = 1000


def score_dataset(method: str, dataset: str, workers: int = 1) -> Path:
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
    prepared = PreparedDataset(dataset)
    restored_card = _restored_card(method, dataset)
    folder = restored_card.with_suffix("")
    _all_there(prepared, folder)
    weights = _weights(protocol)
    made_of = weights | {"prepared": sha256(paths.prepared_card(dataset)), "protocol": protocol.model_dump_json()}
    references = References(dataset, name, protocol, made_of)
    rows = _rows(prepared, folder, protocol, references, workers, f"score {method} {dataset}")
    references.save()

    paths.scores_card(method, dataset).unlink(missing_ok=True)  # the old one must not stand beside the new file
    write_text(paths.scores_file(method, dataset), _csv(prepared, rows, protocol.metrics))
    lineage.write_card(
        paths.scores_card(method, dataset),
        verb="score",
        spec={"method": method, "dataset": dataset, "protocol": protocol},
        inputs=config.score_inputs(method, dataset),
        outputs=[paths.scores_file(method, dataset)],
        result={
            "n": len(rows),
            "protocol": name,
            "protocol_sha256": _digest(protocol),
            "means": {m: _summary(rows, m)["mean"] for m in protocol.metrics},
            "tasks": {task: _of_task(prepared, rows, task, protocol) for task in dict.fromkeys(prepared.tasks)},
        },
        sources=weights,
    )
    return paths.scores_card(method, dataset)


def _digest(protocol: Protocol) -> str:
    """Of all that decides a number, whichever file of those it is `like` says it; the words are not."""
    return hashlib.sha256(protocol.model_dump_json(exclude={"title"}).encode()).hexdigest()


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
    made_of = card["inputs"].get(str(paths.prepared_card(dataset)))
    lineage.read_card(paths.prepared_card(dataset))
    if made_of is not None and made_of != sha256(paths.prepared_card(dataset)):
        raise lineage.LineageError(
            f"{path.with_suffix('')}: restored from another state of {dataset} than {paths.prepared_card(dataset)} tells of; "
            f"restore it again: mperceiver restore {method} {dataset}"
        )
    return path


def _all_there(prepared: PreparedDataset, folder: Path) -> None:
    missing = [name for name in prepared.ids if not (folder / f"{name}.png").is_file()]
    if missing:
        raise images.PictureError(
            f"{folder / missing[0]}.png: no such picture, {len(missing)} of {len(prepared)} are missing; "
            f"restore them again: mperceiver restore {folder.parent.name} {folder.name}"
        )


def _weights(protocol: Protocol) -> dict[str, str]:
    """SHA-256 of the weights that the protocol's metrics rest on, for the card."""
    from mperceiver.metrics import lpips

    files = []
    if "lpips" in protocol.metrics:
        files += lpips.weights(protocol.lpips)
    if "niqe" in protocol.metrics:
        files.append(("basicsr", NIQE_WEIGHTS))
    if "brisque" in protocol.metrics:
        files.append(("brisque", BRISQUE_WEIGHTS))
    return {f"{package}:{inside}": sha256(package_file(package, inside)) for package, inside in files}


# ---------------------------------------------------------------- pictures


def _rows(
    prepared: PreparedDataset, folder: Path, protocol: Protocol, references: References, workers: int, label: str
) -> list[dict]:
    """The metrics of every picture, in the dataset's order; of a metric of whole sets the features of both sides."""
    from concurrent.futures import ThreadPoolExecutor

    import torch

    def chunk(start: int) -> list[dict]:
        found = []
        for batch, restored, gt in _batches(prepared, folder, range(start, min(start + CHUNK, len(prepared)))):
            try:
                known = {} if gt is None else references.of(batch, gt)
                rows = score_batch(restored, gt, protocol, known)
                for name in (m for m in protocol.metrics if METRICS[m].function is None):
                    ours = METRICS[name].reference(restored, protocol)
                    for row, mine, target in zip(rows, ours, known.get(name, [None] * len(rows)), strict=True):
                        row[name] = None if target is None else (mine[0], target[0])
                found += rows
            except images.PictureError as error:
                pictures = ", ".join(prepared.ids[i] for i in batch)
                raise images.PictureError(f"{folder}, {pictures}: {error}") from None
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
    prepared: PreparedDataset, folder: Path, rows: range
) -> Iterator[tuple[range, np.ndarray, np.ndarray | None]]:
    """Neighbours of one size together: rows, restored and ground truth, uint8 (B, H, W, 3), each decoded once."""
    held: list[tuple[np.ndarray, np.ndarray | None]] = []
    first = rows.start
    for i in rows:
        restored, gt = _pair(prepared, folder, i)
        if held:
            alike = held[0][0].shape == restored.shape and (held[0][1] is None) == (gt is None)
            if not alike or (len(held) + 1) * restored[..., 0].size > BATCH_PIXELS:
                yield range(first, i), *_stack(held)
                held, first = [], i
        held.append((restored, gt))
    if held:
        yield range(first, rows.stop), *_stack(held)


def _stack(held: list[tuple]) -> tuple[np.ndarray, np.ndarray | None]:
    restored, gt = zip(*held, strict=True)
    return np.stack(restored), None if gt[0] is None else np.stack(gt)


def _pair(prepared: PreparedDataset, folder: Path, i: int) -> tuple[np.ndarray, np.ndarray | None]:
    path = folder / f"{prepared.ids[i]}.png"
    restored, gt = images.decode(path), _target(prepared, i)
    height, width = prepared.size(i) if gt is None else gt.shape[:2]
    if restored.shape[:2] != (height, width):
        raise images.PictureError(
            f"{path}: is {restored.shape[1]}x{restored.shape[0]} px, but {width}x{height} px in {prepared.name}; "
            f"restore it again: mperceiver restore {folder.parent.name} {folder.name}"
        )
    return restored, gt


def _target(prepared: PreparedDataset, i: int) -> np.ndarray | None:
    try:
        return prepared.gt(i)
    except DataError:  # a real picture, without ground truth
        return None


# ---------------------------------------------------------------- numbers


def _csv(prepared: PreparedDataset, rows: list[dict], metrics: list[str]) -> str:
    """A row a picture; a metric of whole sets has no column."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    metrics = [m for m in metrics if METRICS[m].function is not None]
    writer.writerow(["id", "task", *metrics])
    for name, task, row in zip(prepared.ids, prepared.tasks, rows, strict=True):
        writer.writerow([name, task, *("" if row[m] is None else repr(row[m]) for m in metrics)])
    return out.getvalue()


def _of_task(prepared: PreparedDataset, rows: list[dict], task: str, protocol: Protocol) -> dict:
    mine = [row for row, of in zip(rows, prepared.tasks, strict=True) if of == task]
    return {"n": len(mine)} | {m: _summary(mine, m) for m in METRICS if m in protocol.metrics}


def _summary(rows: list[dict], metric: str) -> dict:
    """Mean and interval over the pictures that have the metric; of a metric of whole sets its one value."""
    have = [row[metric] for row in rows if row[metric] is not None]
    if METRICS[metric].function is None:
        from mperceiver.metrics import fid

        ours, target = (np.stack(side) for side in zip(*have, strict=True)) if have else (np.empty((0, 1)),) * 2
        summary = {"mean": fid.distance(ours, target), "low": None, "high": None}
    else:
        mean, low, high = interval(have) if have else (None, None, None)
        summary = {"mean": mean, "low": low, "high": high}
    if 0 < len(have) < len(rows):
        summary["n"] = len(have)
    return summary
