"""Degradation predictor: probabilities of the N degradations, from the pooled CLIP embedding (section 3.1, Fig. 3)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mperceiver import images
from mperceiver.config.modules import ModelConfig
from mperceiver.config.runs import Run
from mperceiver.models.towers import Towers

# The most pixels of all crops that CLIP gets at once. With four times as many, a crop takes 1.7 times as long on a CPU.
CROP_PIXELS = 2**16
# The most crops of a picture that CLIP sees: they tell a photograph's degradation as well as the hundreds that would cover it.
MOST_CROPS = 64


class DegradationPredictor(nn.Module):
    """Linear-ReLU-Linear: e_img (B, C_clip) -> logits (B, N). 529,417 parameters at 1024-512-9.

    With ``predictor_clean`` of the run's model, the logits are (B, N + 1): the last class is a clean picture.
    """

    def __init__(self, embedding_width: int, count: int, spec: ModelConfig) -> None:
        """``count``: N, the number of degradations."""
        super().__init__()
        self.count, self.temperature = count, spec.predictor_temperature
        self.hidden = nn.Linear(embedding_width, spec.predictor_hidden)
        self.dropout = nn.Dropout(spec.predictor_dropout)
        self.out = nn.Linear(spec.predictor_hidden, count + spec.predictor_clean)

    def forward(self, embedding: Tensor) -> Tensor:
        return self.out(self.dropout(self.hidden(embedding).relu()))

    def probabilities(self, embedding: Tensor) -> Tensor:
        """P of one crop or picture each: e_img (B, C_clip) -> (B, N)."""
        return self.shared_out(self(embedding).softmax(dim=1))

    def classes(self, logits: Tensor) -> Tensor:
        """Probabilities of all classes, from the mean logits of several crops of each picture: (B, N or N + 1) -> the same."""
        return (logits / self.temperature).softmax(dim=1)

    def shared_out(self, classes: Tensor) -> Tensor:
        """P, in which the probability that a picture is clean is shared out evenly: (B, N or N + 1) -> (B, N)."""
        return classes[:, : self.count] + classes[:, self.count :].sum(1, keepdim=True) / self.count

    def clean(self, classes: Tensor) -> Tensor | None:
        """The probability that a picture is clean; None without a class for that: (B, N or N + 1) -> (B,)."""
        return classes[:, self.count] if classes.shape[1] > self.count else None

    @torch.no_grad()
    def fold_standardisation(self, mean: Tensor, deviation: Tensor) -> None:
        """Make (x - mean) / deviation, (C_clip,) each, part of the first layer.

        A predictor that was trained on standardised embeddings then gives the same logits for raw ones.
        """
        self.hidden.weight.div_(deviation)
        self.hidden.bias.sub_(self.hidden.weight @ mean)


def build_predictor(foundation: Towers, run: Run) -> DegradationPredictor:
    """An untrained predictor of the run's tasks."""
    return DegradationPredictor(foundation.embedding_width, len(run.tasks), run.model)


@dataclass
class DegradationEstimate:
    """What CLIP and the predictor say of whole pictures."""

    embedding: Tensor  # e_img (B, C_clip)
    probabilities: Tensor  # P (B, N)
    clean: Tensor | None = None  # probability that nothing is wrong (B,), by a predictor that has a class for it


@torch.no_grad()
def estimate_degradations(
    foundation: Towers, predictor: DegradationPredictor, pictures: Tensor, crop_px: int | None = None
) -> DegradationEstimate:
    """Estimate the degradations of whole pictures (B, 3, H, W) in [0, 1].

    With ``crop_px``, CLIP sees crops of that side, and embeddings and logits are averaged over them. The crops cover the picture; if that
    would take more than MOST_CROPS crops, at most that many are spread over it evenly.
    """
    if crop_px is None or min(pictures.shape[-2:]) < crop_px:
        embedding = foundation.embed(pictures)
        return _estimate(predictor, embedding, predictor(embedding).softmax(dim=1))
    tops, lefts = _spread(*(images.tiles(side, crop_px, 0) for side in pictures.shape[-2:]))
    together = max(1, CROP_PIXELS // crop_px**2)
    of_pictures = []
    for picture in pictures:  # each by itself, so that its last bits do not depend on what is restored with it
        crops = torch.stack([picture[:, y : y + crop_px, x : x + crop_px] for y in tops for x in lefts])
        of_pictures.append(torch.cat([foundation.embed(batch) for batch in crops.split(together)]))
    embeddings = torch.stack(of_pictures)  # (B, crops, C_clip)
    logits = predictor(embeddings.flatten(0, 1)).unflatten(0, embeddings.shape[:2])
    return _estimate(predictor, embeddings.mean(1), predictor.classes(logits.mean(1)))


def _estimate(predictor: DegradationPredictor, embedding: Tensor, classes: Tensor) -> DegradationEstimate:
    return DegradationEstimate(embedding, predictor.shared_out(classes), predictor.clean(classes))


def _spread(tops: list[int], lefts: list[int]) -> tuple[list[int], list[int]]:
    """The rows and columns of a grid of crops, thinned out evenly where the grid has more than MOST_CROPS crops."""
    share = min(1.0, (MOST_CROPS / (len(tops) * len(lefts))) ** 0.5)
    rows = min(max(1, int(len(tops) * share)), MOST_CROPS)
    columns = min(len(lefts), MOST_CROPS // rows)
    rows = min(len(tops), MOST_CROPS // columns)
    return _evenly(tops, rows), _evenly(lefts, columns)


def _evenly(starts: list[int], count: int) -> list[int]:
    """``count`` of the ``starts``, from the middle of ``count`` equal parts."""
    return [starts[int((i + 0.5) * len(starts) / count)] for i in range(count)]
