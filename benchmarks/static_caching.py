"""A step of the sampler with everything computed anew against what does not depend on t computed once, equal mathematics.

    uv run python benchmarks/static_caching.py [--out benchmarks/results/NAME.json]

All go through the same steps in one process, in turn; what counts is the ratio, of processor time. "anew": the context too, as a training step
computes it; "context once": as the release samples; "static": what the project runs, `prepare` included in its time.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import sd21
import torch
from torch import Tensor

from mperceiver.config import TASKS
from mperceiver.config.runs import ModelConfig
from mperceiver.models import towers
from mperceiver.models.branches import Branches

STEPS = 10
TOY = sd21.Widths((32, 32, 64), 1, (32, 64, 64, 96), (1, 2, 2, 3), 64, 2, 2, "ViT-S-32")
SMALL = {
    "tp_tokens": 4,
    "cm_tokens": 4,
    "cm_heads": 4,
    "vp_tokens": 4,
    "vp_width": 32,
    "vp_heads": 2,
    "vp_head_width": 8,
}
SMALL |= {"ir_widths": [32, 48, 64, 64], "ir_feature_width": 32, "ir_heads": 2, "modulator_hidden": 32}
CASES = {  # widths, modules, pictures, side of the latent
    "toy width, 8 pictures of 64 px": (TOY, ModelConfig(**SMALL), 8, 16),
    "a quarter of the paper's width, 1 picture of 128 px": (sd21.QUARTER, ModelConfig(), 1, 16),
    "a quarter of the paper's width, 1 picture of 256 px": (sd21.QUARTER, ModelConfig(), 1, 32),
}


def sampled(branches: Branches, z: Tensor, embedding: Tensor, lq_latent: Tensor, p: Tensor) -> dict[str, Callable]:
    """Each form of ``STEPS`` steps -> the last step's output."""
    times = [torch.full((len(z),), 1000 - 100 * step) for step in range(STEPS)]

    def anew() -> Tensor:
        return [branches(z, t, embedding, lq_latent, p) for t in times][-1]

    def context_once() -> Tensor:
        context = branches.context(embedding, p)
        unet = branches._foundation[0].unet
        return [branches.modulation(unet, branches.ir_adapter(lq_latent, t, p), z, t, context) for t in times][-1]

    def static() -> Tensor:
        known = branches.prepare(embedding, p)
        return [branches.predict(z, t, known, lq_latent) for t in times][-1]

    return {"anew": anew, "context once": context_once, "static": static}


@torch.no_grad()
def measure(widths: sd21.Widths, spec: ModelConfig, batch: int, side: int, repeats: int) -> dict:
    torch.manual_seed(0)
    foundation = sd21.foundation("cpu", widths)
    branches = towers.freeze(Branches(foundation, len(TASKS), spec))
    z, lq_latent = torch.randn(2, batch, 4, side, side)
    p = torch.randn(batch, len(TASKS)).softmax(1)
    forms = sampled(branches, z, torch.randn(batch, foundation.embedding_width), lq_latent, p)
    outputs = {name: form() for name, form in forms.items()}
    scale = outputs["anew"].abs().max()
    row = {"difference": max(((out - outputs["anew"]).abs().max() / scale).item() for out in outputs.values())}
    rounds = []
    for _ in range(repeats):
        rounds.append({})
        for name, form in forms.items():
            start = time.process_time()
            form()
            rounds[-1][name] = time.process_time() - start
    for name in forms:
        row[name] = {
            "step_ms": 1e3 / STEPS * min(found[name] for found in rounds),
            "ratio": statistics.median(found["anew"] / found[name] for found in rounds),
            "ratio_to_context_once": statistics.median(found["context once"] / found[name] for found in rounds),
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    found = {}
    for title, case in CASES.items():
        row = found[title] = measure(*case, options.repeats)
        forms = "  ".join(
            f"{name} {row[name]['step_ms']:.1f} ms {row[name]['ratio']:.2f}x"
            for name in ("anew", "context once", "static")
        )
        print(f"{title:52} {forms}  max relative difference {row['difference']:.1e}", flush=True)
    if options.out:
        device = {"machine": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
        options.out.write_text(json.dumps({"device": device, "steps": STEPS, "cases": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
