"""Which probabilities the DRM is trained with: of several crops of a picture, and by predictors that have not seen its photograph."""

from types import SimpleNamespace

import pytest
import torch

from mperceiver import config
from mperceiver.config.modules import ModelConfig
from mperceiver.config.runs import Phase, Run, Stage
from mperceiver.data import DataError
from mperceiver.models.predictor import DegradationPredictor
from mperceiver.training.stages import judgements as under_test
from mperceiver.training.stages.judgements import judgements, parts_of

PICTURES, CROPS = 125, 4  # crops of each picture


def stage(**changes) -> Stage:
    return Stage(steps=1, phases=[Phase(batch=18, crop_px=16)], **changes)


class Latents(list):
    """Embeddings by row, as CachedLatents gives them; two pictures are of one photograph."""

    def __init__(self, rows, name: str = "some") -> None:
        super().__init__(rows)
        self.crops = SimpleNamespace(
            name=name,
            per_picture=CROPS,
            tasks=["rain" if i // CROPS % 2 else "haze" for i in range(len(self))],
            source=lambda i: f"lq{i // CROPS} photograph{i // CROPS // 2}",
        )

    def embedding(self, i: int) -> torch.Tensor:
        return self[i]


@pytest.fixture
def world(monkeypatch) -> tuple[DegradationPredictor, Latents, torch.Tensor]:
    """A predictor, the embeddings of 500 crops of 125 pictures, and its probabilities of them."""
    torch.manual_seed(0)
    predictor, embeddings = DegradationPredictor(6, 4, ModelConfig(predictor_hidden=8)).eval(), torch.randn(500, 6)
    monkeypatch.setattr(under_test, "trained_predictor", lambda *_: predictor.requires_grad_(False))
    return predictor, Latents(embeddings), predictor.probabilities(embeddings).detach()


def judged(latents: Latents, seed: int = 0, **changes) -> torch.Tensor:
    (found,) = judgements(
        "some", Run(title="t", train=[], foundation="f", seed=seed), stage(**changes), None, [latents], {}
    )
    return found


def test_by_default_they_are_the_predictors(world, monkeypatch):
    _, latents, expected = world
    monkeypatch.setattr(under_test, "EMBEDDINGS_AT_ONCE", 64)
    assert torch.allclose(judged(latents), expected, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_a_crop_is_judged_with_others_of_its_picture(world, monkeypatch, temperature):
    """A third of the crops alone, a third with one other, a third with the three others of the picture."""
    predictor, latents, _ = world
    monkeypatch.setattr(predictor, "temperature", temperature)
    logits = predictor(torch.stack(list(latents)))
    found = judged(latents, judged_crops=4)
    of_sets = []
    for row in range(len(latents)):
        others = [i for i in range(row // CROPS * CROPS, row // CROPS * CROPS + CROPS) if i != row]
        possible = {1: [[row]], 2: [[row, i] for i in others], 4: [[row, *others]]}
        fits = [
            count
            for count, sets in possible.items()
            for rows in sets
            if torch.allclose((logits[rows].mean(0) / temperature).softmax(0), found[row], atol=1e-6)
        ]
        of_sets += fits
        assert len(fits) == 1, row
    assert all(120 < of_sets.count(count) < 215 for count in (1, 2, 4))
    assert torch.equal(found, judged(latents, judged_crops=4))
    assert not torch.equal(found, judged(latents, 1, judged_crops=4)), "the seed does nothing"
    two = judged(latents, judged_crops=2)
    alone = (two - (logits / temperature).softmax(1)).abs().amax(1) < 1e-6
    assert 0.4 < alone.float().mean() < 0.6
    with pytest.raises(DataError, match=r"judged_crops is 5, but some has 4 crops of each picture.*encode\.crops"):
        judged(latents, judged_crops=5)


def test_the_crops_of_a_photograph_are_of_one_part_in_whatever_dataset():
    some, other = Latents(range(48)), Latents(range(24), "other")
    parts = parts_of([some, other], 3, 0)
    assert parts[0][:24].tolist() == parts[1].tolist()
    of_photograph = [set(parts[0][i : i + 2 * CROPS].tolist()) for i in range(0, 48, 2 * CROPS)]
    assert all(len(each) == 1 for each in of_photograph)
    assert sorted(each.pop() for each in of_photograph) == [0, 0, 1, 1, 2, 2]
    with pytest.raises(DataError, match=r"judged_folds is 7, but some, other has 6 photographs"):
        parts_of([some, other], 7, 0)
    some.crops.tasks = ["snow" if i < 2 * CROPS else task for i, task in enumerate(some.crops.tasks)]
    with pytest.raises(DataError, match=r"all photographs of snow in some, other are of one part"):
        parts_of([some, other], 3, 0)


# ---------------------------------------------------------------- the predictors of the parts


@pytest.fixture
def folds(world, monkeypatch):
    """What the predictors of 3 parts are trained with: (module, objective, draw), grabbed from ``fit``; the logits it leaves."""
    _, latents, _ = world
    grabbed = {}

    def fit(training, module, objective, draw):
        grabbed.update(module=module, objective=objective, draw=draw, spec=training.spec)
        for part, predictor in enumerate(module.predictors):
            predictor.out.bias.data[:] = 100.0 * torch.eye(4)[part]  # so that it shows which one judged

    class Batches:
        mixture = SimpleNamespace(
            balanced=lambda rng, per_task: [(0, int(row)) for row in rng.permutation(500)[: 9 * per_task]],
            classes=lambda rows, has_clean: torch.tensor([row % 4 for _, row in rows]).numpy(),
        )

        def __init__(self, *_) -> None:
            pass

        def statistics(self, seed):
            return torch.zeros(6), torch.ones(6)

        def read(self, rows, phase, rng):
            return {"embedding": torch.stack([latents[row] for _, row in rows])}

        def embedding(self, batch):
            return batch["embedding"]

    trained = Run(title="t", train=[], foundation="f", predictor=stage(gamma=0.0))
    monkeypatch.setattr(under_test, "fit", fit)
    monkeypatch.setattr(under_test, "CachedBatches", Batches)
    monkeypatch.setattr(
        under_test, "build_predictor", lambda *_: DegradationPredictor(6, 4, ModelConfig(predictor_hidden=8))
    )
    monkeypatch.setattr(
        under_test, "trained_predictor", lambda *_: pytest.fail("its weights are read, and judge nothing")
    )
    monkeypatch.setattr(config, "weights_of", lambda run: {"predictor": "some"})
    monkeypatch.setattr(config, "load", lambda kind, name: trained)
    monkeypatch.setattr(config, "path_of", lambda kind, name: f"config/{kind}/{name}.yaml")
    return grabbed, latents


def test_a_crop_is_judged_by_the_predictor_of_its_part(folds):
    _, latents = folds
    (part,) = parts_of([latents], 3, 3)
    found = judged(latents, judged_folds=3)
    assert found.argmax(1).tolist() == part.tolist() and found.amax(1).min() > 0.99


def test_the_random_numbers_of_other_gpus_are_left_alone(folds, monkeypatch):
    """torch warns where a fork saves those of several GPUs, and the warning would be an error here."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    judged(folds[1], judged_folds=3)


def test_a_predictor_learns_nothing_from_its_part(folds):
    """Other embeddings and labels of a part leave the gradient of that part's predictor as it is, and change all others."""
    import numpy as np

    grabbed, latents = folds
    judged(latents, judged_folds=3)
    module, objective = grabbed["module"].eval().requires_grad_(True), grabbed["objective"]
    batch = grabbed["draw"](np.random.default_rng(0), grabbed["spec"].phases[0])
    assert {0, 1, 2} == set(batch["part"].tolist()) and len(batch["part"]) == 18

    def gradients(batch) -> list[torch.Tensor]:
        module.zero_grad()
        objective(module, batch, torch.Generator(), grabbed["spec"].phases[0], 0)["loss"].backward()
        return [predictor.hidden.weight.grad.clone() for predictor in module.predictors]

    before = gradients(batch)
    assert all(gradient.abs().max() > 0 for gradient in before)
    for part in range(3):
        own = batch["part"] == part
        changed = batch | {
            "embedding": torch.where(own[:, None], -batch["embedding"], batch["embedding"]),
            "labels": torch.where(own, (batch["labels"] + 1) % 4, batch["labels"]),
        }
        same = [torch.equal(a, b) for a, b in zip(before, gradients(changed), strict=True)]
        assert same == [k == part for k in range(3)]
    alone = {name: value[batch["part"] == 0] for name, value in batch.items()}  # a batch of one part only
    first, *others = gradients(alone)
    assert first.abs().max() == 0 and all(gradient.abs().max() > 0 for gradient in others)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"predictor": None}, "was converted, not trained"),
        ({"train": ["other"]}, "was trained on other datasets"),
        ({"tasks": ["rain"]}, "has other tasks"),
        ({"model": ModelConfig(predictor_hidden=9)}, "has other settings in `model`"),
        ({"start_from": "before"}, "starts from the weights of run before"),
        ({"cached": False}, r"was trained on random crops \(`cached: false`\)"),
        ({"predictor": stage(cpu_seconds=40.0)}, r"was trained for a CPU time \(`cpu_seconds`\)"),
    ],
)
def test_a_training_that_cannot_be_repeated_is_refused(folds, monkeypatch, changes, reason):
    _, latents = folds
    first = Run(title="t", train=[], foundation="f", predictor=stage()).model_copy(update=changes)
    monkeypatch.setattr(config, "load", lambda kind, name: first)
    with pytest.raises(
        config.ConfigError, match=rf"config/runs/some\.yaml: drm\.judged_folds .* that of run some {reason}; remove"
    ):
        judged(latents, judged_folds=3)


def test_the_pictures_of_a_step_do_not_depend_on_how_it_is_shared(folds):
    """Steps of as many batches as stage 3 has, whatever the number of processes; as many pictures of each task as in stage 1."""
    grabbed, latents = folds
    shapes = {}
    for accumulate in (1, 2, 3):
        judged(latents, judged_folds=3, accumulate=accumulate)
        shapes[accumulate] = (grabbed["spec"].accumulate, grabbed["spec"].phases[0].batch)
    assert shapes == {1: (1, 18), 2: (2, 9), 3: (3, 9)}  # two of each of nine tasks, and one at least


def test_the_random_numbers_of_stage_3_are_those_without_folds(folds):
    """Without folds, the run's predictor is built before its weights are loaded."""
    _, latents = folds
    torch.manual_seed(5)
    under_test.build_predictor()
    expected = torch.rand(3)
    torch.manual_seed(5)
    judged(latents, judged_folds=3)
    assert torch.equal(torch.rand(3), expected)
