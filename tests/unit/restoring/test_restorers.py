"""MPerceiver, the VAE's ceiling and networks as restorers: whole pictures in, whole pictures out, whatever the tiles."""

import json

import numpy as np
import pytest
import torch
from support.weights import write_stirred_weights
from torch import nn
from typer.testing import CliRunner

from mperceiver import cli, config, images, paths
from mperceiver.config.methods import Tiling
from mperceiver.config.samplers import Sampler
from mperceiver.lineage import LineageError
from mperceiver.models import mperceiver as model
from mperceiver.models.baselines.network import Network
from mperceiver.models.ceiling import load_restorer as load_ceiling
from mperceiver.models.layout import lay_out
from mperceiver.restoring import memory, stream


def pictures(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def restored(restorer, whole, seeds, side=512, overlap=16, batch=8):
    tiles = lay_out(restorer, tuple(whole.shape[-2:]), side, overlap, batch)
    return restorer.restore(whole, restorer.look(whole), seeds, tiles)


@pytest.fixture
def restorer(tiny_world, tiny_run, foundation):
    """`tiny` with weights that were stirred, not trained."""
    write_stirred_weights("tiny", tiny_run, foundation)
    return model.load_restorer("tiny")


# ---------------------------------------------------------------- MPerceiver


def test_restores_any_multiple_and_knows_no_batch(restorer):
    """Two pictures together are as each alone: seeds belong to pictures."""
    whole = pictures(2, 3, 32, 48)
    assert restorer.multiple == 16
    together = restored(restorer, whole, [3, 2**64 - 1])
    assert together.shape == whole.shape and together.min() >= 0 and together.max() <= 1
    for i, seed in enumerate([3, 2**64 - 1]):
        assert (restored(restorer, whole[i : i + 1], [seed]) - together[i : i + 1]).abs().max() < 1e-5
    again = restored(restorer, whole, [3, 4])
    assert torch.equal(again[0], together[0]) and not torch.equal(again[1], together[1])
    assert not any(
        p.requires_grad for module in (restorer.predictor, restorer.branches, restorer.drm) for p in module.parameters()
    )


def test_tiles_are_encoded_once_where_there_is_memory_for_their_features(restorer, monkeypatch):
    """The tiny VAE has two levels, 8 and 16 channels wide: 4 x (8 + 16 / 4) bytes a pixel, for six tiles of 32 px in two batches."""
    whole, encoded = pictures(1, 3, 48, 64), []
    tiles = lay_out(restorer, (48, 64), 32, 16, 4)
    assert (tiles.count, tiles.tile) == (6, (32, 32))
    encode = restorer.foundation.encode
    monkeypatch.setattr(restorer.foundation, "encode", lambda tile: encoded.append(len(tile)) or encode(tile))
    results = []
    for spare, batches in ((6 * 32 * 32 * 48 - 1, [4, 2, 4, 2]), (6 * 32 * 32 * 48, [4, 2])):
        tiles.spare_bytes = spare
        results.append(restorer.restore(whole, restorer.look(whole), [0], tiles))
        assert encoded == batches
        encoded.clear()
    assert torch.equal(*results)


@pytest.mark.parametrize("drm", [True, False])
def test_one_tile_is_the_untiled_result(restorer, drm):
    """The method by hand, on the whole picture: encode, DDIM, decode."""
    restorer.drm = restorer.drm if drm else None
    whole, clean = pictures(1, 3, 48, 32), restorer.foundation
    with torch.no_grad():
        seen = restorer.look(whole)
        static = restorer.branches.prepare(seen.embedding, seen.probabilities)
        noise = torch.randn((4, 24, 16), generator=torch.Generator().manual_seed(7))[None]
        latent, features = clean.encode(whole), None
        if drm:
            latent, features = restorer.drm.degraded_features(clean.encode, whole)

        def predict(z, t):
            return restorer.branches.predict(z, t, static, latent)

        z = model.ddim(predict, noise, restorer.alphas, clean.prediction, restorer.sampler)
        expected = restorer.drm(clean.decode, z, features, seen.probabilities) if drm else clean.decode(z)
    assert torch.equal(restored(restorer, whole, [7]), expected.clamp(0, 1))
    assert torch.equal(restored(restorer, whole, [7], side=48, overlap=0, batch=1), expected.clamp(0, 1))


def test_the_unet_may_have_smaller_tiles_than_the_vae(restorer, monkeypatch):
    """A picture of 64 px: the VAE sees it whole, the U-Net tiles of 32 px that overlap by 6 px; the shares of the work still add up to 1."""
    whole, seen, shares = pictures(1, 3, 64, 64), [], []
    predict = restorer.branches.predict
    monkeypatch.setattr(restorer.branches, "predict", lambda z, *rest: seen.append(tuple(z.shape)) or predict(z, *rest))
    restorer.on_share = shares.append
    untiled = restored(restorer, whole, [1], side=64, overlap=0, batch=1)
    steps = len(seen)
    assert set(seen) == {(1, 4, 32, 32)} and sum(shares) == pytest.approx(1)
    restorer.sampling_tiles = Tiling(side_px=32, overlap_px=6)
    seen.clear(), shares.clear()
    tiled = restored(restorer, whole, [1], side=64, overlap=0, batch=1)
    nine_tiles = [(4, 4, 16, 16), (4, 4, 16, 16), (1, 4, 16, 16)]  # in batches of as many pixels as before
    assert seen == steps * nine_tiles
    assert sum(shares) == pytest.approx(1) and not torch.equal(tiled, untiled)
    seen.clear()
    restorer.sampling_tiles = Tiling(side_px=64, overlap_px=6)  # no smaller than the VAE's
    assert torch.equal(restored(restorer, whole, [1], side=64, overlap=0, batch=1), untiled)


def test_in_tiles_what_is_of_the_picture_is_the_whole_pictures(restorer, monkeypatch):
    """Each step predicts on tiles cut out of one latent; all see the picture's own prompts, and the blend goes on."""
    whole = pictures(2, 3, 48, 96)
    seen, latents = [], []
    predict = restorer.branches.predict
    monkeypatch.setattr(
        restorer.branches,
        "predict",
        lambda z, t, static, lq: seen.append((z, static, lq)) or predict(z, t, static, lq),
    )
    ddim = model.ddim

    def spied(predict, noise, *rest):
        return ddim(lambda z, t: latents.append(z) or predict(z, t), noise, *rest)

    monkeypatch.setattr(model, "ddim", spied)
    restorer.sampler = Sampler(steps=2)
    tiles = lay_out(restorer, (48, 96), 48, 16, batch=2)
    assert tiles.count == 3
    looked = restorer.look(whole)
    restorer.restore(whole, looked, [1, 2], tiles)
    assert len(seen) == 6 and len(latents) == 2
    for step, latent in enumerate(latents):
        cut = list(tiles.cut(latent))
        for (z, static, _), part, owners in zip(seen[3 * step : 3 * step + 3], cut, tiles.owners(2), strict=True):
            assert torch.equal(z, part)
            assert torch.equal(static.probabilities, looked.probabilities[owners])
    assert all(first[2] is second[2] for first, second in zip(seen[:3], seen[3:], strict=True))  # what is kept of it


@pytest.mark.parametrize("drm", [True, False])
def test_tiles_know_no_batch(restorer, drm):
    restorer.drm = restorer.drm if drm else None
    whole = pictures(2, 3, 48, 96)
    serial = restored(restorer, whole, [1, 2], side=48, batch=1)
    assert serial.shape == whole.shape and serial.isfinite().all()
    for batch in (2, 4, 6):
        assert (restored(restorer, whole, [1, 2], side=48, batch=batch) - serial).abs().max() < 1e-5
    assert (restored(restorer, whole, [1, 2]) - serial).abs().mean() < 0.1  # near what it is untiled


def test_no_seam_where_tiles_meet(restorer):
    """Random weights disagree as much as a model can; still the step across a tile's end is that of anywhere else."""
    whole = images.pad(torch.linspace(0.2, 0.8, 160).expand(1, 3, 64, 160).contiguous(), 16)
    tiles = lay_out(restorer, (64, 160), 64, 16)
    found = restorer.restore(whole, restorer.look(whole), [3], tiles)
    steps = (found[..., 1:] - found[..., :-1]).abs().mean((0, 1, 2))
    ends = [left - 1 for left in tiles.lefts if left] + [left + 63 for left in tiles.lefts if left + 64 < 160]
    assert len(ends) >= 2 and steps[ends].max() < 1.5 * steps.median() + steps.std()


def test_noise_of_eta_belongs_to_the_picture_too(restorer):
    """A stochastic sampler: the same bytes each time, whatever was drawn before and whichever picture is beside it."""
    restorer.sampler = Sampler(steps=3, eta=1.0, spacing="trailing")
    whole = pictures(2, 3, 32, 32)
    together = restored(restorer, whole, [3, 4])
    torch.manual_seed(99)
    assert torch.equal(restored(restorer, whole, [3, 4]), together)
    assert (restored(restorer, whole[1:], [4]) - together[1:]).abs().max() < 1e-5
    restorer.sampler = Sampler(steps=3, spacing="trailing")
    assert (restored(restorer, whole, [3, 4]) - together).abs().max() > 1e-3


def test_noise_is_of_the_whole_picture_and_never_the_same(restorer, monkeypatch):
    """However the work is cut; no picture and no step gets that of another."""
    drawn = []

    def ddim(predict, noise, alphas, prediction, spec, lq_latent, fresh):
        drawn.append([noise, fresh(), fresh()])
        return lq_latent

    monkeypatch.setattr(model, "ddim", ddim)
    whole = pictures(2, 3, 48, 64)
    restored(restorer, whole, [1, 2])
    restored(restorer, whole, [1, 2], side=32)
    for untiled, tiled in zip(*drawn, strict=True):
        assert untiled.shape == (2, 4, 24, 32) and torch.equal(untiled, tiled)
    fields = [field for step in drawn[0] for field in step]
    assert not any(torch.equal(fields[i], fields[j]) for i in range(6) for j in range(i))


@pytest.mark.parametrize("drm", [True, False])
def test_progress_is_told_by_tiles_and_steps_and_a_probe_tells_none(restorer, drm, monkeypatch):
    if not drm:
        monkeypatch.setattr(restorer, "drm", None)
    shares = []
    restorer.on_share = shares.append
    restored(restorer, pictures(1, 3, 48, 96), [1], side=48, batch=1)
    steps, batches = restorer.sampler.steps, len(shares) / (restorer.sampler.steps + 2)
    assert steps > 1 and batches >= 2 and batches == int(batches)
    assert sum(shares) == pytest.approx(1) and min(shares) > 0
    restorer.probe(pictures(1, 3, 16, 16))
    assert len(shares) == batches * (steps + 2)


def test_methods_without_the_drm_do_not_load_it(restorer, tiny_world):
    paths.weights_file("tiny", "drm").unlink()
    (tiny_world / "config/methods/plain.yaml").write_text("like: tiny\ndrm: false\n", encoding="utf-8")
    plain = model.load_restorer("plain")
    restorer.drm = None
    whole = pictures(1, 3, 32, 32)
    assert torch.equal(restored(plain, whole, [1]), restored(restorer, whole, [1]))
    with pytest.raises(LineageError, match=r"drm\.safetensors: no such weights"):
        model.load_restorer("tiny")


def test_sides_are_at_least_the_foundations(restorer):
    """sd21 was trained at 512 px; smaller pictures are padded to what its file names."""
    assert restorer.minimum == restorer.foundation.minimum == restorer.multiple
    restorer.foundation.minimum_px = 40
    assert restorer.foundation.minimum == 40
    restorer.minimum = 40
    assert memory.TilePlanner(restorer, config.load("methods", "tiny")).padded((1, 50)) == (48, 64)


@pytest.mark.parametrize("has", [True, False])
def test_the_vae_computes_in_bfloat16_where_the_device_can(restorer, tiny_world, monkeypatch, has):
    """With the DRM inside, and at most a few levels away; what goes in and out stays in float32."""
    (tiny_world / "config/methods/half.yaml").write_text("like: tiny\nvae_precision: bf16\n", encoding="utf-8")
    monkeypatch.setattr(model.machine, "has_bfloat16", lambda device: has)
    half, kinds = model.load_restorer("half"), set()
    for module in (half.foundation.vae.encoder.conv_in, half.drm.levels["0"].join):
        module.register_forward_hook(lambda m, inputs, output: kinds.add(output.dtype))
    whole = pictures(1, 3, 32, 48)
    found, expected = restored(half, whole, [1]), restored(restorer, whole, [1])
    difference = (found - expected).abs()
    assert found.dtype == torch.float32 and difference.max() < 0.05
    if has:
        assert kinds == {torch.bfloat16} and difference.max() > 1e-4
    else:
        assert kinds == {torch.float32} and not difference.any()


# ---------------------------------------------------------------- the others


def test_vae_ceiling_is_the_round_trip(tiny_world, foundation):
    ceiling = load_ceiling("ceiling")
    whole = pictures(1, 3, 34, 46)
    with torch.no_grad():
        expected = foundation.decode(foundation.encode(whole)).clamp(0, 1)
    assert ceiling.multiple == 2 and torch.equal(restored(ceiling, whole, [0]), expected)
    assert restored(ceiling, whole, [0], side=24, overlap=4).shape == whole.shape


def test_vae_ceiling_with_the_drm(tiny_world, restorer):
    """The truth's latent decoded with the degraded picture's features: by hand, in tiles, in batches and from the memory."""
    (tiny_world / "config/methods/ceiling-drm.yaml").write_text(
        "title: C\nkind: vae\nrun: tiny\ntile_px: 512\n", encoding="utf-8"
    )
    ceiling = load_ceiling("ceiling-drm")
    pairs = pictures(2, 6, 32, 48)
    lq, gt = pairs.split(3, dim=1)
    clean, drm = restorer.foundation, restorer.drm
    with torch.no_grad():
        features = drm.degraded_features(clean.encode, lq)[1]
        expected = drm(clean.decode, clean.encode(gt), features, restorer.look(lq).probabilities).clamp(0, 1)
        plain = clean.decode(clean.encode(gt)).clamp(0, 1)
    found = restored(ceiling, pairs, [0, 0])
    assert (found - expected).abs().max() < 1e-5 and (found - plain).abs().max() > 1e-3
    alone = torch.cat([restored(ceiling, pairs[i : i + 1], [0]) for i in range(2)])
    assert (alone - found).abs().max() < 1e-5
    tiled = [restored(ceiling, pairs, [0, 0], side=32, overlap=16, batch=batch) for batch in (1, 3)]
    assert tiled[0].shape == gt.shape and (tiled[0] - tiled[1]).abs().max() < 1e-5
    other = torch.cat([lq.flip(0), gt], dim=1)
    assert (restored(ceiling, other, [0, 0]) - found).abs().max() > 1e-4  # it does look at the degraded picture
    assert memory.estimate_peak(ceiling, 1, 32, 32) > 0


def test_the_ceiling_with_the_drm_through_the_workflow(tiny_world, restorer, monkeypatch):
    """It is given both pictures of a pair, padded and turned alike."""
    lq, gt = (np.random.default_rng(i).integers(0, 256, (17, 23, 3), dtype=np.uint8) for i in range(2))
    (tiny_world / "config/methods/ceiling-drm.yaml").write_text(
        "title: C\nkind: vae\nrun: tiny\ntile_px: 512\n", encoding="utf-8"
    )
    ceiling, spec = load_ceiling("ceiling-drm"), config.load("methods", "ceiling-drm")
    written = {}
    jobs = [
        stream.RestoreRequest(
            "a", lambda: np.concatenate([lq, gt], axis=2), lambda picture: written.update(a=picture), 0
        ),
    ]
    (outcome,) = stream.restore_all(ceiling, spec, jobs)
    assert (
        outcome.error is None and written["a"].shape == (17, 23, 3) and set(outcome.probabilities) == set(ceiling.tasks)
    )
    both = torch.cat([images.to_tensor(lq), images.to_tensor(gt)], dim=1)
    padded = images.pad(both, ceiling.multiple, ceiling.minimum)
    expected = images.to_picture(restored(ceiling, padded, [0])[..., :17, :23])
    assert np.abs(written["a"].astype(int) - expected).max() <= 1


def test_a_network_sees_tiles_and_knows_no_batch():
    network = nn.Conv2d(3, 3, 3, padding=1).requires_grad_(False)
    restorer = Network(network, 8, "cpu")
    whole = pictures(2, 3, 64, 96)
    assert torch.equal(restored(restorer, whole, [0, 0]), network(whole).clamp(0, 1))
    tiled = [restored(restorer, whole, [0, 0], side=48, overlap=16, batch=batch) for batch in (1, 5)]
    assert (tiled[0] - tiled[1]).abs().max() < 1e-6
    shares = []
    restorer.on_share = shares.append
    restored(restorer, whole, [0, 0], side=48, overlap=16, batch=5)
    assert len(shares) == 3 and sum(shares) == pytest.approx(1)  # two pictures of six tiles each
    inside = (..., slice(8, 24), slice(8, 24))  # a tile fades out slowly: its false border hardly counts
    assert (tiled[0] - restored(restorer, whole, [0, 0]))[inside].abs().max() < 1e-4


# ---------------------------------------------------------------- through the verb


def test_photographs_of_odd_sizes_by_the_verb(restorer, tiny_world):
    """From 1x1 on, H and W unlike, in tiles where the budget wants them; the same whether restored together or alone."""
    sizes = [(1, 1), (1, 150), (2, 3), (33, 47), (47, 33), (33, 47), (96, 130)]
    for i, (height, width) in enumerate(sizes):
        picture = np.random.default_rng(i).integers(0, 256, (height, width, 3), dtype=np.uint8)
        path = tiny_world / f"in/{i}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(images.encode(picture))
    tensors = {t for module in restorer.modules() for t in (*module.parameters(), *module.buffers())}
    gib = (sum(t.nbytes for t in tensors) + 6_000_000) / memory.GIB  # does not do for 96x130 at once
    (tiny_world / "config/methods/small.yaml").write_text(
        "like: tiny\ntile_px: null\noverlap_px: 16\n", encoding="utf-8"
    )
    runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})

    def said(*arguments: str):
        result = runner.invoke(cli.app, ["restore", "small", *arguments, "--json", "--memory-gib", f"{gib:.6f}"])
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()], result.stderr

    records, told = said("in", "out")
    assert sorted((r["source"], *r["size"]) for r in records) == [
        (f"in/{i}.png", w, h) for i, (h, w) in enumerate(sizes)
    ]
    for record in records:
        assert list(record["probabilities"]) == restorer.tasks and sum(
            record["probabilities"].values()
        ) == pytest.approx(1)
        height, width = sizes[int(record["source"][3])]
        assert images.decode(record["path"]).shape == (height, width, 3)
        assert (record["tiles"]["count"] > 1) == (height == 96)
    assert "in/6.png: 130x96 in " in told and "not sure what is wrong with it: " in told
    [alone], _ = said("in/6.png", "alone.png")
    assert alone["tiles"] == next(r for r in records if r["source"] == "in/6.png")["tiles"]
    assert (tiny_world / "alone.png").read_bytes() == (tiny_world / "out/6.png").read_bytes()
