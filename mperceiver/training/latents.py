"""Frozen work done once: latents and CLIP embeddings of training crops, and the latents that stage 2 samples for stage 3.

Stage 2 then touches no picture and no VAE. The pictures of a training dataset are its fixed crops, all of one size.
"""

import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mperceiver import lineage
from mperceiver.data import DataError
from mperceiver.data.loader import Prepared
from mperceiver.degradations.mix import picture_seed
from mperceiver.models.foundation import Foundation

BATCH = 64


def latents_path(foundation: str, dataset: str) -> Path:
    return Path("data/latents") / foundation / f"{dataset}.arrow"


class Latents:
    """Cached frozen work of one dataset, row by row as it was prepared.

    ``lq``, ``gt``: scaled latents (n, 4, h, w), half precision; ``embedding``: e_img (n, C_clip).
    """

    def __init__(self, foundation: str, dataset: str) -> None:
        import pyarrow as pa

        path = latents_path(foundation, dataset)
        if not path.is_file():
            raise DataError(f"{path}: not encoded yet: mperceiver encode {foundation} {dataset}")
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        shape = json.loads(table.schema.metadata[b"shape"])
        self.ids = table["id"].to_pylist()
        self.lq, self.gt = (self._stack(table[name], np.float16, shape) for name in ("lq", "gt"))
        self.embedding = self._stack(table["embedding"], np.float32, [-1])

    @staticmethod
    def _stack(column, dtype, shape: list[int]) -> Tensor:
        rows = b"".join(value.as_buffer().to_pybytes() for value in column)
        return torch.from_numpy(np.frombuffer(rows, dtype).copy()).view(len(column), *shape)


@torch.no_grad()
def encode(foundation: Foundation, dataset: str) -> Path:
    """Write the latents and embeddings of a prepared training dataset; return the Arrow file's path.

    Latents are posterior samples (as in the release's training) drawn with a generator seeded by the picture's own seed.
    Raises DataError if the pictures are not all of one size or do not suit the foundation.
    """
    import pyarrow as pa

    rows = Prepared(dataset)
    height, width = rows.size(0)
    odd = next((i for i in range(len(rows)) if rows.size(i) != (height, width)), None)
    if odd is not None:
        raise DataError(
            f"{dataset}: picture {rows.ids[odd]} is {rows.size(odd)}, others {height, width}; training sets are crops of one size (crop_px)"
        )
    if height % foundation.multiple or width % foundation.multiple:
        raise DataError(
            f"{dataset}: crops of {width}x{height} are no multiples of {foundation.multiple} px, which {foundation.name} needs"
        )
    shape = [foundation.vae.config.latent_channels, height // foundation.factor, width // foundation.factor]
    schema = pa.schema(
        [("id", pa.string()), ("lq", pa.binary()), ("gt", pa.binary()), ("embedding", pa.binary())],
        metadata={"shape": json.dumps(shape)},
    )
    path = latents_path(foundation.name, dataset)
    with lineage.whole(path) as beside, pa.OSFile(str(beside), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for start in range(0, len(rows), BATCH):
            some = range(start, min(start + BATCH, len(rows)))
            lq, gt = (_pictures(read, some).to(foundation.device) for read in (rows.lq, rows.gt))
            seeds = [picture_seed(dataset, rows.ids[i], 0) for i in some]
            columns = [_sample(foundation, pictures, seeds).half().cpu().numpy() for pictures in (lq, gt)]
            columns.append(foundation.embed(lq).cpu().numpy())
            arrays = [pa.array([rows.ids[i] for i in some])]
            arrays += [pa.array([row.tobytes() for row in column], pa.binary()) for column in columns]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
    return path


def _pictures(read, rows: range) -> Tensor:
    """uint8 pictures -> float32 (B, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.stack([read(i) for i in rows])).permute(0, 3, 1, 2).float() / 255


def _sample(foundation: Foundation, pictures: Tensor, seeds: list[int]) -> Tensor:
    posterior = foundation.vae.encode(pictures * 2 - 1).latent_dist
    shape = posterior.mean.shape[1:]
    noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed % 2**63)) for seed in seeds])
    return (posterior.mean + posterior.std * noise.to(pictures.device)) * foundation.vae.config.scaling_factor


@torch.no_grad()
def sampled(path: Path, restore, datasets: list[str], foundation: str, seed: int, key: str, title: str) -> list[Tensor]:
    """Latents that stage 2 samples for every training crop, (n, 4, h, w) a dataset, half precision; computed once into ``path``.

    ``restore(lq_latent, embedding, noise, fresh) -> latent``; ``fresh()`` is more noise. Noise is seeded by (run seed,
    dataset, batch), so the result does not depend on what ran before. ``key`` tells of all that the latents are made of:
    what lies in ``path`` under another key is not taken.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    if path.is_file():
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("key") == key:
                return [file.get_tensor(name) for name in datasets]
    result = {}
    for name in datasets:
        cached = Latents(foundation, name)
        parts = []
        for start in range(0, len(cached.lq), BATCH):
            lq = cached.lq[start : start + BATCH].float()
            generator = torch.Generator().manual_seed(picture_seed(name, str(start), seed) % 2**63)
            noise = torch.randn(lq.shape, generator=generator)
            fresh = partial(torch.randn, lq.shape, generator=generator)
            parts.append(restore(lq, cached.embedding[start : start + BATCH], noise, fresh).half().cpu())
            if start % (BATCH * 20) == 0:
                print(f"{title}: sampling latents of {name}: {start + len(lq)}/{len(cached.lq)}", flush=True)
        result[name] = torch.cat(parts).contiguous()
    with lineage.whole(path) as beside:
        save_file(result, beside, metadata={"key": key})
    return [result[name] for name in datasets]
