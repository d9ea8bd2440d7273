"""Frozen work done once: latents and CLIP embeddings of training crops, and the latents that stage 2 samples for stage 3.

Stage 2 then touches no picture and no VAE. Both kinds are Arrow files read where they lie, row by row, so that neither their
making nor their use needs the memory for all of them.
"""

import json
import shutil
from collections.abc import Callable
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mperceiver import files, lineage, paths
from mperceiver.data import DataError
from mperceiver.data.read.crops import FixedCrops, Window, fixed_crops
from mperceiver.models import towers
from mperceiver.models.towers import Foundation
from mperceiver.parallel import in_threads
from mperceiver.seeds import picture_seed
from mperceiver.training import processes
from mperceiver.training.parts import Rows, in_parts, join

BATCH, BATCH_PIXELS = 64, 2 * 2**20  # crops that go through the towers together: as many, or of as many pixels in all
VERSION = 1  # of the file, and of how its numbers are made


class Latents:
    """Cached frozen work of one dataset, crop by crop; see ``encode``.

    ``shape``: of a latent, (4, h, w); ``crops``: which crops they are of.
    """

    def __init__(self, foundation: str, dataset: str) -> None:
        path = paths.latents_file(foundation, dataset)
        again = f"mperceiver encode {foundation} {dataset}"
        if not path.is_file():
            raise DataError(f"{path}: not encoded yet: {again}")
        self._rows = Rows([path])
        table = self._rows.table
        told = table.schema.metadata or {}
        if told.get(b"version") != str(VERSION).encode():
            raise DataError(f"{path}: made by another version of this program; make it again: {again}")
        self.shape = tuple(json.loads(told[b"shape"]))
        self.crops = FixedCrops(
            name=dataset,
            ids=table["id"].to_pylist(),
            tasks=table["task"].to_pylist(),
            windows=list(map(Window, *(table[name].to_pylist() for name in Window._fields))),
            side=tuple(json.loads(told[b"side"])),
            per_picture=int(told[b"per_picture"]),
        )

    def __len__(self) -> int:
        return len(self._rows)

    def lq(self, i: int) -> Tensor:
        """Scaled latent of the degraded crop i, half precision (4, h, w)."""
        return _tensor(self._rows.bytes("lq", i), np.float16, self.shape)

    def gt(self, i: int) -> Tensor:
        """Scaled latent of its ground truth, half precision (4, h, w)."""
        return _tensor(self._rows.bytes("gt", i), np.float16, self.shape)

    def embedding(self, i: int) -> Tensor:
        """e_img of the degraded crop i, (C_clip,)."""
        return _tensor(self._rows.bytes("embedding", i), np.float32, (-1,))


def _tensor(buffer, dtype, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.frombuffer(buffer, dtype).copy()).view(shape)


def encode_dataset(foundation: str, dataset: str) -> Path:
    """Encode a training dataset with a staged foundation, all processes together; write the card and return the Arrow file's path.

    Raises:
        LineageError: the foundation is not staged, the dataset is not prepared, or git does not tell the commit.
        DataError: see ``encode``.
    """
    lineage.commit()  # a result without a commit cannot be kept: fail before the work, not after it
    path = encode(towers.load(foundation, processes.device()), dataset)
    if processes.is_main():
        lineage.write_card(
            paths.latents_card(foundation, dataset),
            verb="encode",
            spec={"foundation": foundation, "dataset": dataset},
            inputs=[paths.foundation_card(foundation), paths.prepared_card(dataset)],
            outputs=[path],
            device=processes.device().type,
        )
    return path


@torch.no_grad()
def encode(foundation: Foundation, dataset: str) -> Path:
    """Write the latents and embeddings of a training dataset's fixed crops; return the Arrow file's path.

    Latents are posterior samples (as in the release's training) drawn with a generator seeded by the crop's own seed. Killed,
    it goes on from the last part that was done.

    Raises:
        DataError: the pictures are not all of one size and the dataset names no crops, or they do not suit the foundation.
    """
    import pyarrow as pa

    crops = fixed_crops(dataset)
    height, width = crops.size(0)
    if height % foundation.multiple or width % foundation.multiple:
        raise DataError(
            f"{dataset}: crops of {width}x{height} are no multiples of {foundation.multiple} px, which {foundation.name} needs"
        )

    def make(name: str, part: range, advance: Callable[[int], None]) -> list[pa.RecordBatch]:
        read = _in_order(crops, part)
        batches = []
        for some in _batches(part, height * width):
            pictures = zip(*(next(read) for _ in some), strict=True)
            lq, gt = (torch.stack(found).permute(0, 3, 1, 2).to(foundation.device) for found in pictures)
            seeds = [picture_seed(dataset, crops.ids[i], 0) for i in some]
            columns = [_sample(foundation, pictures, seeds).half().cpu().numpy() for pictures in (lq, gt)]
            columns.append(foundation.embed(lq).cpu().numpy())
            arrays = {"id": [crops.ids[i] for i in some], "task": [crops.tasks[i] for i in some]}
            arrays |= {name: [getattr(crops.windows[i], name) for i in some] for name in Window._fields}
            arrays |= {
                name: pa.array([row.tobytes() for row in column], pa.binary())
                for name, column in zip(("lq", "gt", "embedding"), columns, strict=True)
            }
            batches.append(pa.RecordBatch.from_pydict(arrays))
            advance(len(some))
        return batches

    path = paths.latents_file(foundation.name, dataset)
    made_of = [str(paths.foundation_card(foundation.name)), str(paths.prepared_card(dataset))]
    key = json.dumps([VERSION, {name: files.sha256(name) for name in made_of}], sort_keys=True)
    folder = path.with_name(f".{dataset}.parts")
    parts = in_parts(folder, key, {dataset: len(crops)}, make, f"encode {dataset}")[dataset]
    if processes.is_main():
        shape = [foundation.vae.config.latent_channels, height // foundation.factor, width // foundation.factor]
        numbers = {"version": VERSION, "shape": shape, "side": [height, width], "per_picture": crops.per_picture}
        join(parts, path, {name: json.dumps(number) for name, number in numbers.items()})
        shutil.rmtree(folder)
    processes.together()
    return path


def _batches(rows: range, pixels: int) -> list[range]:
    """``rows`` in stretches that go through the towers together; ``pixels``: of one crop."""
    count = max(min(BATCH_PIXELS // pixels, BATCH), 1)
    return [rows[start : start + count] for start in range(0, len(rows), count)]


def _in_order(crops: FixedCrops, part: range):
    """(lq, gt) of the crops one after the other, float32 (h, w, 3) in [0, 1]; a picture is decoded once, ahead, by threads."""

    def of_picture(group: tuple[int, list[int]]) -> list[tuple[Tensor, Tensor]]:
        row, mine = group
        pair = crops.prepared.pair(row)
        return [_floats(crops, i, crops.cut(i, pair)) for i in mine]

    groups = [(row, list(mine)) for row, mine in groupby(part, key=lambda i: crops.windows[i].row)]
    for found in in_threads(of_picture, groups):
        yield from found


def _floats(crops: FixedCrops, i: int, pair: np.ndarray) -> tuple[Tensor, Tensor]:
    lq, gt = torch.from_numpy(np.ascontiguousarray(pair)).float() / 255
    if crops.on_the_fly:
        lq = torch.from_numpy(crops.degraded(i, pair[1], crops.seed(i)))
    return lq, gt


def _sample(foundation: Foundation, pictures: Tensor, seeds: list[int]) -> Tensor:
    posterior = foundation.vae.encode(pictures * 2 - 1).latent_dist
    shape = posterior.mean.shape[1:]
    noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed % 2**63)) for seed in seeds])
    return (posterior.mean + posterior.std * noise.to(pictures.device)) * foundation.vae.config.scaling_factor


class Sampled:
    """Latents that stage 2 sampled of one dataset's crops, row by row; see ``sampled``."""

    def __init__(self, parts: list[Path], shape: tuple[int, ...]) -> None:
        self._rows, self.shape = Rows(parts), shape

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: int) -> Tensor:
        """Scaled latent of crop i, half precision (4, h, w)."""
        return _tensor(self._rows.bytes("latent", i), np.float16, self.shape)


@torch.no_grad()
def sampled(folder: Path, restore, cached: list[Latents], seed: int, key: str, title: str) -> list[Sampled]:
    """Latents that stage 2 samples for every training crop, computed once into the files of ``folder``, by all processes.

    ``restore(lq_latent, embedding, noise, fresh) -> latent``; ``fresh()`` is more noise. Noise is seeded by (run seed,
    dataset, batch), so the result does not depend on what ran before, nor on who ran it. ``key`` tells of all that the
    latents are made of: what lies in ``folder`` under another key is not taken.
    """
    import pyarrow as pa

    known = {latents.crops.name: latents for latents in cached}

    def make(name: str, part: range, advance: Callable[[int], None]) -> list[pa.RecordBatch]:
        latents, batches = known[name], []
        height, width = latents.crops.size(0)
        for some in _batches(part, height * width):
            lq = torch.stack([latents.lq(i) for i in some]).float()
            generator = torch.Generator().manual_seed(picture_seed(name, str(some.start), seed) % 2**63)
            noise = torch.randn(lq.shape, generator=generator)
            fresh = partial(torch.randn, lq.shape, generator=generator)
            embedding = torch.stack([latents.embedding(i) for i in some])
            found = restore(lq, embedding, noise, fresh).half().cpu().numpy()
            batches.append(pa.record_batch({"latent": pa.array([row.tobytes() for row in found], pa.binary())}))
            advance(len(some))
        return batches

    counts = {name: len(latents) for name, latents in known.items()}
    parts = in_parts(folder, key, counts, make, f"{title}: sampling latents")
    return [Sampled(parts[latents.crops.name], latents.shape) for latents in cached]
