"""Which probabilities the DRM is trained with: the predictor's, and for a share of the crops those of another crop."""

from types import SimpleNamespace

import pytest
import torch

from mperceiver.config.runs import ModelConfig
from mperceiver.models.predictor import DegradationPredictor
from mperceiver.training.stages import drm

CROPS = 500


class Latents(list):
    """Embeddings by row, as CachedLatents gives them."""

    crops = SimpleNamespace(name="some")

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
    found = drm.judgements(predictor, latents, 0.0, 2)
    assert torch.allclose(found, expected, atol=1e-6) and not found.requires_grad


def test_a_share_has_those_of_another_crop(world):
    predictor, latents, expected = world
    found = drm.judgements(predictor, latents, 0.3, 2)
    changed = (found - expected).abs().amax(1) > 1e-6
    assert 0.25 < changed.float().mean() < 0.35
    for row in found[changed]:
        assert (expected - row).abs().amax(1).min() < 1e-6, "it is no crop's"
    assert torch.equal(found, drm.judgements(predictor, latents, 0.3, 2)), "another call, other crops"
    other = (drm.judgements(predictor, latents, 0.3, 3) - expected).abs().amax(1) > 1e-6
    assert not torch.equal(changed, other), "the seed does nothing"
