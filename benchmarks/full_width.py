"""Cost of MPerceiver at the paper's width: one restoration at 512 px and one training step of stages 2 and 3.

    uv run python benchmarks/full_width.py [--out FILE.json]

Counted, on any machine in a minute: the modules run on tensors without contents (FakeTensorMode). torch's FlopCounterMode counts
the multiply-adds of matrix products and convolutions. The peak of memory is the sum of the live storages: weights, gradients and AdamW's states are
included, scratch space of libraries and fragmentation are not. Neither number says how many seconds a device needs.
benchmarks/device.py measures on a GPU.
"""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from unittest.mock import patch

import sd21
import shared
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from mperceiver.config import TASKS
from mperceiver.config.modules import ModelConfig
from mperceiver.config.runs import Losses
from mperceiver.metrics.lpips import Lpips
from mperceiver.models import towers
from mperceiver.models.branches import HALF, Branches
from mperceiver.models.drm import DetailRefinement
from mperceiver.models.predictor import DegradationPredictor
from mperceiver.restoring.memory import PeakMemory
from mperceiver.training.losses import PictureLosses

STEPS = (50, 20, 10, 4, 1)
GIB = 2**30
N = len(TASKS)
PRECISIONS = ("no", "bf16")
CASES = [
    {"stage": stage, "batch": batch, "precision": precision, "checkpointing": checkpointing}
    for stage in ("stage 2", "stage 3")
    for batch in (1, 2)
    for precision in PRECISIONS
    for checkpointing in (False, True)
]


class Model:
    """All modules of a restoration, with random weights."""

    def __init__(self, device: str, widths: sd21.Widths, precision: str = "no", **set_up: bool) -> None:
        self.device = device
        self.foundation = sd21.foundation(device, widths)
        with torch.device(device):
            self.predictor = towers.freeze(DegradationPredictor(self.foundation.embedding_width, N, ModelConfig()))
            self.branches = Branches(self.foundation, N, ModelConfig())
            self.branches.set_up(precision, **set_up)

    def with_drm(self, **set_up: bool) -> "Model":
        with torch.device(self.device):
            self.drm = DetailRefinement(self.foundation.vae, N, ModelConfig())
            self.drm.attach(self.foundation.vae)
            self.drm.set_up(self.foundation.vae, **set_up)
        return self

    def latents(self, batch: int, px: int) -> Tensor:
        side = px // self.foundation.factor
        return torch.randn(batch, 4, side, side, device=self.device)


# ---------------------------------------------------------------- the calls


def restoration(model: Model, px: int) -> dict[str, Callable[[], object]]:
    """The parts of one restoration, in order; the sampler runs the part "step" once for each of its steps."""
    picture = torch.rand(1, 3, px, px, device=model.device)
    z, lq_latent, t = model.latents(1, px), model.latents(1, px), torch.full((1,), 500, device=model.device)
    foundation, branches = model.foundation, towers.freeze(model.branches)
    towers.freeze(model.drm)
    embedding = torch.randn(1, foundation.embedding_width, device=model.device)
    p = torch.full((1, N), 1 / N, device=model.device)
    static = branches.prepare(embedding, p)
    branches.predict(z, t, static, lq_latent)  # computes what does not depend on t, which later steps reuse
    degraded = model.drm.degraded_features(foundation.encode, picture)[1]
    return {
        "CLIP and predictor": lambda: model.predictor.probabilities(foundation.embed(picture)),
        "prompts and what else is static": lambda: branches.prepare(embedding, p),
        "VAE encoder": lambda: model.drm.degraded_features(foundation.encode, picture),
        "step": lambda: branches.predict(z, t, static, lq_latent),
        "VAE decoder and DRM": lambda: model.drm(foundation.decode, z, degraded, p),
    }


def stage_2(model: Model, batch: int, px: int) -> tuple[nn.Module, Callable[[], Tensor]]:
    """(module, loss) of stage 2: Eq. 1 on cached latents."""
    z, lq_latent = model.latents(batch, px), model.latents(batch, px)
    t = torch.full((batch,), 500, device=model.device)
    embedding = torch.randn(batch, model.foundation.embedding_width, device=model.device)
    p = torch.full((batch, N), 1 / N, device=model.device)
    return model.branches, lambda: F.mse_loss(model.branches(z, t, embedding, lq_latent, p).float(), z)


def stage_3(model: Model, batch: int, px: int) -> tuple[nn.Module, Callable[[], Tensor]]:
    """(module, loss) of stage 3: the DRM's losses on cached latents, the discriminator's included."""
    picture, z = torch.rand(batch, 3, px, px, device=model.device), model.latents(batch, px)
    p = torch.full((batch, N), 1 / N, device=model.device)
    losses = PictureLosses(Losses(perceptual=0), model.device)  # its weights are not there; the trunk below replaces it
    with torch.device(model.device):
        trunk = towers.freeze(Lpips("vgg"))

    def step() -> Tensor:
        degraded = model.drm.degraded_features(model.foundation.encode, picture)[1]
        output = model.drm(model.foundation.decode, z, degraded, p).float()
        values = losses(output, picture, 10**6)
        perceptual = sum((a - b).square().mean() for a, b in zip(trunk.taps(output), trunk.taps(picture), strict=True))
        return values["loss"] + values["adversary"] + perceptual

    return model.drm, step


def training(
    *, stage: str, batch: int, precision: str, checkpointing: bool, device: str, widths: sd21.Widths, px: int
) -> Callable[[], None]:
    """A function that runs one training step: forward, backward, AdamW."""
    if stage == "stage 2":
        model = Model(device, widths, precision, gradient_checkpointing=checkpointing)
        module, loss = stage_2(model, batch, px)
    else:
        model = Model(device, widths).with_drm(gradient_checkpointing=checkpointing)
        del model.branches, model.foundation.unet, model.foundation.text_encoder, model.foundation.clip
        module, loss = stage_3(model, batch, px)
    half = HALF.get(precision)
    optimiser = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], foreach=False)

    def step() -> None:
        with torch.autocast(torch.device(device).type, half) if half else nullcontext():
            value = loss()
        value.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


# ---------------------------------------------------------------- counted


def multiply_adds(function: Callable[[], object]) -> float:
    """Multiply-adds of a call, in thousand millions (GMAC)."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops() / 2e9


@contextmanager
def without_contents() -> Iterator[PeakMemory]:
    """Inside, tensors have shapes and no values; what would read values is replaced. Yields the peak of memory."""
    no_draw = patch("torch.nn.init.trunc_normal_", lambda tensor, *_, **__: tensor)
    one_device = patch.object(nn.Module, "to", lambda module, *_, **__: module)
    torch.backends.mha.set_fastpath_enabled(False)  # it is one operation that the counter does not know
    with FakeTensorMode(allow_non_fake_inputs=True), no_draw, one_device, PeakMemory("cpu") as peak:
        yield peak


def counted(widths: sd21.Widths, px: int) -> dict:
    """Multiply-adds and peak memory of all cases at px x px pixels."""
    results: dict[str, list[dict]] = {"restoration": [], "training": []}
    for precision in PRECISIONS:
        with without_contents() as peak, torch.no_grad():
            model = Model("cpu", widths, precision).with_drm()
            weights = weight_bytes(model)
            parts = restoration(model, px)
            for part in parts.values():
                part()
            row = {"precision": precision, "weights_gib": weights / GIB, "peak_gib": peak.bytes / GIB}
            gmac = row["gmac"] = {name: multiply_adds(part) for name, part in parts.items()}
        results["restoration"].append(row | {"gmac_at_steps": at_steps(gmac)})
    gmac = {}
    for case in CASES:
        with without_contents() as peak:
            step = training(device="cpu", widths=widths, px=px, **case)
            peak.bytes = 0  # forget the modules that were built and dropped
            step()
            step()  # AdamW's states are there from the beginning of this one
            most = peak.bytes / GIB  # read it before the counter of multiply-adds keeps tensors alive
            key = case["stage"], case["checkpointing"]
            if key not in gmac:  # the first such case has batch 1; precision does not change the count
                gmac[key] = multiply_adds(step)
        results["training"].append(case | {"gmac": case["batch"] * gmac[key], "peak_gib": most})
    return results


def weight_bytes(model: Model) -> int:
    """Bytes of all weights."""
    frozen = [model.foundation.clip, model.foundation.text_encoder, model.foundation.unet, model.foundation.vae]
    modules = [*frozen, model.predictor, model.branches, model.drm]
    return sum(p.numel() * p.element_size() for module in modules for p in module.parameters())


def at_steps(cost: dict[str, float]) -> dict[int, float]:
    """{number of the sampler's steps: cost of a whole restoration}, from the cost of each part."""
    fixed = sum(cost.values()) - cost["step"]
    return {steps: fixed + steps * cost["step"] for steps in STEPS}


# ---------------------------------------------------------------- printed


def show(results: dict) -> None:
    """Print the results as text."""
    for row in results["restoration"]:
        print(f"\nrestoration of one picture, precision {row['precision']}: peak {row['peak_gib']:.1f} GiB")
        for name, cost in row["gmac"].items():
            print(f"  {name:34} {cost:12.3f} gmac")
        for steps, cost in row["gmac_at_steps"].items():
            print(f"  with {steps:2} steps   {cost:27.3f} gmac")
    print("\ntraining step              precision  checkpointing         gmac       peak")
    for row in results["training"]:
        title, peak = f"{row['stage']}, batch {row['batch']}", f"{row['peak_gib']:.1f} GiB"
        print(f"{title:26} {row['precision']:9}  {row['checkpointing']!s:13} {row['gmac']:13.3f}  {peak:>9}")


def main() -> None:
    parser = shared.arguments(__doc__)
    parser.add_argument("--quarter", action="store_true", help="a quarter of the widths, at 64 px: a quick trial")
    options = parser.parse_args()
    widths, px = (sd21.QUARTER, 64) if options.quarter else (sd21.Widths(), 512)
    how = "counted on tensors without contents, not measured on any device"
    print(how)
    results = counted(widths, px)
    show(results)
    shared.write(options.out, widths=dataclasses.asdict(widths), px=px, **shared.machine("torch"), how=how, **results)


if __name__ == "__main__":
    main()
