"""Degradation predictor: probabilities of the N degradations from the pooled CLIP embedding (section 3.1, Fig. 3)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mperceiver import images
from mperceiver.config.runs import Run
from mperceiver.models.towers import Towers


class DegradationPredictor(nn.Module):
    """Linear-ReLU-Linear: e_img (B, C_clip) -> logits (B, N). 529,417 parameters at 1024-512-9."""

    def __init__(self, embedding_width: int, hidden: int, count: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(embedding_width, hidden)
        self.out = nn.Linear(hidden, count)

    def forward(self, embedding: Tensor) -> Tensor:
        return self.out(self.hidden(embedding).relu())

    def probabilities(self, embedding: Tensor) -> Tensor:
        """P = softmax(logits): (B, N)."""
        return self(embedding).softmax(dim=1)

    @torch.no_grad()
    def fold_standardisation(self, mean: Tensor, deviation: Tensor) -> None:
        """Take (x - mean) / deviation, on which the predictor was trained, into the first layer."""
        self.hidden.weight /= deviation
        self.hidden.bias -= self.hidden.weight @ mean


def build_predictor(foundation: Towers, run: Run) -> DegradationPredictor:
    return DegradationPredictor(foundation.embedding_width, run.model.predictor_hidden, len(run.tasks))


@dataclass
class Seen:
    """What CLIP and the predictor make of whole pictures: e_img (B, C_clip), P (B, N)."""

    embedding: Tensor
    probabilities: Tensor


@torch.no_grad()
def look(foundation: Towers, predictor: DegradationPredictor, whole: Tensor, crop_px: int | None = None) -> Seen:
    """At whole pictures (B, 3, H, W) in [0, 1], or at crops of ``crop_px`` that cover them, averaged."""
    if crop_px is None or min(whole.shape[-2:]) < crop_px:
        embedding = foundation.embed(whole)
        return Seen(embedding, predictor.probabilities(embedding))
    corners = [
        (y, x) for y in images.tiles(whole.shape[-2], crop_px, 0) for x in images.tiles(whole.shape[-1], crop_px, 0)
    ]
    embeddings = torch.stack([foundation.embed(whole[..., y : y + crop_px, x : x + crop_px]) for y, x in corners])
    logits = predictor(embeddings.flatten(0, 1)).unflatten(0, embeddings.shape[:2])
    return Seen(embeddings.mean(0), logits.mean(0).softmax(dim=1))
