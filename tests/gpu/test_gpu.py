"""On a GPU, at toy width: half precision, layouts, compilation, memory and several processes. `pytest -m gpu tests/gpu`.

`--gpu-device cpu` tries the tests themselves on the processor, where some of them have nothing to compare and so hold at once.
"""

import gc
import os

import pytest
import torch
import torch.nn.functional as F
from support.ports import free_port
from torch import Tensor, nn

from benchmarks import sd21
from mperceiver.config.base import TASKS
from mperceiver.config.methods import Method
from mperceiver.config.modules import ModelConfig
from mperceiver.config.samplers import Sampler
from mperceiver.images import PictureError
from mperceiver.models import towers
from mperceiver.models.branches import HALF, Branches
from mperceiver.models.drm import DetailRefinement
from mperceiver.models.mperceiver import MPerceiver
from mperceiver.models.predictor import DegradationPredictor
from mperceiver.models.tiling import Tiles
from mperceiver.restoring import ensemble
from mperceiver.restoring.memory import TilePlanner, estimate_peak

pytestmark = pytest.mark.gpu

WIDTHS = sd21.Widths((32, 32, 64, 64), 1, (32, 64, 64, 64), (1, 2, 2, 2), 64, 2, 2, "ViT-S-32")
N = len(TASKS)
PX = 64
MODEL = ModelConfig(
    predictor_hidden=32,
    tp_tokens=4,
    cm_tokens=4,
    cm_heads=4,
    vp_tokens=4,
    vp_width=32,
    vp_heads=2,
    vp_head_width=8,
    ir_widths=[32, 48, 64, 64],
    ir_feature_width=32,
    ir_heads=2,
    modulator_hidden=32,
)


@pytest.fixture
def device(request) -> str:
    name = request.config.getoption("--gpu-device")
    assert name == "cpu" or torch.cuda.is_available(), "no CUDA here: torch sees no device"
    return name


class Toy(MPerceiver):
    """A restorer with random weights in general position; it reads no files."""

    def __init__(self, device: str, **ways) -> None:
        torch.manual_seed(0)
        foundation = sd21.foundation("cpu", WIDTHS)
        predictor = DegradationPredictor(foundation.embedding_width, N, MODEL)
        branches, drm = Branches(foundation, N, MODEL), DetailRefinement(foundation.vae, N, MODEL)
        for module in (predictor, branches, drm):
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter += 0.02 * torch.randn(parameter.shape)
            module.to(device)
        foundation.to(device)
        super().__init__(foundation, predictor, branches, drm, TASKS, Sampler(steps=4))
        branches.set_up(**ways)
        drm.attach(foundation.vae)
        drm.set_up(foundation.vae, ways.get("channels_last", False))

    def trained(self) -> list[nn.Module]:
        return [self.predictor, self.branches, self.drm]

    def whole(self, pictures: Tensor) -> Tensor:
        for module in self.trained():
            towers.freeze(module)
        side = pictures.shape[-1]
        tiles = Tiles((side, side), [0], [0], (side, side), len(pictures), self.device)
        return self.restore(pictures, self.look(pictures), [3] * len(pictures), tiles)


def pictures(count: int = 2, px: int = PX) -> Tensor:
    return torch.rand(count, 3, px, px, generator=torch.Generator().manual_seed(1))


def agree(found: Tensor, expected: Tensor) -> None:
    """Equal up to rounding, which four steps through networks in general position enlarge."""
    difference = (found - expected).abs()
    assert difference.mean() < 5e-4 and difference.max() < 2e-2, (difference.mean(), difference.max())


def method() -> Method:
    return Method(title="toy", kind="mperceiver", run="toy", overlap_px=16)


# ---------------------------------------------------------------- the same result in every way


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_restoration_in_half_precision(device, precision):
    """At most a few grey levels from single precision."""
    expected, found = Toy(device).whole(pictures()), Toy(device, precision=precision).whole(pictures())
    assert found.isfinite().all() and 0 <= found.min() and found.max() <= 1
    assert (found - expected).abs().mean() < 4 / 255 and (found - expected).abs().max() < 0.2


def test_a_restoration_with_the_vae_in_bfloat16(device):
    """At most a few grey levels from single precision."""
    expected, toy = Toy(device).whole(pictures()), Toy(device)
    toy.foundation.vae_dtype = torch.bfloat16
    found = toy.whole(pictures())
    assert found.dtype == torch.float32 and 0 <= found.min() and found.max() <= 1
    assert 0 < (found - expected).abs().mean() < 4 / 255 and (found - expected).abs().max() < 0.2


@pytest.mark.parametrize("ways", [{"channels_last": True}, {"compile": True}, {"channels_last": True, "compile": True}])
def test_a_layout_and_compilation_change_nothing(device, ways):
    if device == "cpu" and "compile" in ways:
        ways = {key: value for key, value in ways.items() if key != "compile"}  # a minute on a processor
    expected = Toy(device).whole(pictures())
    agree(Toy(device, **ways).whole(pictures()), expected)


def test_a_restoration_is_the_processors(device):
    expected = Toy("cpu").whole(pictures())
    agree(Toy(device).whole(pictures()), expected)


# ---------------------------------------------------------------- a training step of each stage


def stage_1(toy: Toy) -> tuple[nn.Module, Tensor]:
    embedding = toy.foundation.embed(pictures().to(toy.device))
    labels = torch.tensor([0, 1], device=toy.device)
    return toy.predictor, F.cross_entropy(toy.predictor(embedding), labels)


def stage_2(toy: Toy) -> tuple[nn.Module, Tensor]:
    generator = torch.Generator().manual_seed(2)
    side = 32  # so that the last scale has 4 x 4 positions: a norm over less has wild gradients
    z, lq_latent = (torch.randn(2, 4, side, side, generator=generator).to(toy.device) for _ in range(2))
    embedding = torch.randn(2, toy.foundation.embedding_width, generator=generator).to(toy.device)
    p = torch.full((2, N), 1 / N, device=toy.device)
    t = torch.tensor([20, 700], device=toy.device)
    return toy.branches, F.mse_loss(toy.branches(z, t, embedding, lq_latent, p).float(), z)


def stage_3(toy: Toy) -> tuple[nn.Module, Tensor]:
    picture = pictures().to(toy.device)
    latent, degraded = toy.drm.degraded_features(toy.foundation.encode, picture)
    p = torch.full((2, N), 1 / N, device=toy.device)
    return toy.drm, F.l1_loss(toy.drm(toy.foundation.decode, latent, degraded, p).float(), picture)


@pytest.mark.parametrize("stage", [stage_1, stage_2, stage_3])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_training_step_in_half_precision(device, stage, precision):
    """The loss is single precision's to a few percent, and the gradient points the same way."""
    losses, directions = [], []
    for half in (None, HALF[precision]):
        toy = Toy(device)
        with torch.autocast(device, half, enabled=half is not None):
            module, loss = stage(toy)
        (1024 * loss).backward()  # fp16 has no smaller gradients; training scales by GradScaler
        gradients = [p.grad.float().flatten() for p in module.parameters() if p.grad is not None]
        losses.append(loss.item())
        directions.append(torch.cat(gradients).cpu())
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert directions[1].isfinite().all() and F.cosine_similarity(*directions, dim=0) > 0.95


# ---------------------------------------------------------------- memory


def test_the_estimate_of_memory_holds(device):
    """What restoring takes beside the weights is no more than estimated, and no less than a quarter of it."""
    toy = Toy(device)
    for module in toy.trained():
        towers.freeze(module)
    toy.probe(pictures(1, 128))
    estimate = estimate_peak(toy, 4, 256, 256)
    assert estimate > 0
    if device == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        toy.probe(pictures(4, 256))
        taken = torch.cuda.max_memory_allocated() - before
        assert estimate / 4 < taken <= estimate, f"{taken} bytes taken, {estimate} estimated"


def test_out_of_memory_is_an_error_that_says_what_to_do(device):
    toy = Toy(device)

    def full(*_: object) -> Tensor:
        if device == "cpu":
            raise torch.OutOfMemoryError("made up")
        return torch.empty(2**44, device=device)  # 64 TiB

    toy.restore = full
    planner = TilePlanner(toy, method())
    with pytest.raises(PictureError, match=r"out of memory at 64x64 px.*tile"):
        ensemble.restore_pictures(planner, pictures(1), [0])


# ---------------------------------------------------------------- several processes


def test_nccl_in_a_world_of_one(device, monkeypatch):
    place = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    for name, value in place.items():
        monkeypatch.setitem(os.environ, name, value)
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        layer = nn.Linear(4, 2).to(device)
        parallel = nn.parallel.DistributedDataParallel(layer)
        parallel(torch.ones(3, 4, device=device)).sum().backward()
        assert torch.equal(layer.weight.grad, torch.full((2, 4), 3.0, device=device))
    finally:
        torch.distributed.destroy_process_group()
