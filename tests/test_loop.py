"""The loop on toys: schedule, steps, what a step is made of, and numbers that are none."""

import csv
import io
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mperceiver.config import Stage
from mperceiver.training import loop, nonfinite
from mperceiver.training import resume as states
from mperceiver.training.ahead import generators
from mperceiver.training.guard import Guard
from mperceiver.training.loop import fit
from mperceiver.training.schedule import TrainingError, groups, learning_rate

world = runpy.run_path(str(Path(__file__).parent / "loop_world.py"))
stage, toy, regress, train_toy, equal, at = (world[k] for k in ("stage", "toy", "regress", "train_toy", "equal", "at"))
draw, regress_drawn, terminate, kill, Duel = (world[k] for k in ("draw", "regress_drawn", "terminate", "kill", "Duel"))

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
    decayed, spared = groups(whole, stage(weight_decay=0.3))
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


def spoilt(step: int, key: str = "loss", by: float = math.nan):
    """The regression on drawn batches, one loss of one step spoilt."""

    def losses(module, batch, generator, phase, now):
        found = regress_drawn(module, batch, generator, phase, now)
        return found | {key: found[key] * (by if now == step else 1)}

    return losses


def test_loss_that_is_no_number_stops_with_its_step(tmp_path):
    """The step is not taken; the last state before it is kept, and the next try does not begin anew."""
    resume = tmp_path / "s.pt"
    with pytest.raises(TrainingError, match=r"toy: loss is nan at step 7 on picture-\d+, .*nonfinite-7\. A lower `lr`"):
        train_toy(resume, objective=spoilt(7), draw=draw)
    mended = at(-1, None, regress_drawn)
    module = train_toy(resume, objective=mended, draw=draw)
    assert mended.steps == list(range(5, 12))
    assert equal(module, train_toy(tmp_path / "straight.pt"))


@pytest.mark.parametrize("late", [0, 1])
@pytest.mark.parametrize(
    ("key", "by", "told"),
    [
        ("loss", math.inf, "loss is inf"),
        ("loss_twice", math.nan, "loss_twice is nan"),
        ("gradient", math.nan, "norm is nan"),
    ],
)
def test_a_bad_step_is_kept_and_changes_nothing(tmp_path, monkeypatch, late, key, by, told):
    """Whether the host looks at once (CPU) or a step later (GPU): the weights are those before the step, to the bit."""
    monkeypatch.setattr(loop, "Guard", lambda accelerator, _: Guard(accelerator, late))
    module, after = toy(), []

    def losses(module, batch, generator, phase, step):
        if step >= 7:
            after.append(step)
        if key != "gradient":
            return spoilt(7, key, by)(module, batch, generator, phase, step)
        found = regress_drawn(module, batch, generator, phase, step)
        root = (0 * module[0].weight.sum()).sqrt() if step == 7 else 0  # 0 of infinite slope
        return found | {"loss": found["loss"] + root}

    with pytest.raises(TrainingError, match=rf"{told} at step 7 on picture-.*not taken"):
        fit("toy", module, losses, stage(ema_decay=0.5), seed=1, resume=tmp_path / "s.pt", draw=draw)
    assert after == [7, 8][: 1 + late]
    monkeypatch.undo()
    with pytest.raises(SystemExit):
        train_toy(tmp_path / "before.pt", stage(ema_decay=0.5), at(6, terminate, regress_drawn), draw=draw)
    before = states.read(tmp_path / "before-00000007.pt")
    found = nonfinite.read(tmp_path / "nonfinite-7")
    assert (found.title, found.step, found.state["step"]) == ("toy", 7, 7)
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert torch.equal(parameter, before["module"][name]) and torch.equal(
                found.state["module"][name], parameter
            )
    for number, state in before["optimiser"]["state"].items():
        assert all(torch.equal(found.state["optimiser"]["state"][number][k], v) for k, v in state.items())
    # what was drawn can be drawn again
    (part,) = found.parts
    assert draw(generators(part.key)[0], stage().phases[0])["ids"] == part.ids and len(part.ids) == 8


def test_a_late_look_changes_no_bit(tmp_path, monkeypatch):
    straight = Duel().fit(tmp_path / "a.pt")
    monkeypatch.setattr(loop, "Guard", lambda accelerator, _: Guard(accelerator, 1))
    late = Duel().fit(tmp_path / "b.pt")
    assert equal(late.restorer, straight.restorer) and equal(late.losses.discriminator, straight.losses.discriminator)


def test_same_seed_same_bits(tmp_path):
    one, other = train_toy(tmp_path / "a.pt"), train_toy(tmp_path / "b.pt")
    assert equal(one, other)
    third = toy()
    fit("toy", third, regress, stage(), seed=2, resume=tmp_path / "c.pt")
    assert not equal(one, third)


# ---------------------------------------------------------------- a discriminator


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
                found := duel(module, duel.draw(rng, phase), generator, phase, step),
            )
        )
        return found

    fit(
        "duel",
        duel.restorer,
        losses,
        stage(steps=4, phases=[{"batch": 2, "crop_px": 32}]),
        seed=1,
        resume=tmp_path / "s.pt",
        adversary=duel.losses.discriminator,
    )
    assert [untouched for untouched, _ in seen] == [True, True, True, False]
    assert ["adversary" in found for _, found in seen] == [False, False, True, True]
