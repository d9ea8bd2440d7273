"""Which parts of a picture the degradation predictor sees, and what is made of what it says of each."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from mperceiver.config.modules import ModelConfig
from mperceiver.models.predictor import MOST_CROPS, DegradationPredictor, estimate_degradations


@pytest.fixture
def seen() -> list[torch.Tensor]:
    """The pictures that the image tower gets, in order."""
    return []


@pytest.fixture
def tower(seen) -> SimpleNamespace:
    """A tower whose embedding of a picture is the mean of each of its channels."""

    def embed(pictures: torch.Tensor) -> torch.Tensor:
        seen.extend(pictures)
        return pictures.mean((2, 3))

    return SimpleNamespace(embed=embed)


@pytest.fixture
def predictor() -> DegradationPredictor:
    """An untrained predictor of four degradations."""
    torch.manual_seed(0)
    return DegradationPredictor(3, 4, ModelConfig(predictor_hidden=8)).eval()


def places(side: tuple[int, int]) -> torch.Tensor:
    """A picture (1, 3, H, W) whose first channel is the row of each pixel and whose second one is its column."""
    rows, columns = torch.meshgrid(*(torch.arange(float(n)) for n in side), indexing="ij")
    return torch.stack([rows, columns, torch.zeros(side)])[None]


@pytest.mark.parametrize("side", [(16, 16), (32, 48), (64, 64)])
def test_crops_cover_a_picture(side, seen, tower, predictor):
    found = estimate_degradations(tower, predictor, places(side), 8)
    at = {(int(crop[0, y, 0]), int(crop[1, 0, x])) for crop in seen for y in range(8) for x in range(8)}
    assert at == {(y, x) for y in range(side[0]) for x in range(side[1])}
    embeddings = torch.stack([crop.mean((1, 2)) for crop in seen])
    assert torch.allclose(found.embedding[0], embeddings.mean(0))
    assert torch.allclose(found.probabilities[0], predictor(embeddings).mean(0).softmax(0))


def test_temperature_is_of_several_crops_alone(tower, predictor):
    predictor.temperature = 0.5
    found = estimate_degradations(tower, predictor, places((16, 16)), 8).probabilities[0]
    embeddings = torch.tensor([[y + 3.5, x + 3.5, 0] for y in (0, 8) for x in (0, 8)])
    assert torch.allclose(found, (2 * predictor(embeddings).mean(0)).softmax(0))
    whole = estimate_degradations(tower, predictor, places((16, 16))).probabilities
    assert torch.allclose(whole, predictor(torch.tensor([[7.5, 7.5, 0]])).softmax(1))


def test_that_nothing_is_wrong_counts_for_all_degradations_alike(tower):
    torch.manual_seed(0)
    predictor = DegradationPredictor(3, 4, ModelConfig(predictor_hidden=8, predictor_clean=True)).eval()
    embeddings = torch.randn(5, 3)
    five = predictor(embeddings).softmax(1)
    assert five.shape == (5, 5) and five[:, 4].min() > 0
    assert torch.allclose(predictor.probabilities(embeddings), five[:, :4] + five[:, 4:] / 4)
    at_once, by_crops = (estimate_degradations(tower, predictor, places((8, 8)), crop) for crop in (None, 8))
    for found in (at_once, by_crops):
        assert torch.allclose(found.clean, predictor(found.embedding).softmax(1)[:, 4])


def test_without_a_class_for_it_nothing_is_said_of_a_clean_picture(tower, predictor):
    assert estimate_degradations(tower, predictor, places((8, 8)), 8).clean is None


@pytest.mark.parametrize("side", [(112, 144), (8, 4000), (4000, 8), (24, 320), (800, 1200)])
def test_of_a_large_picture_they_are_a_few_from_everywhere(side, seen, tower, predictor):
    estimate_degradations(tower, predictor, places(side), 8)
    assert MOST_CROPS * 0.75 <= len(seen) <= MOST_CROPS and all(crop.shape == (3, 8, 8) for crop in seen)
    for axis, length in enumerate(side):
        starts = sorted({int(crop[axis].min()) for crop in seen})
        assert len(starts) * len({int(crop[1 - axis].min()) for crop in seen}) == len(seen), "no grid"
        gaps = [b - a for a, b in pairwise(starts)]
        assert not gaps or max(gaps) - min(gaps) <= 8, "not even"
        assert starts[0] <= max(gaps, default=8) and starts[-1] + 8 >= length - max(gaps, default=8)


def test_each_picture_is_judged_by_itself(tower, predictor):
    pictures = torch.rand(2, 3, 24, 16, generator=torch.Generator().manual_seed(1))
    together = estimate_degradations(tower, predictor, pictures, 8)
    for i, picture in enumerate(pictures):
        alone = estimate_degradations(tower, predictor, picture[None], 8)
        # On some processors a sum over a larger batch is added up in another order.
        torch.testing.assert_close(together.probabilities[i], alone.probabilities[0])
        torch.testing.assert_close(together.embedding[i], alone.embedding[0])


def test_a_picture_smaller_than_a_crop_is_seen_whole(seen, tower, predictor):
    estimate_degradations(tower, predictor, places((6, 20)), 8)
    assert [crop.shape for crop in seen] == [(3, 6, 20)]
