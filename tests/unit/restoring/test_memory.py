"""The memory that restoring takes: what is estimated, what is chosen by it, and what it takes in truth."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from support.restoring import restore_picture
from torch import nn

from mperceiver import paths
from mperceiver.config.methods import Method
from mperceiver.images import PictureError
from mperceiver.models import mperceiver as model
from mperceiver.models import weights
from mperceiver.models.baselines.network import Network
from mperceiver.models.branches import Branches
from mperceiver.models.drm import DetailRefinement
from mperceiver.models.predictor import build_predictor
from mperceiver.models.tiling import Tiles
from mperceiver.restoring import ensemble, memory, stream
from mperceiver.restoring.memory import (
    COPY_BYTES,
    GIB,
    LATENT_BYTES,
    SCRATCH_FACTOR,
    PeakMemory,
    TilePlanner,
    estimate_peak,
)
from mperceiver.restoring.restorers import Identity


def network(width: int = 8) -> Network:
    """Two convolutions; at most its input, and one tensor of ``width`` channels or two, are there at a time."""
    layers = nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, 3, 1)
    )
    return Network(layers.requires_grad_(False), 8, "cpu")


def method(**changes) -> Method:
    return Method(title="test", kind="network", run="net", **({"overlap_px": 16} | changes))


def budget(restorer, extra: float) -> float:
    """``memory_gib`` that leaves ``extra`` bytes beside the weights."""
    tensors = {t for module in restorer.modules() for t in (*module.parameters(), *module.buffers())}
    return (sum(t.nbytes for t in tensors) + extra) / GIB


@pytest.fixture
def toy(tiny_world, tiny_run, foundation):
    for stage, part in {
        "predictor": build_predictor(foundation, tiny_run),
        "branches": Branches(foundation, len(tiny_run.tasks), tiny_run.model),
        "drm": DetailRefinement(foundation.vae, len(tiny_run.tasks), tiny_run.model),
    }.items():
        weights.save_weights(paths.weights_file("tiny", stage), part, tiny_run)
    return model.load_restorer("tiny")


# ---------------------------------------------------------------- the estimate


def test_peak_counts_what_lives_at_a_time():
    with PeakMemory("cpu") as found:
        a = torch.zeros(1000)  # 4000
        b = a + 1  # 8000
        del a
        view = b.view(10, 100)[2:5]  # nothing new
        c = torch.cat([b, b])  # 4000 + 8000
        c += 1  # in place
        del b, c, view
        torch.zeros(10)
    assert found.bytes == 12_000 and found._living == 0


def test_peak_of_a_network_by_hand():
    restorer = network(8)
    assert estimate_peak(restorer, 1, 32, 48) == pytest.approx(SCRATCH_FACTOR * 4 * 32 * 48 * (3 + 8 + 8), abs=1)
    assert estimate_peak(restorer, 5, 32, 48) == pytest.approx(5 * estimate_peak(restorer, 1, 32, 48), abs=5)


def test_a_compiled_network_is_counted_as_written():
    restorer = network(8)
    expected = estimate_peak(restorer, 1, 32, 48)
    restorer.network.compile(backend="eager")
    assert estimate_peak(restorer, 1, 32, 48) == expected


def test_the_estimate_is_what_the_toy_takes_and_a_line_over_pixels(toy):
    """No tensor of the model grows faster than the picture: there is no attention that holds all its scores."""
    with torch.no_grad(), PeakMemory("cpu") as real:
        toy.probe(torch.zeros(2, 3, 64, 96))
    assert estimate_peak(toy, 2, 64, 96) / SCRATCH_FACTOR == pytest.approx(real.bytes, rel=0.1)
    plan = TilePlanner(toy, method(memory_gib=1))
    for count, height, width in ((1, 16, 16), (1, 128, 128), (2, 64, 96)):
        found = estimate_peak(toy, count, height, width)
        assert found <= plan._work_bytes(count, (height, width)) <= 1.2 * found


# ---------------------------------------------------------------- what is chosen by it


def test_a_larger_budget_takes_larger_tiles():
    restorer, whole = network(), 256 * 320 * (LATENT_BYTES + COPY_BYTES)
    areas = []
    for extra in (1e6, 4e6, 16e6):
        tiles = TilePlanner(restorer, method(memory_gib=budget(restorer, whole + extra))).tiles((256, 320))
        areas.append(tiles.tile[0] * tiles.tile[1])
        assert estimate_peak(restorer, tiles.batch, *tiles.tile) <= extra
    assert areas == sorted(set(areas)) and areas[-1] == 256 * 320


def test_what_is_left_takes_more_tiles_at_once():
    restorer, whole = network(), 64 * 64 * (LATENT_BYTES + COPY_BYTES)
    one = estimate_peak(restorer, 1, 64, 64)
    for room, together in ((one, 1), (2.1 * one, 1), (2.1 * one + whole, 2), (20 * (one + whole), 8)):
        plan = TilePlanner(restorer, method(memory_gib=budget(restorer, whole + room)))
        assert plan.together((64, 60)) == together
    told = TilePlanner(restorer, method(tile_px=64, memory_gib=budget(restorer, 25 * whole + 3.5 * one)))
    assert told.tiles((320, 320)).tile == (64, 64) and told.tiles((320, 320)).batch == 3
    assert told.together((320, 320)) == 1  # a picture of several tiles is restored alone


def test_too_little_memory_is_told_with_what_it_takes():
    restorer = network()
    with pytest.raises(
        PictureError, match=r"320x256 px in tiles of 24 px needs 0\.01 GiB.*only 0\.00 GiB.*raise --memory-gib"
    ):
        TilePlanner(restorer, method(memory_gib=budget(restorer, 1e6))).tiles((256, 320))


def test_a_picture_too_large_for_the_memory_does_not_take_the_others():
    restorer = network()
    room = 64 * 64 * (LATENT_BYTES + COPY_BYTES) + 2 * estimate_peak(restorer, 1, 64, 64)
    pixels = {"large": np.zeros((800, 800, 3), np.uint8), "small": np.zeros((64, 64, 3), np.uint8)}
    jobs = [stream.RestoreRequest(name, lambda p=p: p, lambda p: None, 0) for name, p in pixels.items()]
    found = list(stream.restore_all(restorer, method(memory_gib=budget(restorer, room)), jobs))
    assert {outcome.request.name: outcome.error is None for outcome in found} == {"large": False, "small": True}


def test_within_what_is_free(monkeypatch):
    restorer = network()
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10_000_000)
    assert TilePlanner(restorer, method()).room == TilePlanner(restorer, method(memory_gib=100)).room == 9_000_000
    assert TilePlanner(restorer, method(memory_gib=budget(restorer, 5e6))).room == pytest.approx(5e6)


def test_no_estimate_where_the_method_names_its_tiles(monkeypatch):
    monkeypatch.setattr(memory, "estimate_peak", lambda *_: pytest.fail("estimated"))
    plan = TilePlanner(network(), method(tile_px=64))
    assert plan.room is None and plan.tiles((128, 64)).batch == 8
    assert TilePlanner(Identity(), method(tile_px=4000)).tiles((8, 4000)).count == 1


def test_no_estimate_where_there_is_plenty(monkeypatch):
    picture, restorer = (64, 128), network()
    monkeypatch.setattr(memory, "free_bytes", lambda device: 8 * 64 * 128 * memory.AMPLE_BYTES / memory.FREE_SHARE + 1)
    estimated = TilePlanner(restorer, method())
    monkeypatch.setattr(memory, "AMPLE_BYTES", memory.AMPLE_BYTES + 1)
    assert estimated.tiles(picture).batch == TilePlanner(restorer, method()).tiles(picture).batch == 8
    monkeypatch.setattr(memory, "AMPLE_BYTES", memory.AMPLE_BYTES - 1)
    monkeypatch.setattr(memory, "estimate_peak", lambda *_: pytest.fail("estimated"))
    assert vars(TilePlanner(restorer, method()).tiles(picture)) == vars(estimated.tiles(picture))


def test_batches_on_a_cpu_have_few_pixels():
    """64 kibipixels or a little more, but no more tiles than the model takes; and what may be kept beside them is little."""
    plan = TilePlanner(network(), method())
    batches = {side: plan.tiles((side, side)).batch for side in (64, 128, 200, 256, 512)}
    assert batches == {64: 8, 128: 4, 200: 2, 256: 1, 512: 1}


@pytest.mark.parametrize(("free", "changes", "spare"), [(5, {}, 2**28), (4, {}, 0), (5, {"memory_gib": 3}, 0)])
def test_little_is_kept_and_only_where_there_is_plenty(monkeypatch, free, changes, spare):
    monkeypatch.setattr(memory, "free_memory_bytes", lambda: free * memory.GIB)
    assert TilePlanner(network(), method(**changes)).tiles((64, 64)).spare_bytes == spare


def test_free_memory_is_that_of_the_machine():
    free = memory.free_bytes(torch.device("cpu"))
    with open("/proc/meminfo", encoding="utf-8") as file:
        total = int(file.readline().split()[1]) * 1024
    assert 0 < free <= total


def test_no_memory_left_is_told_in_words(monkeypatch):
    restorer = network()

    def fails(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(restorer, "restore", fails)
    with pytest.raises(PictureError, match=r"out of memory at 64x64 px in tiles of 64 px.*--memory-gib"):
        restore_picture(restorer, torch.rand(1, 3, 64, 64), method(tile_px=64), 0)


# ---------------------------------------------------------------- what it takes in truth


def test_the_toy_stays_within_its_budget(toy):
    """All tensors of a restoring, counted: within the budget in tiles, beyond it if the picture were one."""
    picture = torch.rand(1, 3, 112, 176, generator=torch.Generator().manual_seed(0))
    room = 112 * 176 * (LATENT_BYTES + COPY_BYTES) + estimate_peak(toy, 1, 48, 48) * 1.05
    plan = TilePlanner(toy, method(memory_gib=budget(toy, room)))
    assert plan.tiles((112, 176)).count > 1
    with PeakMemory("cpu") as found:
        ensemble.restore_pictures(plan, picture, [0])
    assert found.bytes <= room
    one = Tiles((112, 176), [0], [0], (112, 176))
    with torch.inference_mode(), PeakMemory("cpu") as untiled:
        toy.restore(picture, toy.look(picture), [0], one)
    assert untiled.bytes > room


PROGRAM = """
import gc, json, sys
from pathlib import Path
import torch
from torch import nn
from mperceiver.restoring import ensemble, memory
from mperceiver.config.methods import Method
from mperceiver.models.baselines.network import Network

def status(key):
    return int(Path("/proc/self/status").read_text().split(key + ":")[1].split()[0]) * 1024

layers = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 3, 1))
restorer = Network(layers.requires_grad_(False), 8, "cpu")
picture = torch.rand(1, 3, 1000, 1400)
found = []
for gib in (0.25, 0.25, 4):  # the first time warms up
    plan = memory.TilePlanner(restorer, Method(title="t", kind="network", run="net", memory_gib=gib))
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM from here on
    before = status("VmRSS")
    ensemble.restore_pictures(plan, picture, [0])
    found.append([plan.tiles((1000, 1400)).count, status("VmHWM") - before])
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_process_stays_within_its_budget():
    """What the system gives a process to restore a picture of 1.4 megapixels, libraries' own buffers included."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    if "clear_refs" in done.stderr:
        pytest.skip("the system does not let a process reset its peak")
    assert done.returncode == 0, done.stderr
    _, (tiled, within), (whole, beyond) = json.loads(done.stdout)
    assert tiled > 1 and whole == 1
    assert within <= 0.25 * GIB < beyond, (within / GIB, beyond / GIB)
