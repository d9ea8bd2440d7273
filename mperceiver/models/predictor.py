"""Degradation predictor: probabilities of the N degradations from the pooled CLIP embedding (section 3.1, Fig. 3)."""

import torch
from torch import Tensor, nn

from mperceiver.config import Run
from mperceiver.models.foundation import Foundation


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


def build_predictor(foundation: Foundation, run: Run) -> DegradationPredictor:
    return DegradationPredictor(foundation.embedding_width, run.model.predictor_hidden, len(run.tasks))
