"""Work of the frozen towers that is done once: the latents and CLIP embeddings of the training crops, and stage 2's samples.

With the cached latents, stage 2 reads no picture and runs no VAE. The latents that stage 2 samples are what stage 3 is trained
on. Both are Arrow files, memory-mapped and read row by row, so they need not fit into memory.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from mperceiver import config, files, lineage, machine, paths
from mperceiver.data import DataError
from mperceiver.data.read.crops import FixedCrops, Window, fixed_crops
from mperceiver.data.read.unchanged import check_unchanged
from mperceiver.models import towers
from mperceiver.models.towers import Towers
from mperceiver.parallel import in_threads
from mperceiver.seeds import picture_seed
from mperceiver.training import processes
from mperceiver.training.shards import MappedRows, join_shards, shard_of, write_shards

# Crops that pass through the towers together: at most BATCH, and at most BATCH_PIXELS pixels in all.
BATCH, BATCH_PIXELS = 64, 2 * 2**20
VERSION = 1  # of the file's layout and of the way its numbers are computed

# (lq_latent, embedding, P, noise, fresh) -> restored latent, with B crops: (B, 4, h, w), (B, C_clip), (B, N), (B, 4, h, w) -> (B, 4, h, w).
# ``fresh()`` returns more noise of the latents' shape.
SampleLatents = Callable[[Tensor, Tensor, Tensor, Tensor, Callable[[], Tensor]], Tensor]


# ---------------------------------------------------------------- latents and embeddings of the training crops


class CachedLatents:
    """The latents and embeddings of one dataset's training crops, as ``encode`` wrote them.

    ``shape``: of a latent, (4, h, w); ``crops``: the crops, in the order of the rows.
    """

    def __init__(self, foundation: str, dataset: str) -> None:
        """Raises DataError if the dataset was not encoded, or by another version of this program."""
        path = paths.latents_file(foundation, dataset)
        command = f"mperceiver encode {foundation} {dataset}"
        if not path.is_file():
            raise DataError(f"{path}: not encoded yet: {command}")
        self._rows = MappedRows([path])
        table = self._rows.table
        metadata = table.schema.metadata or {}
        if metadata.get(b"version") != str(VERSION).encode():
            raise DataError(f"{path}: made by another version of this program; encode it again: {command}")
        self.shape = tuple(json.loads(metadata[b"shape"]))
        self.crops = FixedCrops(
            name=dataset,
            ids=table["id"].to_pylist(),
            tasks=table["task"].to_pylist(),
            windows=list(map(Window, *(table[name].to_pylist() for name in Window._fields))),
            side=tuple(json.loads(metadata[b"side"])),
            per_picture=int(metadata[b"per_picture"]),
        )

    def __len__(self) -> int:
        return len(self._rows)

    def lq(self, i: int) -> Tensor:
        """Scaled latent of the degraded crop i, float16 (4, h, w)."""
        return _tensor(self._rows.bytes("lq", i), np.float16, self.shape)

    def gt(self, i: int) -> Tensor:
        """Scaled latent of the ground truth of crop i, float16 (4, h, w)."""
        return _tensor(self._rows.bytes("gt", i), np.float16, self.shape)

    def embedding(self, i: int) -> Tensor:
        """e_img of the degraded crop i, float32 (C_clip,)."""
        return _tensor(self._rows.bytes("embedding", i), np.float32, (-1,))


def _tensor(buffer: pa.Buffer, dtype: type, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.frombuffer(buffer, dtype).copy()).view(shape)


def encode_dataset(foundation: str, dataset: str) -> Path:
    """Encode a training dataset with a staged foundation, all processes together; write the card and return the Arrow file's path.

    Raises:
        LineageError: the foundation is not staged, the dataset is not prepared.
        CommitError: git does not tell the commit.
        DataError: see ``encode``.
    """
    config.load("foundations", foundation)
    inputs = config.encode_inputs(foundation, dataset)
    spec = {"foundation": foundation, "dataset": dataset} | config.read_part("datasets", dataset, "encode")
    check_unchanged(inputs)
    work = lineage.begin("encode", spec, inputs)
    path = encode(towers.load(foundation, processes.device()), dataset)
    if processes.is_main():
        device = machine.device_name(processes.device())
        work.write_card(paths.latents_card(foundation, dataset), outputs=[path], device=device)
    return path


@torch.no_grad()
def encode(foundation: Towers, dataset: str) -> Path:
    """Write the latents and embeddings of a training dataset's fixed crops; return the Arrow file's path.

    Latents are posterior samples, as in the training of the authors' release. The noise of a crop is seeded by its name. If the
    process is killed, the next call continues with the shard that was not finished.

    Raises:
        DataError: the pictures have several sizes and the dataset names no crops, or the foundation cannot take the size.
    """
    crops = fixed_crops(dataset)
    height, width = crops.size(0)
    if height % foundation.multiple or width % foundation.multiple:
        raise DataError(
            f"{dataset}: crops of {width}x{height} are no multiples of {foundation.multiple} px, which {foundation.name} needs"
        )

    def encode_rows(name: str, rows: range, advance: Callable[[int], None]) -> list[pa.RecordBatch]:
        pairs = _pairs(crops, rows)
        batches = []
        for some in _batches(rows, height * width):
            columns = zip(*(next(pairs) for _ in some), strict=True)
            lq, gt = (torch.stack(pictures).permute(0, 3, 1, 2).to(foundation.device) for pictures in columns)
            seeds = [picture_seed(dataset, crops.ids[i], 0) for i in some]
            latents = [_sample(foundation, pictures, seeds).half().cpu().numpy() for pictures in (lq, gt)]
            binary = dict(zip(("lq", "gt", "embedding"), [*latents, foundation.embed(lq).cpu().numpy()], strict=True))
            arrays = {"id": [crops.ids[i] for i in some], "task": [crops.tasks[i] for i in some]}
            arrays |= {name: [getattr(crops.windows[i], name) for i in some] for name in Window._fields}
            arrays |= {
                name: pa.array([row.tobytes() for row in column], pa.binary()) for name, column in binary.items()
            }
            batches.append(pa.RecordBatch.from_pydict(arrays))
            advance(len(some))
        return batches

    path = paths.latents_file(foundation.name, dataset)
    cards = [str(paths.foundation_card(foundation.name)), str(paths.prepared_card(dataset))]
    chosen = config.read_part("datasets", dataset, "encode")
    key = json.dumps([VERSION, {card: files.sha256(card) for card in cards}, chosen], sort_keys=True)
    folder = path.with_name(f".{dataset}.shards")
    shards = write_shards(folder, key, {dataset: len(crops)}, encode_rows, f"encode {dataset}")[dataset]
    if processes.is_main():
        shape = [foundation.vae.config.latent_channels, height // foundation.factor, width // foundation.factor]
        numbers = {"version": VERSION, "shape": shape, "side": [height, width], "per_picture": crops.per_picture}
        join_shards(shards, path, {name: json.dumps(number) for name, number in numbers.items()})
        shutil.rmtree(folder)
    processes.wait_for_all()
    return path


def _batches(rows: range, pixels: int) -> list[range]:
    """``rows`` in batches that pass through the towers together; ``pixels``: of one crop."""
    count = max(min(BATCH_PIXELS // pixels, BATCH), 1)
    return [rows[start : start + count] for start in range(0, len(rows), count)]


def _pairs(crops: FixedCrops, rows: range) -> Iterator[tuple[Tensor, Tensor]]:
    """(lq, gt) of the crops in turn, float32 (h, w, 3) in [0, 1]. Threads decode each picture once, ahead of its crops."""

    def pairs_of(group: tuple[int, list[int]]) -> list[tuple[Tensor, Tensor]]:
        picture, indices = group
        pair = crops.prepared.pair(picture)
        return [_floats(crops, i, crops.cut(i, pair)) for i in indices]

    groups = [(row, list(indices)) for row, indices in groupby(rows, key=lambda i: crops.windows[i].row)]
    for pairs in in_threads(pairs_of, groups):
        yield from pairs


def _floats(crops: FixedCrops, i: int, pair: np.ndarray) -> tuple[Tensor, Tensor]:
    """Crop i, uint8 (2, h, w, 3) -> (lq, gt), float32 (h, w, 3) in [0, 1]; lq is degraded here if the dataset says so."""
    lq, gt = torch.from_numpy(np.ascontiguousarray(pair)).float() / 255
    if crops.on_the_fly:
        lq = torch.from_numpy(crops.degraded(i, pair[1], crops.seed(i)))
    return lq, gt


def _sample(foundation: Towers, pictures: Tensor, seeds: list[int]) -> Tensor:
    """Scaled posterior samples: (B, 3, H, W) in [0, 1] -> (B, 4, h, w); the noise of picture b is seeded by ``seeds[b]``."""
    posterior = foundation.vae.encode(pictures * 2 - 1).latent_dist
    shape = posterior.mean.shape[1:]
    noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed % 2**63)) for seed in seeds])
    return (posterior.mean + posterior.std * noise.to(pictures.device)) * foundation.vae.config.scaling_factor


# ---------------------------------------------------------------- latents that stage 2 samples


class SampledLatents:
    """The latents that stage 2 sampled for one dataset's crops, as ``sample_latents`` wrote them."""

    def __init__(self, shards: list[Path], shape: tuple[int, ...], rows: list[int] | None = None) -> None:
        """``rows``: the crops that were sampled; None for all."""
        self._rows, self.shape = MappedRows(shards), shape
        self._places = None if rows is None else {row: place for place, row in enumerate(rows)}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: int) -> Tensor:
        """Scaled latent of crop i, float16 (4, h, w). Raises KeyError for a crop that was not sampled."""
        place = i if self._places is None else self._places[i]
        return _tensor(self._rows.bytes("latent", place), np.float16, self.shape)


@torch.no_grad()
def sample_latents(
    folder: Path,
    sample: SampleLatents,
    cached: list[CachedLatents],
    judged: list[Tensor],
    seed: int,
    key: str,
    title: str,
    wanted: list[list[int]] | None = None,
) -> list[SampledLatents]:
    """The latents that stage 2 samples for the training crops, written into ``folder`` once, by all processes together.

    The noise of a batch is seeded by (dataset, first crop of the batch, ``seed``). So a result depends neither on what was
    sampled before nor on the process that sampled it. A crop's noise is the same whether all crops are sampled or a few.

    Args:
        judged: of each dataset, P of each crop, (crops, N).
        wanted: the crops of each dataset to sample, in ascending order; None for all of them.
        key: describes everything that the latents depend on. Latents in ``folder`` under another key are removed.
        title: of the run, for the progress bar.
    """
    by_dataset = {latents.crops.name: latents for latents in cached}
    probabilities = {latents.crops.name: of_crops for latents, of_crops in zip(cached, judged, strict=True)}
    chosen: dict[str, Sequence[int]] = {name: range(len(latents)) for name, latents in by_dataset.items()}
    if wanted is not None:
        asked = [(latents.crops.name, rows) for latents, rows in zip(cached, wanted, strict=True)]
        # At least crop 0: a dataset without rows would have no shard.
        chosen = {
            name: sorted({row for owner, rows in asked for row in rows if owner == name}) or [0] for name in by_dataset
        }
        key = json.dumps([key, wanted])

    def sample_rows(name: str, rows: range, advance: Callable[[int], None]) -> list[pa.RecordBatch]:
        latents, batches = by_dataset[name], []
        height, width = latents.crops.size(0)
        for some in _batches(rows, height * width):
            crops = [chosen[name][place] for place in some]
            lq = torch.stack([latents.lq(i) for i in crops]).float()
            fresh = _noise(name, crops, len(latents), height * width, latents.shape, seed)
            embedding = torch.stack([latents.embedding(i) for i in crops])
            sampled = sample(lq, embedding, probabilities[name][crops], fresh(), fresh).half().cpu().numpy()
            batches.append(pa.record_batch({"latent": pa.array([row.tobytes() for row in sampled], pa.binary())}))
            advance(len(some))
        return batches

    counts = {name: len(rows) for name, rows in chosen.items()}
    shards = write_shards(folder, key, counts, sample_rows, f"{title}: sampling latents")
    return [
        SampledLatents(shards[name], latents.shape, None if wanted is None else list(chosen[name]))
        for name, latents in ((latents.crops.name, latents) for latents in cached)
    ]


def _noise(
    name: str, crops: list[int], count: int, pixels: int, shape: tuple[int, ...], seed: int
) -> Callable[[], Tensor]:
    """A function that returns fresh noise (B, 4, h, w) for B crops of a dataset at each call.

    The noise is what these crops get where all ``count`` crops of the dataset are sampled. ``pixels``: of one crop.
    """
    parts = []
    for batch, own in groupby(crops, key=lambda i: _batch_of(i, count, pixels)):
        generator = torch.Generator().manual_seed(picture_seed(name, str(batch.start), seed) % 2**63)
        parts.append((len(batch), generator, [i - batch.start for i in own]))

    def fresh() -> Tensor:
        return torch.cat([torch.randn((n, *shape), generator=generator)[places] for n, generator, places in parts])

    return fresh


def _batch_of(row: int, count: int, pixels: int) -> range:
    """The batch that contains ``row`` where all ``count`` rows are sampled, as a range of rows."""
    return next(batch for batch in _batches(shard_of(row, count), pixels) if row in batch)
