"""What restoring a picture costs a method: parameters, multiplications, time and memory."""

import time
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from mperceiver import config, lineage, machine, paths
from mperceiver.restoring.ensemble import restore_pictures
from mperceiver.restoring.memory import TilePlanner
from mperceiver.restoring.restorers import load_restorer


def measure(method: str) -> Path:
    """Write results/costs/{method}.json, a card that holds the measurements; return its path.

    Raises ConfigError, LineageError: the method is not described or has no network, or its weights are missing.
    """
    spec = config.load("methods", method)
    if config.members(method) != [method] or not spec.has_network:
        raise config.ConfigError(f"{config.path_of('methods', method)}: a method of kind {spec.kind} has no costs")
    planner = TilePlanner(load_restorer(method), spec)
    settings = {"method": config.read_part("methods", method, "measure")}
    work = lineage.begin("measure", settings, config.measure_inputs(method))
    restorer = planner.restorer
    modules = {id(p): p for module in restorer.modules() for p in module.parameters()}
    sizes = {}
    for px in config.cost_sizes(method):
        gmac = count(planner, px)
        seconds, gib = run(planner, px)
        sizes[str(px)] = {"gmac": round(gmac, 3), "seconds": round(seconds, 3), "gib": round(gib, 3)}
    card = paths.cost_card(method)
    work.write_card(
        card,
        device=machine.device_name(restorer.device, spec.vae_precision),
        result={"parameters": sum(p.numel() for p in modules.values()), "sizes": sizes},
    )
    return card


def count(planner: TilePlanner, px: int) -> float:
    """Multiplications and additions of restoring a picture of px x px, in units of 1e9, all steps of a sampler among them.

    The tiles are those for which this machine's memory is enough, and their overlaps count. Tensors without contents are sent through
    the model, so that it takes no time; only its look at the whole picture is computed, on a grey one.
    """
    side = planner.padded((px, px))
    whole = torch.full((1, 3 * len(planner.restorer.sees), *side), 0.5)
    tiles = planner.tiles(side)
    with torch.inference_mode(False), torch.no_grad():
        with counter() as looking:
            seen = planner.restorer.look(whole, [""])
        eager = torch.compiler.set_stance("force_eager")
        with eager, FakeTensorMode(allow_non_fake_inputs=True) as fake, counter() as restoring:
            planner.restorer.restore(fake.from_tensor(whole), seen, [0], tiles)
    return (looking.get_total_flops() + restoring.get_total_flops()) / 2 / 1e9


def counter() -> FlopCounterMode:
    """Counts two operations for each multiplication and addition; torchvision's deformable convolution is among them."""
    import torchvision  # noqa: F401, registers the operator

    return FlopCounterMode(display=False, custom_mapping={torch.ops.torchvision.deform_conv2d: _deformable_convolution})


def _deformable_convolution(input_shape, weight_shape, *_, out_shape=None, **__) -> int:
    """Operations of the convolution itself; the bilinear samples are not counted, as they are in no other layer."""
    batch, _, height, width = out_shape
    out_channels, in_channels, *kernel = weight_shape
    return 2 * batch * height * width * out_channels * in_channels * kernel[0] * kernel[1]


def run(planner: TilePlanner, px: int) -> tuple[float, float]:
    """Seconds that restoring a picture of px x px takes, and the peak of memory in GiB: the GPU's, or the process's."""
    picture = torch.rand(1, 3 * len(planner.restorer.sees), px, px, generator=torch.Generator().manual_seed(0))
    device = torch.device(planner.restorer.device)
    if device.type == "cuda":
        restore_pictures(planner, picture, [0])  # the first time, kernels are chosen
        torch.cuda.reset_peak_memory_stats(device)
        torch.cuda.synchronize(device)
    start = time.monotonic()
    restore_pictures(planner, picture, [0])
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic() - start, machine.peak_gib(device)
