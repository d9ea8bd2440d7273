"""Visual-prompt mixing (Eq. 4): the release's loop over the degradations against the fused attention, equal mathematics.

    uv run python benchmarks/prompt_mixing.py [--out benchmarks/results/NAME.json]

Both run in one process, in turn, at the toy's and (batch 1) at the paper's width; what counts is the ratio.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from mperceiver.models.visual import VPModulator

CASES = {
    "toy, 8 x 32 px, full resolution": {
        "batch": 8,
        "side": 32,
        "width": 16,
        "prompt": 16,
        "heads": 4,
        "head": 8,
        "m": 4,
    },
    "paper, 1 x 512 px, scale 2": {
        "batch": 1,
        "side": 32,
        "width": 256,
        "prompt": 512,
        "heads": 8,
        "head": 64,
        "m": 24,
    },
    "paper, 1 x 512 px, scale 1": {
        "batch": 1,
        "side": 64,
        "width": 128,
        "prompt": 512,
        "heads": 8,
        "head": 64,
        "m": 24,
    },
}
DEGRADATIONS = 9


def loop(modulator: VPModulator, features: Tensor, prompts: Tensor, probabilities: Tensor) -> Tensor:
    """One cross-attention for each degradation, its norms and projections done anew, as in the authors' release."""
    b, c, h, w = features.shape
    total = torch.zeros_like(features)
    for i, prompt in enumerate(prompts):

        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (modulator.heads, -1)).transpose(-2, -3)

        q = heads(modulator.to_q(modulator.norm_features(features.flatten(2).transpose(1, 2))))  # (B, h, HW, d)
        known = modulator.norm_prompts(prompt).expand(b, -1, -1)
        k, v = heads(modulator.to_k(known)), heads(modulator.to_v(known))
        mixed = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ v
        out = modulator.to_out(mixed.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(b, c, h, w)
        total = total + probabilities[:, i, None, None, None] * out
    return total


def fused(modulator: VPModulator, features: Tensor, prompts: Tensor, probabilities: Tensor) -> Tensor:
    return modulator.mix(features, modulator.keys_values(prompts), probabilities)


def seconds(function, *arguments) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


@torch.inference_mode()
def measure(case: dict, repeats: int) -> dict:
    torch.manual_seed(0)
    modulator = VPModulator(
        case["width"], case["prompt"], case["heads"], case["head"], case["width"], None, True
    ).eval()
    features = torch.randn(case["batch"], case["width"], case["side"], case["side"])
    prompts = torch.randn(DEGRADATIONS, case["m"], case["prompt"])
    arguments = features, prompts, torch.randn(case["batch"], DEGRADATIONS).softmax(1)
    difference = (loop(modulator, *arguments) - fused(modulator, *arguments)).abs().max().item()
    before, after = [], []
    for _ in range(repeats):
        before.append(seconds(loop, modulator, *arguments))
        after.append(seconds(fused, modulator, *arguments))
    ratio = statistics.median(b / a for b, a in zip(before, after, strict=True))
    return {"loop_ms": 1e3 * min(before), "fused_ms": 1e3 * min(after), "ratio": ratio, "difference": difference}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    found = {name: measure(case, options.repeats) for name, case in CASES.items()}
    for name, row in found.items():
        print(
            f"{name:34} loop {row['loop_ms']:8.2f} ms  fused {row['fused_ms']:8.2f} ms  {row['ratio']:.1f}x  max difference {row['difference']:.1e}"
        )
    if options.out:
        device = {"machine": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
        options.out.write_text(json.dumps({"device": device, "cases": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
