"""Which crops stage 3 samples latents of: those that its steps draw, and no others in a short training."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mperceiver.config.runs import Stage
from mperceiver.data.read.mixture import Mixture
from mperceiver.training.loop import turns
from mperceiver.training.prefetch import drawn_batches
from mperceiver.training.stages.drm import drawn_rows


class Rows(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.tasks)


def stage(**keys) -> Stage:
    phases = [{"share": 0.5, "batch": 3, "crop_px": 16}, {"share": 0.5, "batch": 5, "crop_px": 16}]
    return Stage.model_validate({"steps": 8, "phases": phases, "accumulate": 2} | keys)


@pytest.fixture
def mixture() -> Mixture:
    datasets = [Rows(name=f"d{n}", tasks=["haze", "rain"] * n, per_picture=1) for n in (200, 50)]
    return Mixture(datasets, ["haze", "rain"])


def test_the_rows_are_those_that_the_training_draws(mixture):
    spec, drawn = stage(), [set(), set()]

    def draw(rng: np.random.Generator, phase) -> dict:
        for d, row in mixture.draw(rng, phase.batch):
            drawn[d].add(row)
        rng.random(7)  # whatever the batch draws further
        return {}

    everything = turns(spec, 11, 0, range(2))
    with drawn_batches(draw, everything, torch.device("cpu")) as batches:
        assert sum(1 for _ in batches) == 16
    assert drawn_rows(mixture, spec, 11) == [sorted(rows) for rows in drawn]
    assert drawn_rows(mixture, spec, 12) != drawn_rows(mixture, spec, 11)


def test_a_long_training_samples_all(mixture):
    assert drawn_rows(mixture, stage(steps=400), 11) is None
    assert drawn_rows(mixture, stage(cpu_seconds=60.0), 11) is None, "its steps are not known before"
