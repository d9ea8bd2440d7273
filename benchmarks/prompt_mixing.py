"""Milliseconds of visual-prompt mixing (Eq. 4): the authors' loop over the degradations, and faster forms of the same mathematics.

    uv run python benchmarks/prompt_mixing.py [--out benchmarks/results/NAME.json]

All forms run in turn in one process, at the width of the toy and, with batch 1, of the paper. Compare the ratios: seconds differ
from machine to machine.
"""

import statistics
import time
from collections.abc import Callable

import shared
import torch
import torch.nn.functional as F
from torch import Tensor

from mperceiver.models.vp_modulator import VPModulator

# batch, side in positions, channels, channels of a prompt, heads, channels of a head, tokens of a prompt
CASES = {
    "toy, 8 x 32 px, DRM at full resolution": (8, 32, 16, 16, 4, 8, 4),
    "toy, 8 x 64 px, IR-Adapter's scale 1": (8, 16, 32, 32, 2, 8, 4),
    "paper, 1 x 512 px, scale 1": (1, 64, 128, 512, 8, 64, 24),
    "paper, 1 x 512 px, scale 2": (1, 32, 256, 512, 8, 64, 24),
    "paper, 1 x 512 px, DRM's level 2": (1, 128, 512, 512, 8, 64, 24),
}
DEGRADATIONS = 9


def loop(modulator: VPModulator, features: Tensor, prompts: Tensor, probabilities: Tensor) -> Tensor:
    """One cross-attention for each degradation, each with its own norms and projections, as in the authors' release."""
    b, c, h, w = features.shape
    total = torch.zeros_like(features)
    for i, prompt in enumerate(prompts):

        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (modulator.heads, -1)).transpose(-2, -3)

        q = heads(modulator.to_q(modulator.norm_features(features.flatten(2).transpose(1, 2))))  # (B, h, HW, d)
        normed = modulator.norm_prompts(prompt).expand(b, -1, -1)
        k, v = heads(modulator.to_k(normed)), heads(modulator.to_v(normed))
        mixed = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ v
        out = modulator.to_out(mixed.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(b, c, h, w)
        total = total + probabilities[:, i, None, None, None] * out
    return total


def sdpa(modulator: VPModulator, features: Tensor, prompts: Tensor, probabilities: Tensor) -> Tensor:
    """The N attentions as one batch of scaled_dot_product_attention; the project does not use this form."""
    b, c, h, w = features.shape
    n, heads = len(prompts), modulator.heads
    q = modulator.to_q(modulator.norm_features(features.flatten(2).transpose(1, 2))).unflatten(-1, (heads, -1))
    q = q.transpose(1, 2)[:, None].expand(-1, n, -1, -1, -1).flatten(0, 1)  # (B N, h, HW, d)
    k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2).repeat(b, 1, 1, 1) for x in modulator.keys_values(prompts))
    mixed = F.scaled_dot_product_attention(q, k, v).unflatten(0, (b, n))
    mixed = torch.einsum("bn,bnhpd->bphd", probabilities, mixed).flatten(2)
    return modulator.to_out(mixed).transpose(1, 2).reshape(b, c, h, w)


def fused(modulator: VPModulator, features: Tensor, prompts: Tensor, probabilities: Tensor) -> Tensor:
    """The form that the project uses."""
    return modulator.mix(features, modulator.keys_values(prompts), probabilities)


FORMS = {"loop": loop, "sdpa": sdpa, "fused": fused}


def seconds(form: Callable[..., Tensor], backward: bool, *arguments: object) -> float:
    start = time.perf_counter()
    with torch.set_grad_enabled(backward):
        out = form(*arguments)
    if backward:
        out.square().mean().backward()
    return time.perf_counter() - start


def measure(case: tuple[int, ...], backward: bool, repeats: int) -> dict:
    """The fastest time of each form, and the median over all rounds of the loop's time divided by the form's."""
    torch.manual_seed(0)
    batch, side, width, prompt, heads, head, tokens = case
    modulator = VPModulator(width, prompt, heads, head, width, None, True)
    features = torch.randn(batch, width, side, side, requires_grad=backward)
    prompts = torch.randn(DEGRADATIONS, tokens, prompt, requires_grad=backward)
    arguments = modulator, features, prompts, torch.randn(batch, DEGRADATIONS).softmax(1)
    with torch.no_grad():
        expected = loop(*arguments)
        row = {"difference": max((form(*arguments) - expected).abs().max().item() for form in FORMS.values())}
    rounds = [{name: seconds(form, backward, *arguments) for name, form in FORMS.items()} for _ in range(repeats)]
    for name in FORMS:
        row[f"{name}_ms"] = 1e3 * min(times[name] for times in rounds)
        row[f"{name}_ratio"] = statistics.median(times["loop"] / times[name] for times in rounds)
    return row


def main() -> None:
    options = shared.arguments(__doc__, repeats=7).parse_args()
    rows = {}
    for name, case in CASES.items():
        for backward in (False, True):
            title = f"{name}, {'training' if backward else 'inference'}"
            row = rows[title] = measure(case, backward, options.repeats)
            forms = "  ".join(f"{form} {row[f'{form}_ms']:7.1f} ms {row[f'{form}_ratio']:4.1f}x" for form in FORMS)
            print(f"{title:52} {forms}  max difference {row['difference']:.1e}", flush=True)
    shared.write(options.out, device=shared.machine("torch", threads=torch.get_num_threads()), cases=rows)


if __name__ == "__main__":
    main()
