"""Seconds, memory and utilisation of MPerceiver at the paper's width on a GPU, with random weights, beside diffusers' own loop.

    uv run python benchmarks/device.py --device cuda --out FILE.json [--limit SECONDS]
    uv run python benchmarks/device.py --device cpu --quarter            a trial of the program: a quarter of the widths, 64 px

First whole restorations: at 1 to 50 steps, in batches, and one picture in tiles; each beside the bare loop, which is diffusers'
U-Net and DDIM scheduler without any steering, at guidance 1, and its VAE, in the same precision and layout. Then training steps of
stages 2 and 3. A row is written the moment it is measured. A measurement that exceeds the limit or the memory becomes a row that
says so. Utilisation (MFU) is the multiply-adds of a step without checkpointing, over its seconds and the device's peak: the
manufacturer's for dense bf16, and what a large matrix product reached here. benchmarks/gpu.sh runs this.
"""

import dataclasses
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import full_width
import sd21
import shared
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mperceiver.config.base import Precision
from mperceiver.config.samplers import Sampler
from mperceiver.models import towers
from mperceiver.models.branches import HALF
from mperceiver.models.layout import lay_out
from mperceiver.models.mperceiver import MPerceiver
from mperceiver.models.tiling import Tiles

NOMINAL_TFLOPS = {"H100": 989, "H200": 989, "A100": 312}  # dense bf16, from the manufacturer's data sheets
STEPS = (1, 4, 10, 20, 50)
WAYS: tuple[dict[str, Any], ...] = (
    {"precision": "bf16"},
    {"precision": "bf16", "channels_last": True},
    {"precision": "no"},
    {"precision": "bf16", "channels_last": True, "compile": True},  # last: compiling takes a minute
)


class Untrained(MPerceiver):
    """A restorer that reads no files: its weights are random."""

    def __init__(self, device: str, widths: sd21.Widths, precision: Precision = "no", **ways: bool) -> None:
        model = full_width.Model(device, widths, precision, **ways)
        model.with_drm(channels_last=ways.get("channels_last", False))
        for module in (model.predictor, model.branches, model.drm):
            towers.freeze(module)
        super().__init__(
            model.foundation, model.predictor, model.branches, model.drm, full_width.TASKS, Sampler(steps=STEPS[0])
        )

    def whole(self, pictures: Tensor, steps: int, tiles: Tiles) -> Tensor:
        """Restore padded pictures (B, 3, H, W) in [0, 1] with this number of steps."""
        self.sampler = Sampler(steps=steps)
        return self.restore(pictures, self.look(pictures), list(range(len(pictures))), tiles)


class BareLoop:
    """Diffusers' U-Net, scheduler and VAE as they are: encode a picture, denoise without guidance, decode."""

    def __init__(self, device: str, widths: sd21.Widths, precision: Precision = "no", **ways: bool) -> None:
        from diffusers import DDIMScheduler

        foundation = sd21.foundation(device, widths)
        self.foundation, self.device, self.dtype = foundation, device, HALF.get(precision, torch.float32)
        self.unet = foundation.unet.to(self.dtype)
        self.scheduler = DDIMScheduler(**sd21.SCHEDULE)
        if ways.get("channels_last"):
            self.unet.to(memory_format=torch.channels_last)
            foundation.vae.to(memory_format=torch.channels_last)
        if ways.get("compile"):
            self.unet.compile_repeated_blocks(dynamic=False)
        self.context = torch.randn(1, 77, foundation.context_width, device=device, dtype=self.dtype)

    @torch.no_grad()
    def whole(self, pictures: Tensor, steps: int) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 1] -> pictures of the same shape."""
        latent = torch.randn_like(self.foundation.encode(pictures.to(self.device)))
        context = self.context.expand(len(latent), -1, -1)
        self.scheduler.set_timesteps(steps)
        for t in self.scheduler.timesteps:
            noise = self.unet(latent.to(self.dtype), t.to(self.device), context).sample
            latent = self.scheduler.step(noise.float(), t, latent).prev_sample
        return self.foundation.decode(latent).clamp(0, 1).cpu()


class Recorder:
    """Writes the rows whenever there is a new one; measures nothing more once the time is over."""

    def __init__(self, options: Any, facts: dict) -> None:
        self.out, self.limit, self.start = options.out, options.limit, time.monotonic()
        self.facts, self.rows = facts, {"restoration": [], "training": []}

    def add(self, kind: str, row: dict, measure: Callable[[], dict]) -> None:
        """Measure and record one row, or record why it could not be measured."""
        if time.monotonic() - self.start > self.limit:
            row |= {"error": f"not measured: the limit of {self.limit} s was over"}
        else:
            try:
                row |= measure()
            except (RuntimeError, torch.cuda.OutOfMemoryError) as error:  # the other rows are wanted all the same
                row |= {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
        self.rows[kind].append(row)
        shared.write(self.out, **self.facts, seconds_in_all=time.monotonic() - self.start, **self.rows)
        print(kind, {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})


def seconds(function: Callable[[], object], device: str, repeats: int) -> dict[str, float]:
    """Median seconds after one call that warms up, and the peak of memory in GiB on a GPU."""
    times = []
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(repeats + 1):
        start = time.perf_counter()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    peak = {"peak_gib": torch.cuda.max_memory_allocated() / full_width.GIB} if device == "cuda" else {}
    return {"seconds": statistics.median(times[1:]), **peak}


def forget(device: str) -> None:
    """Give memory back between two models, and forget what was compiled."""
    gc.collect()
    torch.compiler.reset()
    if device == "cuda":
        torch.cuda.empty_cache()


def restorations(recorder: Recorder, device: str, widths: sd21.Widths, px: int, repeats: int, quick: bool) -> None:
    """Rows of whole restorations, and of the bare loop beside them."""
    for ways in WAYS:
        forget(device)
        bare, ours = BareLoop(device, widths, **ways), Untrained(device, widths, **ways)
        for batch, steps in restoration_sizes(ways, quick):
            row = {**ways, "px": px, "batch": batch, "steps": steps}
            recorder.add("restoration", row, partial(both, bare, ours, row, device, repeats))
        if ways == WAYS[1]:
            tiled(recorder, ours, device, px, ways, 1 if quick else 4)
        del bare, ours


def both(bare: BareLoop, ours: Untrained, row: dict, device: str, repeats: int) -> dict:
    """What our restoration takes, and the bare loop."""
    batch, steps, px = row["batch"], row["steps"], row["px"]
    pictures, tiles = torch.rand(batch, 3, px, px), Tiles((px, px), [0], [0], (px, px), batch, device)
    loop = seconds(lambda: bare.whole(pictures, steps), device, repeats)
    own = seconds(lambda: ours.whole(pictures, steps, tiles), device, repeats)
    return {
        **own,
        "pictures_per_s": batch / own["seconds"],
        "bare_seconds": loop["seconds"],
        "ratio": own["seconds"] / loop["seconds"],
    }


def restoration_sizes(ways: dict, quick: bool) -> Iterator[tuple[int, int]]:
    """(batch, steps) that are measured in one of the ways; ``quick``: few and small ones."""
    if quick:
        yield from ((1, 1), (2, 2))
        return
    yield from ((1, steps) for steps in (STEPS if ways == WAYS[0] else (1, 50)))
    if ways == WAYS[1]:
        yield from ((4, 10), (16, 10))


def tiled(recorder: Recorder, ours: Untrained, device: str, px: int, ways: dict, steps: int) -> None:
    """A row of a picture of four times the side, in overlapping tiles of ``px``, or of the least side that can overlap."""
    side, tile = 4 * px, max(px, 2 * ours.multiple)
    tiles = dataclasses.replace(lay_out(ours, (side, side), tile, px // 8, batch=8), device=device)
    row = {**ways, "px": side, "batch": 1, "steps": steps, "tiles": tiles.count}
    picture = torch.rand(1, 3, side, side)
    recorder.add("restoration", row, lambda: seconds(lambda: ours.whole(picture, steps, tiles), device, 1))


def peaks(device: str) -> dict[str, float]:
    """TFLOP/s in bf16: of a large matrix product here, and the manufacturer's figure if it is known."""
    side = 8192 if device == "cuda" else 256
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    measured = 2 * side**3 / seconds(lambda: a @ b, device, 10)["seconds"] / 1e12
    name = torch.cuda.get_device_name() if device == "cuda" else ""
    nominal = [tflops for key, tflops in NOMINAL_TFLOPS.items() if key in name]
    return {"measured": measured} | ({"nominal": nominal[0]} if nominal else {})


def trainings(recorder: Recorder, device: str, widths: sd21.Widths, px: int, repeats: int, batches: tuple) -> None:
    """Rows of training steps: samples/s, MFU, memory."""
    tflops = recorder.facts["tflops"]
    for stage in ("stage 2", "stage 3"):
        flops: dict[int, int] = {}
        for batch in batches:
            for checkpointing in (False, True):
                forget(device)
                case = {"stage": stage, "batch": batch, "precision": "bf16", "checkpointing": checkpointing}

                def measure(case: dict = case, flops: dict[int, int] = flops) -> dict:
                    step = full_width.training(device=device, widths=widths, px=px, **case)
                    if 1 not in flops:
                        with FlopCounterMode(display=False) as counter:
                            step()
                        flops[1] = counter.get_total_flops() / case["batch"]
                    row = seconds(step, device, repeats)
                    rate = flops[1] * case["batch"] / row["seconds"] / 1e12
                    shares = {f"mfu_{name}": rate / peak for name, peak in tflops.items()}
                    return {**row, "samples_per_s": case["batch"] / row["seconds"], "tflop_per_s": rate, **shares}

                recorder.add("training", case, measure)


def main() -> None:
    parser = shared.arguments(__doc__, repeats=3)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda", help="default: %(default)s")
    parser.add_argument("--quarter", action="store_true", help="a quarter of the widths, at 64 px: a quick trial")
    parser.add_argument("--limit", type=float, default=1e9, metavar="SECONDS", help="start no row after this time")
    parser.add_argument("--only", choices=["restoration", "training"], help="one of the two parts")
    options = parser.parse_args()
    widths, px = (sd21.QUARTER, 64) if options.quarter else (sd21.Widths(), 512)
    name = torch.cuda.get_device_name() if options.device == "cuda" else "the processor"
    machine = shared.machine("torch", "diffusers", device=name, threads=torch.get_num_threads())
    facts = {"widths": dataclasses.asdict(widths), "px": px, "repeats": options.repeats, **machine}
    recorder = Recorder(options, facts | {"tflops": peaks(options.device)})
    if options.only != "training":
        restorations(recorder, options.device, widths, px, options.repeats, options.quarter)
    if options.only != "restoration":
        batches = (2,) if options.quarter else (4, 16)
        trainings(recorder, options.device, widths, px, options.repeats, batches)


if __name__ == "__main__":
    main()
