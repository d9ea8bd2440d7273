"""Score a method's restored pictures of a dataset by its protocol: a CSV with a row a picture, and a card with the means."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mperceiver import commits, config, images, lineage, paths
from mperceiver.config.protocols import Protocol
from mperceiver.csvs import to_csv
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.data.read.unchanged import check_unchanged
from mperceiver.files import ChecksumError, read_manifest, sha256, verify_checksums, write_text
from mperceiver.metrics import METRICS, score_batch
from mperceiver.metrics.weights import WeightsError, weights_digests
from mperceiver.progress import progress
from mperceiver.scoring.features import FeatureCache
from mperceiver.scoring.pictures import as_scored, ground_truth, put_unclipped

CHUNK = 8  # pictures a worker takes at a time
BATCH_PIXELS = 2**20  # pictures of one size are scored together up to this many pixels
RESAMPLES = 1000
# Errors that are not about a single picture, but about the weights of a metric, a file, or the memory.
NOT_A_PICTURES = (WeightsError, ChecksumError, lineage.LineageError, OSError, MemoryError)

Row = dict[str, Any]  # metric -> what scoring a picture gives: a float; None; two arrays of features


def score_dataset(method: str, dataset: str, workers: int = 1) -> Path:
    """Write results/scores/{method}/{dataset}.csv and its card, whole or not at all; return the card's path.

    The card's result: {"n", "protocol", "protocol_sha256", "means": {metric: mean or null}, "counts": {metric: pictures
    that its mean is over}, "tasks": {task: {"n", metric: {"mean", "low", "high"}}}}; low and high are the ends of the 95 %
    bootstrap interval of the mean. Where a metric cannot be computed for some pictures of a task, its mean is over the
    others, and its own "n" is their number.

    Args:
        workers: threads; their number never changes a result.

    Raises:
        ConfigError: the method, the dataset or the protocol has no file. LineageError: not restored yet, or restored from other pictures.
        WeightsError: the weights of a metric are not staged.
        ChecksumError: the restored pictures are not those that their card is of.
        PictureError: a restored picture is missing, damaged, of another size than its ground truth, or cannot be scored (one
            that cannot be aligned, or is too small for a metric's window); the message names that picture and no other. Such
            a picture has no empty value: the mean of a method must not rise because its worst picture is left out.
    """
    config.load("methods", method)
    name = config.load("datasets", dataset).protocol
    protocol = config.load("protocols", name)
    commits.require()
    prepared = PreparedDataset(dataset)
    folder = _restored_folder(method, dataset, prepared)
    check_unchanged([str(paths.prepared_card(dataset))])
    weights: dict[Path, str] = {}
    for foundation in config.metric_foundations(protocol):
        weights |= weights_digests(foundation)
    key = {str(path): digest for path, digest in weights.items()}
    key |= {"prepared": sha256(paths.prepared_card(dataset)), "protocol": protocol.model_dump_json()}
    settings = {"method": method, "dataset": dataset, "protocol": protocol}
    work = lineage.begin("score", settings, [*config.score_inputs(method, dataset), *weights])
    cache = FeatureCache(dataset, name, protocol, key)
    unclipped = prepared.unclipped and config.load("methods", method).kind == "identity"
    rows = _score_pictures(prepared, folder, protocol, cache, workers, f"score {method} {dataset}", unclipped)
    cache.save()

    card = paths.scores_card(method, dataset)
    write_text(paths.scores_file(method, dataset), _csv(prepared, rows, protocol.metrics), card=card)
    work.write_card(
        card,
        outputs=[paths.scores_file(method, dataset)],
        result={
            "n": len(rows),
            "protocol": name,
            "protocol_sha256": _digest(protocol),
            "means": {m: _summary(rows, m)["mean"] for m in protocol.metrics},
            "counts": {m: len(_values(rows, m)) for m in protocol.metrics},
            "tasks": {task: _task_summary(prepared, rows, task, protocol) for task in dict.fromkeys(prepared.tasks)},
        },
    )
    return card


def _digest(protocol: Protocol) -> str:
    """SHA-256 of all keys that decide a number, also those taken from a file that the protocol is `like`; not of the title."""
    return hashlib.sha256(protocol.model_dump_json(exclude={"title"}).encode()).hexdigest()


def interval(values: list[float]) -> tuple[float, float, float]:
    """The mean of some numbers and the ends of its 95 % percentile bootstrap interval, from RESAMPLES resamples.

    The seed is fixed, so the same pictures are drawn for every method on a dataset.
    """
    array = np.asarray(values, np.float64)
    rng = np.random.Generator(np.random.PCG64(0))
    rows = max(1, 2**20 // len(array))  # resamples at a time
    sizes = [min(rows, RESAMPLES - done) for done in range(0, RESAMPLES, rows)]
    means = [array[rng.integers(len(array), size=(size, len(array)))].mean(1) for size in sizes]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(array.mean()), float(low), float(high)


# ---------------------------------------------------------------- checks before scoring


def _restored_folder(method: str, dataset: str, prepared: PreparedDataset) -> Path:
    """The folder of restored pictures. Raises unless all are there, as their card says, and restored from the prepared pictures of now."""
    card, prepared_card = paths.restored_card(method, dataset), paths.prepared_card(dataset)
    folder, again = paths.restored_folder(method, dataset), f"mperceiver restore {method} {dataset}"
    restored_from = lineage.read_card(card)["inputs"].get(str(prepared_card))
    lineage.read_card(prepared_card)
    if restored_from is not None and restored_from != sha256(prepared_card):
        raise lineage.LineageError(
            f"{folder}: restored from another state of {dataset} than {prepared_card} describes; restore it again: {again}"
        )
    missing = [name for name in prepared.ids if not (folder / f"{name}.png").is_file()]
    if missing:
        raise images.PictureError(
            f"{folder / missing[0]}.png: no such picture, {len(missing)} of {len(prepared)} are missing; "
            f"restore them again: {again}"
        )
    _check_restored(folder, card, f"it was changed after it was restored. Restore the pictures again: {again}")
    return folder


def _check_restored(folder: Path, card: Path, remedy: str) -> None:
    """Raise ChecksumError if the folder is not as its card says; without its manifest all of it is hashed, and no picture can be named."""
    recorded = lineage.read_card(card)["outputs"].get(str(folder))
    if recorded is None:  # `restore` writes no such card
        return
    digests = read_manifest(folder, recorded)
    if digests is not None:
        verify_checksums(folder, digests, remedy)
    elif (actual := sha256(folder)) != recorded:
        raise ChecksumError(f"{folder}: its SHA-256 is {actual}, {card} says {recorded}; {remedy}")


# ---------------------------------------------------------------- pictures


def _score_pictures(
    prepared: PreparedDataset,
    folder: Path,
    protocol: Protocol,
    cache: FeatureCache,
    workers: int,
    label: str,
    unclipped: bool = False,
) -> list[Row]:
    """A row a picture, in the dataset's order: metric -> value, or for a metric of whole sets (restored, target) features.

    ``unclipped``: the pictures are the degraded ones themselves, whose noise was not clipped; their files hold clipped copies.
    """

    def score_chunk(start: int) -> list[Row]:
        chunk = range(start, min(start + CHUNK, len(prepared)))
        return [row for batch in _batches(prepared, folder, chunk) for row in _score_batch(*batch)]

    def _score_batch(batch: range, restored: np.ndarray, gt: np.ndarray | None) -> list[Row]:
        try:
            rows = _rows(batch, restored, gt, protocol, cache)
            if unclipped and gt is not None:
                put_unclipped(rows, prepared, batch, gt, protocol)
            return rows
        except NOT_A_PICTURES:
            raise
        except Exception as error:  # whatever a metric raises, the message names the picture
            if len(batch) > 1:
                singles = [
                    (batch[k : k + 1], restored[k : k + 1], None if gt is None else gt[k : k + 1])
                    for k in range(len(batch))
                ]
                return [row for single in singles for row in _score_batch(*single)]
            path, reason = folder / f"{prepared.ids[batch.start]}.png", str(error)
            if not isinstance(error, images.PictureError):
                reason = (
                    f"its metrics ({', '.join(protocol.metrics)}) cannot be computed: {type(error).__name__}: {error}"
                )
            raise images.PictureError(f"{path}: {reason}") from error

    import torch

    threads = torch.get_num_threads()
    # One picture a core instead of a part of each picture: no core waits, and sums are split alike on every machine.
    torch.set_num_threads(1)
    rows: list[Row] = []
    try:
        with progress(label, len(prepared)) as advance, ThreadPoolExecutor(max(workers, 1)) as pool:
            try:
                for scored in pool.map(score_chunk, range(0, len(prepared), CHUNK)):
                    rows += scored
                    advance(len(scored))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(threads)
    return rows


def _rows(
    batch: range, restored: np.ndarray, gt: np.ndarray | None, protocol: Protocol, cache: FeatureCache
) -> list[Row]:
    """Score pictures of one size, (B, H, W, 3), uint8 or float32: a row each. Raises PictureError for a value that is no finite number."""
    gt_features = {} if gt is None else cache.of(batch, gt)
    rows: list[Row] = [dict(row) for row in score_batch(restored, gt, protocol, gt_features)]
    for metric in protocol.metrics:
        features = METRICS[metric].features
        if METRICS[metric].distance is None or features is None:
            continue
        targets = gt_features.get(metric, [None] * len(rows))
        for row, ours, target in zip(rows, features(restored, protocol), targets, strict=True):
            row[metric] = None if ours is None or target is None else (ours[0], target[0])
    for row in rows:
        bad = [metric for metric, value in row.items() if value is not None and not np.isfinite(value).all()]
        if bad:
            raise images.PictureError(f"{METRICS[bad[0]].label} is {row[bad[0]]}, no finite number")
    return rows


def _batches(
    prepared: PreparedDataset, folder: Path, rows: range
) -> Iterator[tuple[range, np.ndarray, np.ndarray | None]]:
    """Neighbours of one size together: rows, restored and ground truth, (B, H, W, 3), each decoded once.

    uint8; float32 in [0, 1] of a dataset of 16 bits.
    """
    pairs: list[tuple[np.ndarray, np.ndarray | None]] = []
    first = rows.start
    for i in rows:
        restored, gt = _read_pair(prepared, folder, i)
        if pairs:
            alike = pairs[0][0].shape == restored.shape and (pairs[0][1] is None) == (gt is None)
            if not alike or (len(pairs) + 1) * restored[..., 0].size > BATCH_PIXELS:
                yield range(first, i), *_stack(pairs)
                pairs, first = [], i
        pairs.append((restored, gt))
    if pairs:
        yield range(first, rows.stop), *_stack(pairs)


def _stack(pairs: list[tuple[np.ndarray, np.ndarray | None]]) -> tuple[np.ndarray, np.ndarray | None]:
    targets = [gt for _, gt in pairs if gt is not None]
    return np.stack([restored for restored, _ in pairs]), np.stack(targets) if targets else None


def _read_pair(prepared: PreparedDataset, folder: Path, i: int) -> tuple[np.ndarray, np.ndarray | None]:
    path = folder / f"{prepared.ids[i]}.png"
    restored = as_scored(images.decode_deep(path) if prepared.bits == 16 else images.decode(path))
    gt = ground_truth(prepared, i)
    height, width = prepared.size(i) if gt is None else gt.shape[:2]
    if restored.shape[:2] != (height, width):
        raise images.PictureError(
            f"{path}: is {restored.shape[1]}x{restored.shape[0]} px, but {width}x{height} px in {prepared.name}; "
            f"restore it again: mperceiver restore {folder.parent.name} {folder.name}"
        )
    return restored, gt


# ---------------------------------------------------------------- numbers


def _csv(prepared: PreparedDataset, rows: list[Row], metrics: list[str]) -> str:
    """A row a picture; a metric of whole sets has no column."""
    metrics = [m for m in metrics if METRICS[m].score is not None]
    pictures = zip(prepared.ids, prepared.tasks, rows, strict=True)
    return to_csv(["id", "task", *metrics], ([name, task, *(row[m] for m in metrics)] for name, task, row in pictures))


def _task_summary(prepared: PreparedDataset, rows: list[Row], task: str, protocol: Protocol) -> dict[str, Any]:
    of_task = [row for row, other in zip(rows, prepared.tasks, strict=True) if other == task]
    return {"n": len(of_task)} | {m: _summary(of_task, m) for m in METRICS if m in protocol.metrics}


def _values(rows: list[Row], metric: str) -> list[Any]:
    """The values of the pictures that have the metric."""
    return [row[metric] for row in rows if row[metric] is not None]


def _summary(rows: list[Row], metric: str) -> dict[str, Any]:
    """Mean and interval over the pictures that have the metric; for a metric of whole sets its one value as the mean."""
    values = _values(rows, metric)
    mean, low, high = None, None, None
    if distance := METRICS[metric].distance:
        if values:
            mean = distance(*(np.stack(side) for side in zip(*values, strict=True)))
    elif values:
        mean, low, high = interval(values)
    summary = {"mean": mean, "low": low, "high": high}
    if 0 < len(values) < len(rows):
        summary["n"] = len(values)
    return summary
