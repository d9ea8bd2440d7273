"""The loop, the losses and the real stages: every way of being stopped ends in the bytes of a training that was not."""

import csv
import io
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mperceiver import config, lineage
from mperceiver.config import Losses, Stage
from mperceiver.training import losses as objectives
from mperceiver.training.loop import TrainingError, _groups, fit, learning_rate

# ---------------------------------------------------------------- a toy


def stage(**changes) -> Stage:
    base = {"steps": 12, "phases": [{"batch": 8, "crop_px": 8}], "lr": 1e-2, "lr_end": 1e-4, "warmup_steps": 2}
    return Stage.model_validate(base | {"save_every_steps": 5} | changes)


def toy() -> nn.Module:
    """A network with a buffer (the norm's running mean) and a frozen layer."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16), nn.Linear(16, 2))
    module[3].requires_grad_(False)
    return module


def regress(module, rng, generator, phase, step) -> dict[str, torch.Tensor]:
    """A noisy regression; it draws from both generators."""
    x = torch.from_numpy(rng.standard_normal((phase.batch, 4), dtype=np.float32))
    y = x[:, :2] * x[:, 2:] + 0.1 * torch.randn(phase.batch, 2, generator=generator)
    loss = F.mse_loss(module(x), y)
    return {"loss": loss, "loss_twice": 2 * loss}


def train_toy(resume: Path, spec: Stage | None = None, objective=regress, **options) -> nn.Module:
    module = toy()
    fit("toy", module, objective, spec or stage(), seed=1, resume=resume, **options)
    return module


def equal(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules are the same to the last bit, buffers too."""
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def at(step: int, act, objective=regress):
    """``objective``, with ``act()`` during one step; ``steps``: all that were gone through."""

    def losses(module, rng, generator, phase, now):
        losses.steps.append(now)
        if now == step:
            act()
        return objective(module, rng, generator, phase, now)

    losses.steps = []
    return losses


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def kill_at_seven(resume: str) -> None:
    """Run in a process of its own: the toy's training, killed in the middle of step 7."""
    train_toy(Path(resume), objective=at(7, lambda: os.kill(os.getpid(), signal.SIGKILL)))


# ---------------------------------------------------------------- schedule


def test_learning_rate_is_golden():
    spec = stage(steps=110, warmup_steps=10, lr=1e-3, lr_end=1e-5)
    golden = {0: 1e-4, 4: 5e-4, 9: 1e-3, 10: 1e-3, 35: 8.550178566873412e-4, 60: 5.05e-4, 85: 1.549821433126588e-4}
    for step, rate in golden.items():
        assert learning_rate(spec, step) == pytest.approx(rate, rel=1e-12), step
    assert 1e-5 < learning_rate(spec, 109) < 1.03e-5
    rates = [learning_rate(spec, step) for step in range(10, 110)]
    assert rates == sorted(rates, reverse=True)


def test_learning_rate_of_the_paper():
    """1e-4 to 1e-6 by a cosine, no warm-up: the defaults."""
    spec = Stage(steps=1000, phases=[{"batch": 1, "crop_px": 8}])
    assert learning_rate(spec, 0) == 1e-4
    assert learning_rate(spec, 500) == pytest.approx(5.05e-5)
    assert learning_rate(spec, 1000) == pytest.approx(1e-6)


def test_each_step_has_its_learning_rate(tmp_path):
    """The optimiser gets the rate of the step; no decay and a gradient of constant sign: Adam's step is the rate itself."""
    module, path = nn.Linear(1, 1, bias=False), []

    def down(module, rng, generator, phase, step):
        path.append(module.weight.item())
        return {"loss": module.weight.sum()}

    spec = stage(weight_decay=0)
    fit("down", module, down, spec, seed=0, resume=tmp_path / "s.pt")
    path.append(module.weight.item())
    assert -np.diff(path) == pytest.approx([learning_rate(spec, step) for step in range(12)], rel=1e-3)


def test_phases_follow_each_other(tmp_path):
    spec = stage(
        steps=10,
        phases=[
            {"share": 0.25, "batch": 2, "crop_px": 8},
            {"share": 0.35, "batch": 3, "crop_px": 16},
            {"share": 0.4, "batch": 4, "crop_px": 32},
        ],
    )
    seen = []

    def losses(module, rng, generator, phase, step):
        seen.append((phase.batch, phase.crop_px))
        return regress(module, rng, generator, phase, step)

    train_toy(tmp_path / "s.pt", spec, losses)
    assert seen == [(2, 8)] * 2 + [(3, 16)] * 4 + [(4, 32)] * 4


def test_curve(tmp_path):
    spec = stage(steps=120)
    found = []

    def losses(module, rng, generator, phase, step):
        found.append(regress(module, rng, generator, phase, step))
        return found[-1] | ({"loss_late": found[-1]["loss"]} if step >= 60 else {})

    text = fit("toy", toy(), losses, spec, seed=1, resume=tmp_path / "s.pt")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["step", "lr", "loss", "loss_twice", "pictures_per_s", "gib", "loss_late"]
    assert [row["step"] for row in rows] == ["50", "100", "120"]
    for row, part in zip(rows, (found[:50], found[50:100], found[100:]), strict=True):
        assert float(row["loss"]) == pytest.approx(np.mean([f["loss"].item() for f in part]), rel=1e-4)
        assert float(row["loss_twice"]) == pytest.approx(2 * float(row["loss"]), rel=1e-4)
        assert float(row["lr"]) == pytest.approx(learning_rate(spec, int(row["step"]) - 1), rel=1e-4)
        assert float(row["pictures_per_s"]) > 0 and float(row["gib"]) > 0
    assert [bool(row["loss_late"]) for row in rows] == [False, True, True]
    assert float(rows[2]["loss"]) < float(rows[0]["loss"])  # it learns


def test_weight_decay_spares_norms_biases_gates_and_prompts(foundation, tiny_run):
    from mperceiver.models.branches import Branches
    from mperceiver.models.drm import DetailRefinement

    gated = tiny_run.model.model_copy(update={"modulation": "identity_gate"})
    whole = nn.ModuleDict(
        {
            "branches": Branches(foundation, 9, gated),
            "drm": DetailRefinement(foundation.vae, 9, tiny_run.model),
            "toy": toy(),
        }
    )
    decayed, spared = _groups(whole, stage(weight_decay=0.3))
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.3, 0.0)
    names = {id(parameter): name for name, parameter in whole.named_parameters()}
    decayed, spared = ({names[id(p)] for p in group["params"]} for group in (decayed, spared))
    assert decayed | spared == {name for name, p in whole.named_parameters() if p.requires_grad}
    assert not decayed & spared
    # What is decayed are weights of linear layers and convolutions.
    modules = dict(whole.named_modules())
    bare = {"branches.textual.cm_adapter.qkv", "branches.textual.cm_adapter.out_weight"}  # N linear layers in one
    for name in decayed - bare:
        owner, _, leaf = name.rpartition(".")
        assert leaf == "weight" and isinstance(modules[owner], nn.Linear | nn.Conv2d), name
    assert bare <= decayed
    must = ["branches.textual.tp_pool", "branches.ir_adapter.vp_pool", "branches.textual.cm_adapter.out_bias"]
    must += ["drm.levels.1.vp_pool", "drm.levels.1.naf.0.beta", "drm.levels.1.naf.0.gamma", "toy.1.weight"]
    must += [
        "branches.modulation.modulators.mid_block_resnets_0.gate",
        "branches.ir_adapter.modulators.0.norm_features.weight",
    ]
    assert spared >= set(must)
    assert not any(name.startswith("toy.3") for name in decayed | spared)  # frozen


def test_weight_decay_is_applied(tmp_path):
    """With no gradient only the decay moves a weight, by (1 - lr * decay) a step."""
    module = nn.Linear(2, 2)
    before, bias = module.weight.detach().clone(), module.bias.detach().clone()
    spec = stage(weight_decay=0.5, lr=0.1, lr_end=0.1, warmup_steps=0, steps=3)
    fit("still", module, lambda m, *_: {"loss": 0 * m(torch.ones(1, 2)).sum()}, spec, seed=0, resume=tmp_path / "s.pt")
    assert torch.allclose(module.weight, before * (1 - 0.1 * 0.5) ** 3, atol=1e-6)
    assert torch.equal(module.bias, bias)


def test_nothing_to_train_is_told(tmp_path):
    with pytest.raises(TrainingError, match="no parameter requires a gradient"):
        fit("none", nn.Linear(1, 1).requires_grad_(False), regress, stage(), seed=0, resume=tmp_path / "s.pt")


# ---------------------------------------------------------------- steps


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_batches_are_one_larger_batch(tmp_path, parts):
    x = torch.randn(12, 8, 4, generator=torch.Generator().manual_seed(0))
    batch = 8 // parts
    calls = []

    def some(module, rng, generator, phase, step):
        part = len(calls) % parts
        calls.append(step)
        mine = x[step, part * batch : (part + 1) * batch]
        return {"loss": F.mse_loss(module(mine), mine[:, :2] * mine[:, 2:])}

    def whole(module, rng, generator, phase, step):
        return {"loss": F.mse_loss(module(x[step]), x[step, :, :2] * x[step, :, 2:])}

    def network() -> nn.Module:  # no batch statistics, which do depend on the batch
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))

    one, other = network(), network()
    spec = stage(accumulate=parts, phases=[{"batch": batch, "crop_px": 8}])
    fit("parts", one, some, spec, seed=0, resume=tmp_path / "parts.pt")
    fit("whole", other, whole, stage(), seed=0, resume=tmp_path / "whole.pt")
    assert calls == [step for step in range(12) for _ in range(parts)]
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_accumulated_batches_draw_different_numbers(tmp_path):
    drawn = []

    def losses(module, rng, generator, phase, step):
        drawn.append((rng.random(), torch.rand(1, generator=generator).item()))
        return regress(module, rng, generator, phase, step)

    train_toy(tmp_path / "s.pt", stage(steps=3, accumulate=4), losses)
    assert len({x for x, _ in drawn}) == len({y for _, y in drawn}) == len(drawn) == 12


def test_gradients_are_clipped(tmp_path):
    """Adam hides a gradient's length from its first step, not from its memory: a burst counts as a unit vector."""
    seen = []

    def losses(module, rng, generator, phase, step):
        if step == 1:
            seen.append(module.weight.detach().clone())
        return {"loss": (1e6 if step == 0 else 1.0) * module(torch.ones(1, 2)).sum()}

    module = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(module.weight)
    spec = stage(steps=2, warmup_steps=0, lr=1.0, lr_end=1.0, weight_decay=0, clip_norm=1.0, betas=(0.5, 0.5))
    fit("burst", module, losses, spec, seed=0, resume=tmp_path / "s.pt")
    # both gradients are (1, 1) / sqrt(2) after clipping, so both steps are of the rate's size
    assert torch.allclose(seen[0], torch.full((1, 2), -1.0), atol=1e-4)
    assert torch.allclose(module.weight, torch.full((1, 2), -2.0), atol=1e-4)


def test_loss_that_is_no_number_stops_with_its_step(tmp_path):
    """The last state before it is kept, and the next try does not begin anew."""

    def losses(module, rng, generator, phase, step):
        found = regress(module, rng, generator, phase, step)
        return found | {"loss": found["loss"] * (math.nan if step == 7 else 1)}

    resume = tmp_path / "s.pt"
    with pytest.raises(TrainingError, match=r"toy: loss is nan at step 7; a lower `lr`"):
        train_toy(resume, objective=losses)
    mended = at(-1, None)
    module = train_toy(resume, objective=mended)
    assert mended.steps == list(range(5, 12))
    assert equal(module, train_toy(tmp_path / "straight.pt"))


def test_same_seed_same_bits(tmp_path):
    one, other = train_toy(tmp_path / "a.pt"), train_toy(tmp_path / "b.pt")
    assert equal(one, other)
    third = toy()
    fit("toy", third, regress, stage(), seed=2, resume=tmp_path / "c.pt")
    assert not equal(one, third)


# ---------------------------------------------------------------- stopping and going on


@pytest.mark.parametrize("k", [0, 4, 5, 11])
def test_sigterm_then_resume_is_straight_through(tmp_path, k, capsys):
    """The step in which the signal comes is finished, the process exits with 143, and the same command goes on."""
    resume = tmp_path / "deep/s.pt"
    before = signal.getsignal(signal.SIGTERM)
    stopped = at(k, terminate)
    with pytest.raises(SystemExit) as stop:
        train_toy(resume, objective=stopped)
    assert stop.value.code == 143
    assert stopped.steps == list(range(k + 1))
    assert signal.getsignal(signal.SIGTERM) is before
    assert f"toy: stopped by a signal after step {k + 1} of 12" in capsys.readouterr().out
    rest = at(-1, None)
    module = train_toy(resume, objective=rest)
    assert rest.steps == list(range(k + 1, 12))
    assert f"resuming after step {k + 1}" in capsys.readouterr().out
    assert equal(module, train_toy(tmp_path / "straight.pt"))


def test_stopped_many_times(tmp_path):
    resume, done = tmp_path / "s.pt", []
    for k in (2, 3, 8):
        losses = at(k, terminate)
        with pytest.raises(SystemExit):
            train_toy(resume, objective=losses)
        done += losses.steps
    last = at(-1, None)
    assert equal(train_toy(resume, objective=last), train_toy(tmp_path / "straight.pt"))
    assert done + last.steps == list(range(12))


def test_kill_loses_at_most_the_steps_since_the_last_state(tmp_path):
    """kill -9 from outside of Python; the state of step 5 is whole, and no half-written file lies beside it."""
    resume = tmp_path / "states/s.pt"
    code = "import runpy, sys; runpy.run_path(sys.argv[1])['kill_at_seven'](sys.argv[2])"
    done = subprocess.run(
        [sys.executable, "-c", code, __file__, str(resume)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [path.name for path in resume.parent.iterdir()] == ["s.pt"]
    rest = at(-1, None)
    module = train_toy(resume, objective=rest)
    assert rest.steps == list(range(5, 12))
    assert equal(module, train_toy(tmp_path / "straight.pt"))


def test_state_is_kept_until_the_caller_has_the_weights(tmp_path):
    """If the weights cannot be written (a full disk), the training is not lost."""
    resume = tmp_path / "s.pt"
    first = train_toy(resume)
    again = at(-1, None)
    assert equal(train_toy(resume, objective=again), first)
    assert again.steps == []


@pytest.mark.parametrize(
    "other",
    [
        {"spec": {"lr": 2e-2}},
        {"spec": {"steps": 13}},
        {"spec": {"phases": [{"batch": 4, "crop_px": 8}]}},
        {"seed": 2},
        {"inputs": {"data/a.json": "1"}},
    ],
)
def test_state_of_other_settings_is_not_taken_up(tmp_path, other, capsys):
    resume = tmp_path / "s.pt"
    with pytest.raises(SystemExit):
        train_toy(resume, objective=at(6, terminate), inputs={"data/a.json": "0"})
    losses, module = at(-1, None), toy()
    spec = stage(**other.get("spec", {}))
    settings = {"seed": 1, "inputs": {"data/a.json": "0"}} | {k: v for k, v in other.items() if k != "spec"}
    fit("toy", module, losses, spec, resume=resume, **settings)
    assert losses.steps == list(range(spec.steps))
    assert "made under other settings or data; starting from the beginning" in capsys.readouterr().out
    straight = toy()
    fit("toy", straight, regress, spec, resume=tmp_path / "straight.pt", **settings)
    assert equal(module, straight)


def test_state_of_another_network_is_refused(tmp_path):
    resume = tmp_path / "s.pt"
    with pytest.raises(SystemExit):
        train_toy(resume, objective=at(6, terminate))
    other = nn.Sequential(nn.Linear(4, 16), nn.Linear(16, 2))
    with pytest.raises(TrainingError, match=r"does not fit the model \(.*\); remove it to start anew"):
        fit("toy", other, regress, stage(), seed=1, resume=resume)


def test_state_of_a_cut_file_is_not_used_silently(tmp_path):
    resume = tmp_path / "s.pt"
    with pytest.raises(SystemExit):
        train_toy(resume, objective=at(6, terminate))
    resume.write_bytes(resume.read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"s\.pt.*remove it"):
        train_toy(resume)


# ---------------------------------------------------------------- a discriminator


class Duel:
    """A generator of pictures against a discriminator, as stage 3 has them."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        self.restorer = nn.Conv2d(3, 3, 3, padding=1)
        spec = Losses(perceptual=0, adversarial=0.1, adversarial_from_step=2)
        self.losses = objectives.PictureLosses(spec, "cpu")

    def __call__(self, module, rng, generator, phase, step):
        target = torch.rand(2, 3, 32, 32, generator=generator)
        return self.losses(module(target + 0.1), target, step)

    def fit(self, resume: Path, act=None, k: int = -1) -> "Duel":
        spec = stage(steps=8, save_every_steps=3)
        rival = self.losses.discriminator
        fit("duel", self.restorer, at(k, act, self), spec, seed=1, resume=resume, adversary=rival)
        return self


@pytest.mark.parametrize("k", [1, 4])
def test_discriminator_resumes_too(tmp_path, k):
    straight = Duel().fit(tmp_path / "straight.pt")
    with pytest.raises(SystemExit):
        Duel().fit(tmp_path / "s.pt", terminate, k)
    resumed = Duel().fit(tmp_path / "s.pt")
    assert equal(resumed.restorer, straight.restorer)
    assert equal(resumed.losses.discriminator, straight.losses.discriminator)
    assert not equal(straight.losses.discriminator, Duel().losses.discriminator)


def test_discriminator_rests_before_its_step(tmp_path):
    """No step of it, no term of it, and its norms see nothing until then."""
    duel, fresh = Duel(), Duel()
    seen = []

    def losses(module, rng, generator, phase, step):
        seen.append(
            (
                equal(duel.losses.discriminator, fresh.losses.discriminator),
                found := duel(module, rng, generator, phase, step),
            )
        )
        return found

    fit(
        "duel",
        duel.restorer,
        losses,
        stage(steps=4),
        seed=1,
        resume=tmp_path / "s.pt",
        adversary=duel.losses.discriminator,
    )
    assert [untouched for untouched, _ in seen] == [True, True, True, False]
    assert ["adversary" in found for _, found in seen] == [False, False, True, True]


# ---------------------------------------------------------------- losses


def test_focal_is_cross_entropy_at_gamma_0():
    logits, labels = 3 * torch.randn(20, 9, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 9
    assert objectives.focal(logits, labels, 0.0).item() == pytest.approx(
        F.cross_entropy(logits, labels).item(), rel=1e-6
    )


def test_focal_is_golden_at_gamma_2():
    """Probabilities 1/2, 1/4, 1/4: (1 - 1/2)^2 ln 2 and (1 - 1/4)^2 ln 4."""
    logits = torch.tensor([[2.0, 1.0, 1.0]]).log().repeat(2, 1)
    found = objectives.focal(logits, torch.tensor([0, 1]), 2.0).item()
    assert found == pytest.approx((0.25 * math.log(2) + 0.5625 * math.log(4)) / 2, rel=1e-6)
    assert found == pytest.approx(0.4765386991, rel=1e-6)


def test_focal_has_a_gradient_when_it_is_sure():
    for logit in (-80.0, 80.0):
        logits = torch.tensor([[logit, 0.0]], requires_grad=True)
        objectives.focal(logits, torch.tensor([0]), 2.0).backward()
        assert torch.isfinite(logits.grad).all()


def test_colour_is_one_minus_the_cosine():
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    for degrees in (0, 5, 60, 90):
        angle = math.radians(degrees)
        turned = torch.tensor([math.cos(angle), math.sin(angle), 0.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
        assert objectives.colour(turned, red).item() == pytest.approx(1 - math.cos(angle), abs=1e-6)


def test_colour_does_not_see_brightness():
    picture = 0.1 + 0.4 * torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    light = 0.5 + 1.5 * torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    assert objectives.colour(picture * light, picture).abs() < 1e-6
    assert objectives.colour(picture.flip(1), picture) > 0.01
    grey = torch.full((1, 3, 4, 4), 0.5)
    assert objectives.colour(grey, 0.2 * grey).abs() < 1e-6  # mid-grey is a vector like others


def test_colour_of_black_is_finite():
    black = torch.zeros(1, 3, 4, 4, requires_grad=True)
    for target in (torch.zeros(1, 3, 4, 4), torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))):
        objectives.colour(black, target).backward()
        assert torch.isfinite(black.grad).all()


def test_hinges():
    real, fake = torch.tensor([0.5, 2.0]), torch.tensor([-2.0, 1.0])
    assert objectives.hinge_generator(fake).item() == 0.5
    assert objectives.hinge_discriminator(real, fake).item() == pytest.approx((0.25 + 1.0) / 2)


def test_patches_of_the_discriminator():
    assert objectives.PatchDiscriminator(8)(torch.rand(2, 3, 64, 48)).shape == (2, 1, 6, 4)


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 32, 32, generator=generator).requires_grad_(), torch.rand(2, 3, 32, 32, generator=generator)


def test_picture_losses_are_weighted(pair):
    spec = Losses(
        l1=2.0,
        perceptual=0.3,
        perceptual_network="alex",
        perceptual_every=2,
        colour=0.7,
        adversarial=0.05,
        adversarial_from_step=5,
    )
    torch.manual_seed(0)
    losses = objectives.PictureLosses(spec, "cpu")
    output, target = pair
    for step in (0, 1, 5, 6):
        found = losses(output, target, step)
        parts = {key for key in found if key.startswith("loss_")}
        expected = 2.0 * (output - target).abs().mean() + 0.7 * objectives.colour(output, target)
        assert ("loss_perceptual" in parts) == (step % 2 == 0)
        if step % 2 == 0:  # counted at every second step, twice as heavy
            expected = expected + 2 * 0.3 * losses.perceptual(output, target).mean()
        assert ("loss_adversarial" in parts) == ("adversary" in found) == (step >= 5)
        if step >= 5:
            expected = expected + 0.05 * objectives.hinge_generator(losses.discriminator(output))
        assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
        assert {"loss_l1", "loss_colour"} <= parts


def test_picture_losses_move_only_whom_they_should(pair):
    torch.manual_seed(0)
    losses = objectives.PictureLosses(Losses(perceptual=0, adversarial_from_step=0), "cpu")
    output, target = pair
    found = losses(output, target, 0)
    found["loss"].backward()
    assert output.grad.any() and all(p.grad is None for p in losses.discriminator.parameters())
    output.grad = None
    found["adversary"].backward()
    *weights, _ = losses.discriminator.parameters()  # the last bias is pulled up and down alike
    assert output.grad is None and all(p.grad.any() for p in weights)


def test_a_switched_off_term_costs_nothing(pair):
    losses = objectives.PictureLosses(Losses(perceptual=0, colour=0, adversarial=0), "cpu")
    assert losses.perceptual is None and losses.discriminator is None
    found = losses(*pair, step=1000)
    assert set(found) == {"loss", "loss_l1"} and found["loss"].item() == found["loss_l1"].item()


def test_the_paper_scale_weights_are_the_defaults():
    found = Losses()
    assert (found.l1, found.perceptual, found.perceptual_network, found.colour) == (1.0, 0.1, "vgg", 0.2)
    assert (found.adversarial, found.adversarial_from_step) == (0.025, 500)


# ---------------------------------------------------------------- the real stages on a tiny world

STAGES = {"predictor": "tiny", "branches": "tiny", "drm": "tiny", "network": "tiny-net"}


def encode() -> Path:
    """What `mperceiver encode tiny tiny-train` does."""
    from mperceiver.models.foundation import load
    from mperceiver.training import latents

    path = latents.encode(load("tiny"), "tiny-train")
    inputs = ["data/foundations/tiny.json", "data/prepared/tiny-train.json"]
    lineage.write_card(path.with_suffix(".json"), verb="encode", spec={}, inputs=inputs, outputs=[path])
    return path


def train(run: str, name: str) -> Path:
    from mperceiver.training.stages import train

    return train(run, name)


@pytest.fixture(scope="module")
def trained_root(tiny_root, tmp_path_factory) -> Path:
    """The tiny world with every stage of its runs trained once, without a stop."""
    root = tmp_path_factory.mktemp("trained") / "world"
    shutil.copytree(tiny_root, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(lineage, "commit", lambda: ("0" * 40, False))
        encode()
        for name, run in STAGES.items():
            train(run, name)
    return root


@pytest.fixture
def trained(trained_root, tmp_path, monkeypatch) -> Path:
    """A copy of it to work in."""
    root = tmp_path / "world"
    shutil.copytree(trained_root, root)
    monkeypatch.chdir(root)
    monkeypatch.setattr(lineage, "commit", lambda: ("0" * 40, False))
    return root


def undo(run: str, name: str) -> dict[str, bytes]:
    """Take away what a stage made; {suffix: bytes} of its weights and its card."""
    made = {suffix: Path(f"results/runs/{run}/{name}{suffix}") for suffix in (".safetensors", ".json", ".csv")}
    found = {suffix: path.read_bytes() for suffix, path in made.items() if suffix != ".csv"}
    for path in made.values():
        path.unlink()
    return found


@pytest.mark.parametrize("name", STAGES)
def test_stage_twice_is_the_same_bytes(trained, trained_root, name):
    run = STAGES[name]
    first = undo(run, name)
    card = train(run, name)
    assert card == Path(f"results/runs/{run}/{name}.json")
    assert card.with_suffix(".safetensors").read_bytes() == first[".safetensors"]
    assert card.read_bytes() == first[".json"]
    assert not list(Path("results/resume").rglob("*.*"))  # the state is gone when the weights are there


@pytest.mark.parametrize("name", STAGES)
def test_stage_has_a_card_and_a_curve(trained, name):
    from safetensors.torch import load_file

    run = STAGES[name]
    path = Path(f"results/runs/{run}/{name}.json")
    card, spec = lineage.read_card(path), getattr(config.load("runs", run), name)
    assert card["verb"] == f"train_{name}"
    assert sorted(card["inputs"]) == sorted(config.stage_inputs(run, name))
    assert card["outputs"] == {str(path.with_suffix(".safetensors")): lineage.sha256(path.with_suffix(".safetensors"))}
    state = load_file(path.with_suffix(".safetensors"))
    floats = sum(tensor.numel() for tensor in state.values() if tensor.is_floating_point())
    assert card["result"] == {"parameters": floats, "steps": spec.steps}
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    assert lineage.verify(path) == []
    rows = list(csv.DictReader(path.with_suffix(".csv").read_text().splitlines()))
    assert rows[-1]["step"] == str(spec.steps) and math.isfinite(float(rows[-1]["loss"]))


@pytest.mark.parametrize(("name", "k"), [("predictor", 2), ("branches", 3), ("drm", 0), ("drm", 2), ("network", 1)])
def test_stage_stopped_and_resumed_is_the_same_bytes(trained, monkeypatch, name, k):
    """SIGTERM in the middle, for the DRM before and after its discriminator has learnt."""
    from mperceiver.training import stages

    run = STAGES[name]
    first = undo(run, name)
    with monkeypatch.context() as patch:
        patch.setattr(
            stages, "fit", lambda title, module, losses, *a, **o: fit(title, module, at(k, terminate, losses), *a, **o)
        )
        with pytest.raises(SystemExit):
            train(run, name)
    assert not Path(f"results/runs/{run}/{name}.safetensors").exists()
    gone = []
    watch = lambda title, module, losses, *a, **o: fit(title, module, at(-1, None, seen(losses, gone)), *a, **o)  # noqa: E731
    monkeypatch.setattr(stages, "fit", watch)
    train(run, name)
    assert gone == list(range(k + 1, getattr(config.load("runs", run), name).steps))
    assert undo(run, name) == first


def seen(losses, steps: list[int]):
    def run(module, rng, generator, phase, step):
        steps.append(step)
        return losses(module, rng, generator, phase, step)

    return run


def test_stage_whose_weights_cannot_be_written_is_not_lost(trained, monkeypatch):
    from mperceiver.training import stages

    first = undo("tiny", "predictor")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(stages, "save_weights", full)
        with pytest.raises(OSError, match="No space"):
            train("tiny", "predictor")
    monkeypatch.setattr(stages, "fit", lambda title, module, losses, *a, **o: fit(title, module, None, *a, **o))
    train("tiny", "predictor")  # no step is left to go
    assert undo("tiny", "predictor") == first


@pytest.mark.parametrize("name", STAGES)
def test_stage_in_half_precision(trained, name):
    """`precision: bf16` computes in half, keeps weights whole, and ends near what single precision does."""
    from accelerate.state import AcceleratorState
    from safetensors.torch import load_file

    run = STAGES[name]
    before = {"branches": ["predictor"], "drm": ["predictor", "branches"]}.get(name, [])
    lines = [f"like: {run}", f"{name}: {{precision: bf16}}", *(f"{stage}: null" for stage in before)]
    lines += ["reuse: {" + ", ".join(f"{stage}: {run}" for stage in before) + "}"]
    Path("config/runs/half.yaml").write_text("\n".join(lines))
    AcceleratorState._reset_state(True)  # accelerate has one precision a process
    try:
        train("half", name)
    finally:
        AcceleratorState._reset_state(True)
    half, whole = (load_file(f"results/runs/{owner}/{name}.safetensors") for owner in ("half", run))
    assert half.keys() == whole.keys() and all(half[key].dtype == whole[key].dtype for key in whole)
    assert any(not torch.equal(half[key], whole[key]) for key in whole)
    for key, weight in whole.items():  # the predictor's first layer has 1 / deviation in it
        assert (half[key] - weight).abs().max() < 0.05 * max(1, weight.abs().max()), key


def test_branches_move_only_what_is_theirs(trained, trained_root):
    from safetensors.torch import load_file

    names = set(load_file("results/runs/tiny/branches.safetensors"))
    assert {name.split(".")[0] for name in names} == {"textual", "ir_adapter", "modulation"}
    assert lineage.verify("data/foundations/tiny.json") == []


def test_predictor_is_saved_for_embeddings_as_they_are(trained, monkeypatch):
    """It learns on standardised embeddings; what is saved gives the same answers to raw ones."""
    from safetensors.torch import load_file

    from mperceiver.training import stages
    from mperceiver.training.latents import Latents

    learnt = []

    def spy(title, module, *arguments, **options):
        curve = fit(title, module, *arguments, **options)
        learnt.append({key: value.clone() for key, value in module.state_dict().items()})
        return curve

    monkeypatch.setattr(stages, "fit", spy)
    train("tiny", "predictor")
    saved, x = load_file("results/runs/tiny/predictor.safetensors"), Latents("tiny", "tiny-train").embedding
    standard = (x - x.mean(0)) / x.std(0).clamp(min=1e-6)
    expected = F.linear(standard, learnt[0]["hidden.weight"], learnt[0]["hidden.bias"])
    assert torch.allclose(F.linear(x, saved["hidden.weight"], saved["hidden.bias"]), expected, atol=1e-3)
    assert expected.std() > 0.1


def objective(monkeypatch, run: str, name: str):
    """The objective that a stage hands to the loop, and nothing trained."""
    from mperceiver.training import stages

    class Found(Exception):
        pass

    def grab(title, module, losses, *arguments, **options):
        raise Found(losses)

    with monkeypatch.context() as patch:
        patch.setattr(stages, "fit", grab)
        with pytest.raises(Found) as found:
            train(run, name)
    return found.value.args[0]


def window_of(part: torch.Tensor, whole: torch.Tensor) -> tuple[slice, slice]:
    """Where ``part`` (C, h, w) was cut out of ``whole`` (C, H, W)."""
    (h, w), (high, wide) = part.shape[-2:], whole.shape[-2:]
    places = [(y, x) for y in range(high - h + 1) for x in range(wide - w + 1)]
    ((y, x),) = [(y, x) for y, x in places if torch.equal(whole[:, y : y + h, x : x + w], part)]
    return slice(y, y + h), slice(x, x + w)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_branches_learn_the_foundations_target_at_one_place(trained, monkeypatch, prediction):
    """Eq. 1: who knows the clean latent of the same picture and place answers without error; P is the predictor's."""
    from mperceiver.models import foundation as towers
    from mperceiver.models.predictor import build_predictor
    from mperceiver.models.weights import load_weights, weights_path
    from mperceiver.sampling import velocity
    from mperceiver.training.latents import Latents

    path = Path("data/foundations/tiny/scheduler/scheduler_config.json")
    path.write_text(path.read_text().replace("v_prediction", prediction))
    losses, cached = objective(monkeypatch, "tiny", "branches"), Latents("tiny", "tiny-train")
    foundation = towers.load("tiny")
    alphas, lq, gt = foundation.alphas(), cached.lq.float(), cached.gt.float()
    predictor = build_predictor(foundation, config.load("runs", "tiny"))
    load_weights(weights_path("tiny", "predictor"), predictor)
    times, places = [], set()

    def oracle(z, t, embedding, z_lq, p):
        assert torch.equal(p, predictor.probabilities(embedding))
        times.extend(t.tolist())
        answer = []
        for i in range(len(z)):
            (row,) = [r for r, known in enumerate(cached.embedding) if torch.equal(known, embedding[i])]
            window = window_of(z_lq[i], lq[row])
            places.add((row, window[0].start, window[1].start))
            z0, a = gt[row][:, *window], alphas[t[i]]
            noise = (z[i] - a.sqrt() * z0) / (1 - a).sqrt()
            answer.append(noise if prediction == "epsilon" else velocity(z0, noise, a))
        return torch.stack(answer)

    phase = config.Phase(batch=6, crop_px=16)
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        found = losses(oracle, np.random.default_rng(seed), generator, phase, 0)
        assert found["loss"] < 1e-6
        assert losses(lambda *a: oracle(*a) + 0.1, np.random.default_rng(seed), generator, phase, 0)["loss"] > 9e-3
    assert min(times) < 60 and max(times) > 939 and len(set(times)) > 100  # all of the schedule
    assert len({row for row, *_ in places}) == 18 and len(places) > 60


def test_drm_sees_latent_picture_and_truth_of_one_place(trained, monkeypatch):
    from mperceiver.data.loader import Prepared
    from mperceiver.models.drm import DetailRefinement
    from mperceiver.training import stages

    rows = Prepared("tiny-train")
    lq, gt = (
        torch.from_numpy(np.stack([read(i) for i in range(18)])).permute(0, 3, 1, 2).float() / 255
        for read in (rows.lq, rows.gt)
    )
    shrunk = F.avg_pool2d(lq, 2)[:, [0, 1, 2, 0]].half()  # a latent that tells which pixels it is of
    seen = {}

    class Spy:
        discriminator = None

        def __init__(self, *_):
            pass

        def __call__(self, output, target, step):
            seen["gt"] = target
            return {"loss": output.sum()}

    monkeypatch.setattr(stages, "sampled", lambda *_: [shrunk])
    monkeypatch.setattr(stages, "PictureLosses", Spy)
    monkeypatch.setattr(DetailRefinement, "degraded_features", lambda self, encode, x: (None, seen.update(lq=x)))
    losses = objective(monkeypatch, "tiny", "drm")
    places = set()
    for seed in range(20):
        rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        losses(lambda decode, z, *_: seen.update(z=z) or z, rng, generator, config.Phase(batch=3, crop_px=16), 0)
        assert seen["lq"].shape == seen["gt"].shape == (3, 3, 16, 16) and seen["z"].shape == (3, 4, 8, 8)
        assert torch.equal(seen["z"], F.avg_pool2d(seen["lq"], 2)[:, [0, 1, 2, 0]].half().float())
        for one, clean, latent in zip(seen["lq"], seen["gt"], seen["z"], strict=True):
            (row,) = [i for i in range(18) if contains(shrunk[i].float(), latent)]
            y, x = window_of(one, lq[row])
            assert torch.equal(gt[row][:, y, x], clean)
            places.add((row, y.start, x.start))
    assert len({row for row, *_ in places}) > 12 and len(places) > 30


def contains(whole: torch.Tensor, part: torch.Tensor) -> bool:
    try:
        return bool(window_of(part, whole))
    except ValueError:
        return False


def test_stages_say_what_they_lack(tiny_world):
    with pytest.raises(config.ConfigError, match=r"tiny-net\.yaml: no branches stage; it has network"):
        train("tiny-net", "branches")
    with pytest.raises(FileNotFoundError, match=r"data/latents/tiny/tiny-train\.json"):
        train("tiny", "predictor")


# ---------------------------------------------------------------- few-shot


def starts(monkeypatch) -> list[dict[str, torch.Tensor]]:
    """The state of each module that comes to ``fit``, as it comes."""
    from mperceiver.training import stages

    found = []

    def spy(title, module, *arguments, **options):
        found.append({key: value.clone() for key, value in module.state_dict().items()})
        return fit(title, module, *arguments, **options)

    monkeypatch.setattr(stages, "fit", spy)
    return found


def test_few_shot_starts_from_the_other_run(trained, monkeypatch):
    from safetensors.torch import load_file

    found = starts(monkeypatch)
    before = {path: lineage.sha256(path) for path in Path("results/runs/tiny").iterdir()}
    card = lineage.read_card(train("tiny-few", "drm"))
    assert "results/runs/tiny/drm.json" in card["inputs"] and "results/runs/tiny/branches.json" in card["inputs"]
    source, made = (load_file(f"results/runs/{run}/drm.safetensors") for run in ("tiny", "tiny-few"))
    assert found[0].keys() == source.keys()
    assert all(torch.equal(found[0][key], source[key]) for key in source)
    assert any(not torch.equal(made[key], source[key]) for key in source)
    assert {path: lineage.sha256(path) for path in Path("results/runs/tiny").iterdir()} == before
    assert config.method_weights("tiny-few") == {"predictor": "tiny", "branches": "tiny", "drm": "tiny-few"}


@pytest.mark.parametrize("name", ["predictor", "branches"])
def test_few_shot_of_the_other_stages(trained, monkeypatch, name):
    """A run that trains further; the predictor's weights mean the same though it learns on standardised embeddings."""
    from safetensors.torch import load_file

    from mperceiver.training.latents import Latents

    Path("config/runs/more.yaml").write_text("like: tiny\nstart_from: tiny\nseed: 5\n")
    if name == "branches":
        train("more", "predictor")
    found = starts(monkeypatch)
    train("more", name)
    source = load_file(f"results/runs/tiny/{name}.safetensors")
    if name == "branches":
        assert all(torch.equal(found[0][key], source[key]) for key in source)
        return
    x = Latents("tiny", "tiny-train").embedding
    standard = (x - x.mean(0)) / x.std(0).clamp(min=1e-6)
    before = F.linear(standard, found[0]["hidden.weight"], found[0]["hidden.bias"])
    assert torch.allclose(before, F.linear(x, source["hidden.weight"], source["hidden.bias"]), atol=1e-3)
    assert torch.equal(found[0]["out.weight"], source["out.weight"])


# ---------------------------------------------------------------- cached work


def test_encoding_twice_is_the_same_bytes(trained, trained_root):
    path = Path("data/latents/tiny/tiny-train.arrow")
    path.unlink()
    path.with_suffix(".json").unlink()
    assert encode() == path
    for name in (path, path.with_suffix(".json")):
        assert name.read_bytes() == (trained_root / name).read_bytes()


def test_encoded_is_what_the_towers_say(trained, foundation):
    from mperceiver.data.loader import Prepared
    from mperceiver.training.latents import Latents

    rows, cached = Prepared("tiny-train"), Latents("tiny", "tiny-train")
    assert cached.ids == rows.ids and cached.lq.shape == cached.gt.shape == (18, 4, 16, 16)
    pictures = torch.from_numpy(np.stack([rows.lq(i) for i in range(len(rows))])).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        posterior = foundation.vae.encode(pictures * 2 - 1).latent_dist
        assert torch.allclose(cached.embedding, foundation.embed(pictures), atol=1e-5)
    spread = (cached.lq.float() - posterior.mean) / posterior.std
    assert spread.std().item() == pytest.approx(1, abs=0.05) and abs(spread.mean()) < 0.05  # samples, not means
    assert not torch.equal(cached.lq, cached.gt)


def test_encoding_refuses_crops_of_several_sizes_or_odd_ones(trained, foundation):
    from mperceiver.data import DataError
    from mperceiver.data.prepare import prepare
    from mperceiver.training.latents import encode

    text = Path("config/datasets/tiny-train.yaml").read_text()
    Path("config/datasets/odd.yaml").write_text(text.replace("crop_px: 32", "crop_px: 40"))
    prepare("odd", workers=1)
    with pytest.raises(DataError, match=r"odd: crops of 40x40 are no multiples of 16 px"):
        encode(foundation, "odd")
    assert not Path("data/latents/tiny/odd.arrow").exists()


def test_datasets_with_crops_of_different_sizes_are_refused(trained, foundation):
    from mperceiver.data import DataError
    from mperceiver.data.prepare import prepare
    from mperceiver.training.latents import encode

    text = Path("config/datasets/tiny-train.yaml").read_text()
    Path("config/datasets/large.yaml").write_text(text.replace("crop_px: 32", "crop_px: 48"))
    Path("config/runs/mixed.yaml").write_text(
        "like: tiny\ntrain: [tiny-train, large]\nreuse: {predictor: tiny}\npredictor: null\n"
    )
    prepare("large", workers=1)
    path = encode(foundation, "large")
    lineage.write_card(path.with_suffix(".json"), verb="encode", spec={}, outputs=[path])
    with pytest.raises(DataError, match=r"one crop_px; their latents are tiny-train \(16, 16\), large \(24, 24\)"):
        train("mixed", "branches")


def test_sampled_latents_are_cached(trained):
    from mperceiver.training.latents import Latents, sampled

    calls = []

    def restore(lq, embedding, noise, fresh):
        calls.append((lq, embedding, noise, fresh()))
        return lq + noise

    path, cached = Path("results/resume/x/latents.safetensors"), Latents("tiny", "tiny-train")
    arguments = (path, restore, ["tiny-train"], "tiny", 42)
    (first,) = sampled(*arguments, "key", "x")
    lq, embedding, noise, more = calls[0]
    assert len(calls) == 1 and first.dtype == torch.float16 and first.shape == cached.lq.shape
    assert torch.equal(lq, cached.lq.float()) and torch.equal(embedding, cached.embedding)
    assert torch.equal(first, (lq + noise).half())
    assert noise.std().item() == pytest.approx(1, abs=0.05) and not torch.equal(noise, more)
    (again,) = sampled(*arguments, "key", "x")
    assert len(calls) == 1 and torch.equal(first, again)
    sampled(*arguments, "another key", "x")  # other weights, another sampler: not taken
    assert len(calls) == 2 and torch.equal(calls[1][2], noise)  # noise knows nothing of what ran before
    sampled(*arguments[:-1], 43, "third key", "x")
    assert not torch.equal(calls[2][2], noise)


def test_sampled_latents_follow_what_they_are_made_of(trained, monkeypatch):
    """A killed DRM stage keeps its latents; other branches, or another sampler, make new ones."""
    from safetensors.torch import load_file

    from mperceiver.training import latents, stages

    def killed_after_sampling() -> torch.Tensor:
        with monkeypatch.context() as patch:
            patch.setattr(stages, "fit", lambda *a, **o: terminate_here())
            with pytest.raises(SystemExit):
                train("tiny", "drm")
        return load_file("results/resume/tiny/latents.safetensors")["tiny-train"]

    def terminate_here():
        raise SystemExit(143)

    samples = []
    original = stages.ddim
    monkeypatch.setattr(stages, "ddim", lambda *a: samples.append(a) or original(*a))
    first = killed_after_sampling()
    assert len(samples) == 1 and torch.isfinite(first.float()).all()
    assert torch.equal(killed_after_sampling(), first) and len(samples) == 1
    path = Path("config/runs/tiny.yaml")
    text = path.read_text()
    path.write_text(text.replace("latents: {steps: 2,", "latents: {steps: 3,"))
    assert not torch.equal(killed_after_sampling(), first) and len(samples) == 2
    path.write_text(text)
    card = Path("results/runs/tiny/branches.json")
    card.write_text(card.read_text().replace('"seed": 0', '"seed": 1'))
    killed_after_sampling()
    assert len(samples) == 3
    assert latents.BATCH >= 18


def test_trained_weights_restore(trained):
    """From a run's files to a picture: what stage 3 left is what the method loads."""
    from mperceiver.models.mperceiver import load_restorer

    restorer = load_restorer("tiny")
    picture = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    one, other = (restorer.restore(picture, restorer.begin(picture, [7]), 0, 0) for _ in range(2))
    assert one.shape == picture.shape and torch.isfinite(one).all() and torch.equal(one, other)
