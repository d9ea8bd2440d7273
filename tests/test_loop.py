"""The loop on toys: every way of being stopped ends in the bytes of a training that was not."""

import csv
import io
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

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
