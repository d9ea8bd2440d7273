"""Frozen work done once: fixed crops, what the towers make of them, degradations on the fly, and what stage 2 samples."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mperceiver import images
from mperceiver.data import DataError
from mperceiver.data.prepare.dataset import prepare_dataset
from mperceiver.data.raw.download import download_dataset
from mperceiver.data.read.crops import fixed_crops, pad_by_reflection
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.data.read.mixture import Mixture
from mperceiver.training import latents, shards
from mperceiver.training.latents import CachedLatents, encode, sample_latents

JUDGED = torch.rand(18, 3, generator=torch.Generator().manual_seed(3))  # P of each of tiny-train's crops


def every(read) -> torch.Tensor:
    """All crops' latents, or embeddings, by a reader that knows its length."""
    return torch.stack([read(i) for i in range(len(read.__self__))])


def floats(pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255


def near(latent: torch.Tensor, pictures: torch.Tensor, foundation) -> bool:
    """Whether a latent is a posterior sample of a picture: noise of the posterior's own size around its mean."""
    with torch.no_grad():
        posterior = foundation.vae.encode(pictures * 2 - 1).latent_dist
    spread = (latent.float() / foundation.vae.config.scaling_factor - posterior.mean) / posterior.std
    return spread.std().item() == pytest.approx(1, abs=0.1) and abs(spread.mean()) < 0.1


@pytest.fixture
def whole(tiny_world) -> str:
    """Whole pictures of three sizes, one smaller than the crops, hazed or noisy on the fly."""
    for name, size in (("middle", 40), ("small", 24)):
        text = (
            Path("config/datasets/leaves.yaml").read_text(encoding="utf-8").replace("size_px: 96", f"size_px: {size}")
        )
        Path(f"config/datasets/{name}.yaml").write_text(text, encoding="utf-8")
        download_dataset(name, [])
    head = "title: t\nlicence: l\nfrom: [leaves, middle, small]\n"
    Path("config/datasets/whole.yaml").write_text(
        head + "degradations: {haze: {haze: {}}}\nencode: {crop_px: 32, crops: 5, flip: true}\n", encoding="utf-8"
    )
    Path("config/datasets/noisy.yaml").write_text(
        head + "degradations: {gaussian-noise: {gaussian-noise: {sigma_255: {choices: [15, 25, 50]}}}}\n"
        "on_the_fly: true\nencode: {crop_px: 32, crops: 2}\n",
        encoding="utf-8",
    )
    for name in ("whole", "noisy"):
        prepare_dataset(name, workers=1)
    return "whole"


def test_encoding_twice_is_the_same_bytes(tiny_world, foundation):
    path = encode(foundation, "tiny-train")
    first = path.read_bytes()
    assert path == Path("data/latents/tiny/tiny-train.arrow") and [path] == list(path.parent.iterdir())
    path.unlink()
    assert encode(foundation, "tiny-train").read_bytes() == first


def test_encoded_is_what_the_towers_say(tiny_world, foundation):
    encode(foundation, "tiny-train")
    rows, cached = PreparedDataset("tiny-train"), CachedLatents("tiny", "tiny-train")
    assert cached.crops.ids == rows.ids and cached.shape == (4, 16, 16) and len(cached) == 18
    lq, gt = every(cached.lq), every(cached.gt)
    pictures = torch.from_numpy(np.stack([rows.lq(i) for i in range(len(rows))])).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        posterior = foundation.vae.encode(pictures * 2 - 1).latent_dist
        assert torch.allclose(every(cached.embedding), foundation.embed(pictures), atol=1e-5)
    spread = (lq.float() - posterior.mean) / posterior.std
    assert spread.std().item() == pytest.approx(1, abs=0.05) and abs(spread.mean()) < 0.05  # samples, not means
    assert lq.dtype == torch.float16 and not torch.equal(lq, gt)


def test_encoding_refuses_crops_of_several_sizes_or_odd_ones(whole, foundation):
    text = Path("config/datasets/tiny-train.yaml").read_text(encoding="utf-8")
    Path("config/datasets/odd.yaml").write_text(text.replace("crop_px: 32", "crop_px: 40"), encoding="utf-8")
    prepare_dataset("odd", workers=1)
    with pytest.raises(DataError, match=r"odd: crops of 40x40 are no multiples of 16 px"):
        encode(foundation, "odd")
    assert not Path("data/latents/tiny/odd.arrow").exists()
    path = Path("config/datasets/whole.yaml")
    path.write_text(path.read_text(encoding="utf-8").partition("encode")[0], encoding="utf-8")
    with pytest.raises(
        DataError, match=r"is \(40, 40\), others \(96, 96\); name the crops .*whole\.yaml, e\.g\. encode:"
    ):
        encode(foundation, "whole")


def test_crops_of_whole_pictures(whole, foundation):
    """Latents, embeddings and what stage 3 reads are of one place, in one orientation, padded where a picture is too small."""
    encode(foundation, whole)
    cached, rows = CachedLatents("tiny", whole), PreparedDataset(whole)
    crops = cached.crops
    assert len(cached) == 5 * len(rows) and crops.per_picture == 5 and crops.size(0) == (32, 32)
    assert [w.row for w in crops.windows] == [row for row in range(len(rows)) for _ in range(5)]
    pairs = np.stack([crops.pair(i) for i in range(len(crops))])
    assert torch.allclose(every(cached.embedding), foundation.embed(floats(pairs[:, 0])), atol=1e-5)
    assert near(every(cached.lq), floats(pairs[:, 0]), foundation)
    assert near(every(cached.gt), floats(pairs[:, 1]), foundation)
    for i, (row, y, x, mirrored) in enumerate(crops.windows):
        pair = np.stack([rows.lq(row), rows.gt(row)])
        high = rows.size(row)[0]
        if high < 32:
            assert (y, x) == (0, 0)
            pair = np.concatenate([pair, pair[:, high - 10 : high - 1][:, ::-1]], axis=1)[:, :32]
            pair = np.concatenate([pair, pair[:, :, high - 10 : high - 1][:, :, ::-1]], axis=2)[:, :, :32]
        cut = pair[:, y : y + 32, x : x + 32]
        assert np.array_equal(pairs[i], cut[:, :, ::-1] if mirrored else cut)
    assert {w.mirrored for w in crops.windows} == {True, False}
    assert len({w[:3] for w in crops.windows if rows.size(w.row)[0] == 96}) == 20  # all at different places
    assert fixed_crops(whole).windows == crops.windows


def test_crops_weigh_as_much_as_their_pictures(whole):
    """Five crops of a picture do not make its dataset larger than one with two."""
    one, other = fixed_crops("whole"), fixed_crops("noisy")
    other.tasks = one.tasks[: len(other)]
    mixture = Mixture([one, other], ["haze"])
    drawn = mixture.draw(np.random.default_rng(0), 4000)
    assert np.mean([d for d, _ in drawn]) == pytest.approx(0.5, abs=0.03)
    assert len({row for d, row in drawn if d == 0}) == len(one)


@pytest.mark.parametrize(("height", "width"), [(5, 40), (1, 3), (33, 8), (32, 32)])
def test_small_pictures_are_padded_as_at_inference(height, width):
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = images.pad(images.to_tensor(picture), 1, 32)
    assert torch.equal(images.to_tensor(pad_by_reflection(picture, (32, 32))), expected)


def test_degraded_on_the_fly(whole, foundation):
    """Noise is new at each draw, not rounded; a fixed crop has always the same, in its latents as in stage 3."""
    rows = PreparedDataset("noisy")
    with pytest.raises(DataError, match="noisy: picture .* has no degraded picture, it is degraded on the fly"):
        rows.lq(0)
    mixture, rng = Mixture([rows], ["gaussian-noise"]), np.random.default_rng(0)
    sigmas = []
    for _ in range(4):
        lq, gt, _ = mixture.batch(mixture.draw(rng, 8), 24, rng)
        assert 0 <= lq.min() and lq.max() <= 1
        inside = (gt > 0.3) & (gt < 0.7)
        sigmas += [((lq - gt)[k][inside[k]] * 255).std().item() for k in range(8) if inside[k].sum() > 200]
        assert (lq * 255 - (lq * 255).round()).abs().max() > 0.1
    assert all(min(abs(s / sigma - 1) for sigma in (15, 25, 50)) < 0.25 for s in sigmas) and max(sigmas) > 2 * min(
        sigmas
    )
    encode(foundation, "noisy")
    cached = CachedLatents("tiny", "noisy")
    mixture = Mixture([cached.crops], ["gaussian-noise"])
    everything = [(0, i) for i in range(len(cached))]
    (lq, gt, _), (again, _, _) = (mixture.batch(everything, 32, np.random.default_rng(k), flip=False) for k in (1, 2))
    assert torch.equal(lq, again) and not torch.equal(lq, gt)
    assert torch.allclose(every(cached.embedding), foundation.embed(lq), atol=1e-5)
    assert near(every(cached.lq), lq, foundation)


def test_killed_encoding_goes_on_with_the_part_it_was_at(whole, foundation, monkeypatch):
    straight = encode(foundation, whole).read_bytes()
    Path("data/latents/tiny/whole.arrow").unlink()
    monkeypatch.setattr(shards, "SHARD_ROWS", 16)
    monkeypatch.setattr(latents, "BATCH", 16)
    calls, original = [], latents._sample

    def sample(*arguments):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(latents, "_sample", sample)
    with pytest.raises(KeyboardInterrupt):
        encode(foundation, whole)
    assert not Path("data/latents/tiny/whole.arrow").exists()
    assert len(list(Path("data/latents/tiny/.whole.shards").glob("*.arrow"))) == 2
    path = encode(foundation, whole)
    assert len(calls) == 6 + 4  # two parts are left, LQ and GT each
    assert [path] == list(path.parent.iterdir())
    found, wanted = shards.MappedRows([path]).table, pa_table(straight)
    assert found["id"].to_pylist() == wanted["id"].to_pylist()


def pa_table(data: bytes):
    import pyarrow as pa

    return pa.ipc.open_file(pa.py_buffer(data)).read_all()


def test_two_processes_share_the_parts(tmp_path, monkeypatch):
    """Each makes every second part; what one of them left is made by who comes next, whatever their number."""
    import pyarrow as pa

    monkeypatch.setattr(shards, "SHARD_ROWS", 4)
    made = []

    def make(name, rows, advance):
        made.append((name, rows.start))
        advance(len(rows))
        return [pa.record_batch({"number": list(rows)})]

    def go(index: int, number: int) -> dict[str, list[Path]]:
        world = SimpleNamespace(process_index=index, num_processes=number)
        monkeypatch.setattr(shards.processes, "world", lambda: world)
        monkeypatch.setattr(shards.processes, "is_main", lambda: index == 0)
        monkeypatch.setattr(shards.processes, "wait_for_all", lambda: None)
        return shards.write_shards(tmp_path / "shards", "key", {"a": 10, "b": 5}, make, "work")

    go(0, 2)
    assert made == [("a", 0), ("a", 8), ("b", 4)]
    go(1, 2)
    assert made[3:] == [("a", 4), ("b", 0)]
    (tmp_path / "shards/a-000000004.arrow").unlink()
    found = go(0, 1)
    assert made[5:] == [("a", 4)]
    assert [shards.MappedRows(found[name]).table["number"].to_pylist() for name in "ab"] == [
        list(range(10)),
        list(range(5)),
    ]


def test_latents_of_another_version_are_refused(tiny_world, foundation, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(latents, "VERSION", 0)
        encode(foundation, "tiny-train")
    with pytest.raises(DataError, match="made by another version.*mperceiver encode tiny tiny-train"):
        CachedLatents("tiny", "tiny-train")


# ---------------------------------------------------------------- what stage 2 samples


def test_sampled_latents_are_cached(tiny_world, foundation):
    encode(foundation, "tiny-train")
    calls = []

    def restore(lq, embedding, probabilities, noise, fresh):
        calls.append((lq, embedding, noise, fresh(), probabilities))
        return lq + noise

    folder, cached = Path("results/resume/x/latents"), CachedLatents("tiny", "tiny-train")
    (first,) = sample_latents(folder, restore, [cached], [JUDGED], 42, "key", "x")
    lq, embedding, noise, more, probabilities = calls[0]
    assert torch.equal(probabilities, JUDGED)
    assert len(calls) == 1 and len(first) == 18 and first[3].dtype == torch.float16 and first[3].shape == cached.shape
    assert torch.equal(lq, every(cached.lq).float()) and torch.equal(embedding, every(cached.embedding))
    assert torch.equal(all_of(first), (lq + noise).half())
    assert noise.std().item() == pytest.approx(1, abs=0.05) and not torch.equal(noise, more)
    (again,) = sample_latents(folder, restore, [cached], [JUDGED], 42, "key", "x")
    assert len(calls) == 1 and torch.equal(all_of(first), all_of(again))
    sample_latents(
        folder, restore, [cached], [JUDGED], 42, "another key", "x"
    )  # other weights, another sampler: not taken
    assert len(calls) == 2 and torch.equal(calls[1][2], noise)  # noise knows nothing of what ran before
    sample_latents(folder, restore, [cached], [JUDGED], 43, "third key", "x")
    assert not torch.equal(calls[2][2], noise)


def test_killed_sampling_goes_on_with_the_part_it_was_at(tiny_world, foundation, monkeypatch):
    encode(foundation, "tiny-train")
    monkeypatch.setattr(shards, "SHARD_ROWS", 4)
    monkeypatch.setattr(latents, "BATCH", 2)
    cached, folder, calls = CachedLatents("tiny", "tiny-train"), Path("results/resume/x/latents"), []

    def restore(lq, embedding, probabilities, noise, fresh):
        calls.append(lq)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return lq + noise

    with pytest.raises(KeyboardInterrupt):
        sample_latents(folder, restore, [cached], [JUDGED], 1, "key", "x")
    assert sorted(path.name for path in folder.iterdir()) == [
        "key.txt",
        "tiny-train-000000000.arrow",
        "tiny-train-000000000.sha256",
        "tiny-train-000000004.arrow",
        "tiny-train-000000004.sha256",
    ]
    (resumed,) = sample_latents(folder, restore, [cached], [JUDGED], 1, "key", "x")
    assert len(calls) == 6 + 5  # the third part anew, and the two after it
    (straight,) = sample_latents(Path("results/resume/y"), restore, [cached], [JUDGED], 1, "key", "y")
    assert torch.equal(all_of(resumed), all_of(straight))


@pytest.mark.parametrize("damage", ["changed", "cut", "no digest"])
def test_a_part_that_has_changed_is_made_again(tiny_world, foundation, monkeypatch, damage, capfd):
    encode(foundation, "tiny-train")
    monkeypatch.setattr(shards, "SHARD_ROWS", 4)
    cached, folder, calls = CachedLatents("tiny", "tiny-train"), Path("results/resume/x"), []

    def restore(lq, embedding, probabilities, noise, fresh):
        calls.append(len(lq))
        return lq + noise

    (sound,) = sample_latents(folder, restore, [cached], [JUDGED], 1, "key", "x")
    expected = all_of(sound).clone()
    part = folder / "tiny-train-000000004.arrow"
    data = part.read_bytes()
    if damage == "no digest":
        part.with_suffix(".sha256").unlink()
    else:
        part.write_bytes(data[:-100] if damage == "cut" else data[:3000] + bytes([data[3000] ^ 1]) + data[3001:])
    calls.clear()
    (again,) = sample_latents(folder, restore, [cached], [JUDGED], 1, "key", "x")
    assert calls == [4] and torch.equal(all_of(again), expected) and part.read_bytes() == data
    assert "tiny-train-000000004.arrow: not as it was written; its rows are made again" in "".join(capfd.readouterr())


@pytest.mark.parametrize("wanted", [[2, 3, 7, 16, 17], [0], list(range(18)), []])
def test_a_few_latents_are_those_that_sampling_all_gives(tiny_world, foundation, monkeypatch, wanted):
    encode(foundation, "tiny-train")
    monkeypatch.setattr(shards, "SHARD_ROWS", 5)  # batches of 3 and 2
    monkeypatch.setattr(latents, "BATCH", 3)
    cached, seen = CachedLatents("tiny", "tiny-train"), []

    def restore(lq, embedding, probabilities, noise, fresh):
        seen.append(len(lq))
        return lq + noise + 2 * fresh() + 4 * fresh() + (embedding.mean(1) + probabilities[:, 0]).view(-1, 1, 1, 1)

    (every_one,) = sample_latents(Path("results/resume/x"), restore, [cached], [JUDGED], 42, "key", "x")
    assert sum(seen) == 18
    (few,) = sample_latents(Path("results/resume/y"), restore, [cached], [JUDGED], 42, "key", "y", [wanted])
    assert sum(seen) == 18 + max(len(wanted), 1)
    for row in wanted:
        assert torch.equal(few[row], every_one[row])
    with pytest.raises(KeyError):
        _ = few[4 if len(wanted) < 18 else 18]
    sample_latents(Path("results/resume/y"), restore, [cached], [JUDGED], 42, "key", "y", [wanted])
    assert sum(seen) == 18 + max(len(wanted), 1), "kept for the next call"
    sample_latents(Path("results/resume/y"), restore, [cached], [JUDGED], 42, "key", "y", [[5]])
    assert sum(seen) == 19 + max(len(wanted), 1), "other steps draw other crops"


def all_of(found) -> torch.Tensor:
    return torch.stack([found[i] for i in range(len(found))])
