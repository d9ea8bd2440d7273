"""Which probabilities the DRM is trained with: a picture's of which the crop may be one, and for a share of the crops those of another crop."""

from types import SimpleNamespace

import pytest
import torch

from mperceiver.config.runs import ModelConfig, Phase, Stage
from mperceiver.models.predictor import DegradationPredictor
from mperceiver.training.stages import drm

CROPS = 500


def stage(**changes) -> Stage:
    return Stage(steps=1, phases=[Phase(batch=1, crop_px=16)], **changes)


class Latents(list):
    """Embeddings by row, as CachedLatents gives them."""

    crops = SimpleNamespace(name="some", kind=lambda row: ("haze" if row % 3 else "rain",))

    def embedding(self, i: int) -> torch.Tensor:
        return self[i]


@pytest.fixture
def world() -> tuple[DegradationPredictor, Latents, torch.Tensor]:
    """A predictor, the embeddings of 500 crops, and its probabilities of them."""
    torch.manual_seed(0)
    predictor, embeddings = DegradationPredictor(6, 4, ModelConfig(predictor_hidden=8)).eval(), torch.randn(CROPS, 6)
    return predictor, Latents(embeddings), predictor.probabilities(embeddings).detach()


def test_without_a_share_they_are_the_predictors(world, monkeypatch):
    predictor, latents, expected = world
    monkeypatch.setattr(drm, "EMBEDDINGS_AT_ONCE", 64)
    found = drm.judgements(predictor, latents, stage(), 2)
    assert torch.allclose(found, expected, atol=1e-6) and not found.requires_grad


def test_a_share_has_those_of_another_crop(world):
    predictor, latents, expected = world
    found = drm.judgements(predictor, latents, stage(misjudged_share=0.3), 2)
    changed = (found - expected).abs().amax(1) > 1e-6
    assert 0.25 < changed.float().mean() < 0.35
    for row in found[changed]:
        assert (expected - row).abs().amax(1).min() < 1e-6, "it is no crop's"
    assert torch.equal(found, drm.judgements(predictor, latents, stage(misjudged_share=0.3), 2)), (
        "another call, other crops"
    )
    other = (drm.judgements(predictor, latents, stage(misjudged_share=0.3), 3) - expected).abs().amax(1) > 1e-6
    assert not torch.equal(changed, other), "the seed does nothing"


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_a_crop_is_judged_with_others_of_its_kind(world, monkeypatch, temperature):
    """Of up to four: a third of the crops is judged alone, the others with 1 or 3 others, whose kind they share."""
    predictor, latents, _ = world
    monkeypatch.setattr(predictor, "temperature", temperature)
    logits = predictor(torch.stack(list(latents))).detach()
    of_kind = torch.tensor([latents.crops.kind(row) == ("haze",) for row in range(CROPS)])
    logits[of_kind] += 100 * torch.eye(4)[0]  # so that a crop of the other kind would show
    monkeypatch.setattr(predictor, "forward", lambda embeddings: logits[: len(embeddings)])
    found = drm.judgements(predictor, latents, stage(judged_crops=4), 2)
    assert found.sum(1).allclose(torch.ones(CROPS))
    rest = found[:, 1:] / found[:, 1:].sum(1, keepdim=True)
    assert found[of_kind, 0].min() > 0.999 and found[~of_kind, 0].max() < 0.999 and rest[~of_kind].isfinite().all()
    alone = (found - (logits / temperature).softmax(1)).abs().amax(1)[~of_kind] < 1e-6
    assert 0.2 < alone.float().mean() < 0.46
    assert torch.equal(found, drm.judgements(predictor, latents, stage(judged_crops=4), 2))
    assert not torch.equal(found, drm.judgements(predictor, latents, stage(judged_crops=4), 3))


def test_judged_together_crops_are_surer_of_what_they_have_in_common(world, monkeypatch):
    predictor, latents, _ = world
    common = torch.eye(4)[[0 if latents.crops.kind(row) == ("haze",) else 2 for row in range(CROPS)]]
    logits = common + 2 * torch.randn(CROPS, 4, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(predictor, "forward", lambda embeddings: logits[: len(embeddings)])
    right = []
    for crops in (1, 2, 16):
        found = drm.judgements(predictor, latents, stage(judged_crops=crops), 2)
        right.append((found.argmax(1) == common.argmax(1)).float().mean().item())
    assert right[0] + 0.02 < right[1] and right[1] + 0.05 < right[2]


def test_without_others_of_its_kind_a_crop_is_judged_alone(world, monkeypatch):
    predictor, latents, expected = world
    monkeypatch.setattr(latents, "crops", SimpleNamespace(name="some", kind=lambda row: (row,)))
    assert torch.allclose(drm.judgements(predictor, latents, stage(judged_crops=16), 2), expected, atol=1e-6)
