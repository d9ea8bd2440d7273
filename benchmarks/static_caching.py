"""Milliseconds of a sampler's step if what does not depend on t is computed once, and if it is computed in every step.

    uv run python benchmarks/static_caching.py [--out benchmarks/results/NAME.json]

The mathematics is the same. "anew": all is computed in every step, as in training; "context once": the text context is computed
once, as in the authors' release; "static": the form that the project uses, the time of its `prepare` included. All forms run the
same steps in turn in one process. Compare the ratios of CPU time.
"""

import statistics
import time
from collections.abc import Callable

import sd21
import shared
import torch
from torch import Tensor

from mperceiver.config import TASKS
from mperceiver.config.modules import ModelConfig
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
CASES = {  # widths of the foundation, the modules' settings, number of pictures, side of the latent
    "toy width, 8 pictures of 64 px": (TOY, ModelConfig(**SMALL), 8, 16),
    "a quarter of the paper's width, 1 picture of 128 px": (sd21.QUARTER, ModelConfig(), 1, 16),
    "a quarter of the paper's width, 1 picture of 256 px": (sd21.QUARTER, ModelConfig(), 1, 32),
}


def sampling_forms(
    branches: Branches, z: Tensor, embedding: Tensor, lq_latent: Tensor, p: Tensor
) -> dict[str, Callable]:
    """Functions that run ``STEPS`` steps in each form and return the last step's output."""
    times = [torch.full((len(z),), 1000 - 100 * step) for step in range(STEPS)]

    def anew() -> Tensor:
        return [branches(z, t, embedding, lq_latent, p) for t in times][-1]

    def context_once() -> Tensor:
        context = branches.context(embedding, p)
        unet = branches._foundation.unet
        return [branches.modulation(unet, branches.ir_adapter(lq_latent, t, p), z, t, context) for t in times][-1]

    def static() -> Tensor:
        prepared = branches.prepare(embedding, p)
        return [branches.predict(z, t, prepared, lq_latent) for t in times][-1]

    return {"anew": anew, "context once": context_once, "static": static}


@torch.no_grad()
def measure(widths: sd21.Widths, spec: ModelConfig, batch: int, side: int, repeats: int) -> dict:
    """CPU milliseconds of a step in each form, their ratios, and the largest relative difference of the outputs."""
    torch.manual_seed(0)
    foundation = sd21.foundation("cpu", widths)
    branches = towers.freeze(Branches(foundation, len(TASKS), spec))
    z, lq_latent = torch.randn(2, batch, 4, side, side)
    p = torch.randn(batch, len(TASKS)).softmax(1)
    forms = sampling_forms(branches, z, torch.randn(batch, foundation.embedding_width), lq_latent, p)
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
            "step_ms": 1e3 / STEPS * min(times[name] for times in rounds),
            "ratio": statistics.median(times["anew"] / times[name] for times in rounds),
            "ratio_to_context_once": statistics.median(times["context once"] / times[name] for times in rounds),
        }
    return row


def main() -> None:
    options = shared.arguments(__doc__, repeats=5).parse_args()
    rows = {}
    for title, case in CASES.items():
        row = rows[title] = measure(*case, options.repeats)
        forms = "  ".join(
            f"{name} {row[name]['step_ms']:.1f} ms {row[name]['ratio']:.2f}x"
            for name in ("anew", "context once", "static")
        )
        print(f"{title:52} {forms}  max relative difference {row['difference']:.1e}", flush=True)
    shared.write(options.out, device=shared.machine("torch", threads=torch.get_num_threads()), steps=STEPS, cases=rows)


if __name__ == "__main__":
    main()
