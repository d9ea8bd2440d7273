"""The loop on toys: schedule, steps, what a step is made of, and numbers that are none."""

import csv
import io
import math
import threading
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.loops import Duel, at, draw, equal, regress, regress_drawn, stage, terminate, toy, train_toy
from torch import nn

from mperceiver.config.runs import Stage
from mperceiver.training import loop, nonfinite, prefetch
from mperceiver.training.guard import Guard
from mperceiver.training.loop import fit
from mperceiver.training.prefetch import generators
from mperceiver.training.resume import Training, read_state
from mperceiver.training.schedule import TrainingError, learning_rate, parameter_groups

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
    fit(Training("down", spec, 0, tmp_path / "s.pt"), module, down)
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

    text = fit(Training("toy", spec, 1, tmp_path / "s.pt"), toy(), losses)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["step", "lr", "loss", "loss_twice", "pictures_per_s", "gib", "seconds", "loss_late"]
    assert [row["step"] for row in rows] == ["50", "100", "120"]
    for row, part in zip(rows, (found[:50], found[50:100], found[100:]), strict=True):
        assert float(row["loss"]) == pytest.approx(np.mean([f["loss"].item() for f in part]), rel=1e-4)
        assert float(row["loss_twice"]) == pytest.approx(2 * float(row["loss"]), rel=1e-4)
        assert float(row["lr"]) == pytest.approx(learning_rate(spec, int(row["step"]) - 1), rel=1e-4)
        assert float(row["pictures_per_s"]) > 0 and float(row["gib"]) > 0
    seconds = [float(row["seconds"]) for row in rows]
    assert 0 <= seconds[0] <= seconds[1] <= seconds[2] < 60
    assert [bool(row["loss_late"]) for row in rows] == [False, True, True]
    assert float(rows[2]["loss"]) < float(rows[0]["loss"])  # it learns


def test_weight_decay_spares_norms_biases_gates_and_prompts(foundation, tiny_run):
    from mperceiver.models.branches import Branches
    from mperceiver.models.drm import DetailRefinement

    gated = tiny_run.model.model_copy(update={"modulation": "identity_gate"})
    whole = nn.ModuleDict(
        {
            "branches": Branches(foundation, 9, gated),
            "of scales": Branches(foundation, 9, gated.model_copy(update={"vp_width": "scale"})),
            "drm": DetailRefinement(foundation.vae, 9, tiny_run.model),
            "toy": toy(),
        }
    )
    decayed, spared = parameter_groups(whole, stage(weight_decay=0.3))
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.3, 0.0)
    names = {id(parameter): name for name, parameter in whole.named_parameters()}
    decayed, spared = ({names[id(p)] for p in group["params"]} for group in (decayed, spared))
    assert decayed | spared == {name for name, p in whole.named_parameters() if p.requires_grad}
    assert not decayed & spared
    # What is decayed are weights of linear layers and convolutions.
    modules = dict(whole.named_modules())
    adapters = [f"{branches}.textual.cm_adapter" for branches in ("branches", "of scales")]
    bare = {f"{adapter}.{name}" for adapter in adapters for name in ("qkv", "out_weight")}  # N linear layers in one
    for name in decayed - bare:
        owner, _, leaf = name.rpartition(".")
        assert leaf == "weight" and isinstance(modules[owner], nn.Linear | nn.Conv2d), name
    assert bare <= decayed
    must = ["branches.textual.tp_pool", "branches.ir_adapter.vp_pool", "branches.textual.cm_adapter.out_bias"]
    must += ["of scales.ir_adapter.vp_pool.0", "of scales.ir_adapter.vp_pool.3"]
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
    fit(Training("still", spec, 0, tmp_path / "s.pt"), module, lambda m, *_: {"loss": 0 * m(torch.ones(1, 2)).sum()})
    assert torch.allclose(module.weight, before * (1 - 0.1 * 0.5) ** 3, atol=1e-6)
    assert torch.equal(module.bias, bias)


def test_nothing_to_train_is_told(tmp_path):
    with pytest.raises(TrainingError, match="no parameter requires a gradient"):
        fit(Training("none", stage(), 0, tmp_path / "s.pt"), nn.Linear(1, 1).requires_grad_(False), regress)


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
    fit(Training("parts", spec, 0, tmp_path / "parts.pt"), one, some)
    fit(Training("whole", stage(), 0, tmp_path / "whole.pt"), other, whole)
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
    fit(Training("burst", spec, 0, tmp_path / "s.pt"), module, losses)
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
        fit(Training("toy", stage(ema_decay=0.5), 1, tmp_path / "s.pt"), module, losses, draw=draw)
    assert after == [7, 8][: 1 + late]
    monkeypatch.undo()
    with pytest.raises(SystemExit):
        train_toy(tmp_path / "before.pt", stage(ema_decay=0.5), at(6, terminate, regress_drawn), draw=draw)
    before = read_state(tmp_path / "before-00000007.pt")
    found = nonfinite.read_record(tmp_path / "nonfinite-7")
    assert (found.title, found.step, found.state["step"]) == ("toy", 7, 7)
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert torch.equal(parameter, before["module"][name]) and torch.equal(
                found.state["module"][name], parameter
            )
    for number, state in before["optimiser"]["state"].items():
        assert all(torch.equal(found.state["optimiser"]["state"][number][k], v) for k, v in state.items())
    # what was drawn can be drawn again
    (batch,) = found.batches
    assert draw(generators(batch.key)[0], stage().phases[0])["ids"] == batch.ids and len(batch.ids) == 8


def test_a_late_look_changes_no_bit(tmp_path, monkeypatch):
    straight = Duel().fit(tmp_path / "a.pt")
    monkeypatch.setattr(loop, "Guard", lambda accelerator, _: Guard(accelerator, 1))
    late = Duel().fit(tmp_path / "b.pt")
    assert equal(late.restorer, straight.restorer) and equal(late.losses.discriminator, straight.losses.discriminator)


def test_same_seed_same_bits(tmp_path):
    one, other = train_toy(tmp_path / "a.pt"), train_toy(tmp_path / "b.pt")
    assert equal(one, other)
    third = toy()
    fit(Training("toy", stage(), 2, tmp_path / "c.pt"), third, regress)
    assert not equal(one, third)


# ---------------------------------------------------------------- batches drawn ahead


def test_batches_drawn_ahead_change_no_bit(tmp_path, monkeypatch):
    """The thread that draws them, as for a GPU, changes when a batch is made and not what is in it; a CPU has none."""
    spec = stage(
        accumulate=3, phases=[{"share": 0.5, "batch": 4, "crop_px": 8}, {"share": 0.5, "batch": 6, "crop_px": 8}]
    )
    threads, phases = set(), []

    def watched(rng, phase):
        threads.add(threading.current_thread().name)
        phases.append(phase.batch)
        return draw(rng, phase)

    straight = train_toy(tmp_path / "b.pt", spec)
    for worth, name in ((False, threading.current_thread().name), (True, "draw_0")):
        monkeypatch.setattr(prefetch, "_worth_a_thread", lambda device, worth=worth: worth)
        threads.clear()
        phases.clear()
        assert equal(train_toy(tmp_path / f"{worth}.pt", spec, regress_drawn, draw=watched), straight)
        assert threads == {name} and phases == [4] * 18 + [6] * 18
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("draw")]


def test_a_batch_that_cannot_be_drawn_stops_where_it_is_needed(tmp_path):
    drawn = []

    def broken(rng, phase):
        drawn.append(phase)
        if len(drawn) == 7:
            raise ValueError("picture 12 is damaged")
        return draw(rng, phase)

    losses = at(-1, None, regress_drawn)
    with pytest.raises(ValueError, match="picture 12 is damaged"):
        train_toy(tmp_path / "s.pt", objective=losses, draw=broken)
    assert losses.steps == list(range(6))
    assert [path.name for path in tmp_path.glob("*.pt")] == ["s-00000005.pt"]


def test_reading_goes_on_while_a_step_runs(tmp_path, monkeypatch):
    """With 30 ms to draw and 30 ms to learn, the two overlap."""
    monkeypatch.setattr(prefetch, "_worth_a_thread", lambda device: True)

    def slow(rng, phase):
        time.sleep(0.03)
        return draw(rng, phase)

    def learn(module, batch, generator, phase, step):
        time.sleep(0.03)
        return regress_drawn(module, batch, generator, phase, step)

    def seconds(objective, **options) -> float:
        start = time.monotonic()
        train_toy(tmp_path / f"{len(options)}.pt", stage(steps=20), objective, **options)
        return time.monotonic() - start

    in_turn = seconds(lambda module, rng, *rest: learn(module, slow(rng, rest[1]), *rest))
    assert in_turn > 1.2 and seconds(learn, draw=slow) < 0.8 * in_turn


# ---------------------------------------------------------------- average, precision, trackers


def test_average_of_the_weights_is_what_is_saved(tmp_path):
    """w' <- d w' + (1 - d) w, where d is (1 + n) / (10 + n) in the first steps and `ema_decay` at most."""
    module, path = nn.Linear(1, 1, bias=False), []

    def down(module, rng, generator, phase, step):
        path.append(module.weight.item())
        return {"loss": module.weight.sum()}

    fit(Training("down", stage(ema_decay=0.3), 0, tmp_path / "s.pt"), module, down)
    raw = nn.Linear(1, 1, bias=False)
    raw.weight.data.fill_(path[0])
    fit(Training("down", stage(), 0, tmp_path / "raw.pt"), raw, down)
    path = [*path[1:12], raw.weight.item()]
    mean = path[0]
    for n, weight in enumerate(path[1:], 1):
        decay = min((1 + n) / (10 + n), 0.3)
        mean = decay * mean + (1 - decay) * weight
    assert module.weight.item() == pytest.approx(mean, rel=1e-5) and abs(mean - path[-1]) > 1e-5


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_computes_in_half_and_keeps_weights_whole(tmp_path, precision):
    kinds = set()

    def losses(module, rng, generator, phase, step):
        found = regress(module, rng, generator, phase, step)
        kinds.add(module[0](torch.ones(1, 4)).dtype)
        return found

    half = train_toy(tmp_path / "half.pt", stage(precision=precision, warmup_steps=4), losses)
    whole = train_toy(tmp_path / "whole.pt", stage(warmup_steps=4))
    assert kinds == {torch.bfloat16 if precision == "bf16" else torch.float16}
    for one, other in zip(half.parameters(), whole.parameters(), strict=True):
        assert one.dtype == torch.float32 and torch.allclose(one, other, atol=0.1)
    assert not equal(half, whole)


def test_fp16_resumes_with_its_scale_and_forgives_an_overflow(tmp_path):
    """A gradient beyond 65504 skips its step and halves the scale; that is no error, and goes through a stop."""

    def losses(module, batch, generator, phase, step):
        found = regress_drawn(module, batch, generator, phase, step)
        return found | {"loss": found["loss"] * (1e3 if step in (3, 4) else 1)}

    spec = stage(precision="fp16")
    with pytest.raises(SystemExit):
        train_toy(tmp_path / "s.pt", spec, at(3, terminate, losses), draw=draw)
    state = read_state(tmp_path / "s-00000004.pt")
    assert state["scaler"]["scale"] < 65536.0 and state["skipped"] >= 1
    resumed = train_toy(tmp_path / "s.pt", spec, losses, draw=draw)
    assert equal(resumed, train_toy(tmp_path / "straight.pt", spec, losses, draw=draw))
    last = read_state(tmp_path / "s-00000012.pt")
    assert last["scaler"]["scale"] < state["scaler"]["scale"] and last["skipped"] == 0


def test_fp16_that_overflows_for_long_stops(tmp_path):
    def losses(module, batch, generator, phase, step):
        found = regress_drawn(module, batch, generator, phase, step)
        return found | {"loss": found["loss"] + (0 * module[0].weight.sum()).sqrt()}

    with pytest.raises(TrainingError, match=r"the gradient's norm is nan at step 20 on picture-"):
        train_toy(tmp_path / "s.pt", stage(precision="fp16", steps=40), losses, draw=draw)
    assert nonfinite.read_record(tmp_path / "nonfinite-20").state["skipped"] == 21
    with pytest.raises(TrainingError, match=r"loss is nan at step 7"):  # a loss is not forgiven
        train_toy(tmp_path / "t.pt", stage(precision="fp16"), spoilt(7), draw=draw)


def test_trackers_are_told_the_curve(tmp_path, monkeypatch):
    """tensorboard reads back what the curve says; nothing of it is in what names a state or is written in a card."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.chdir(tmp_path)
    spec = stage(steps=120, trackers=["tensorboard"])
    assert spec.model_dump() == stage(steps=120).model_dump()
    curve = fit(Training("toy branches", spec, 1, tmp_path / "s.pt"), toy(), regress)
    events = EventAccumulator("results/trackers/toy-branches")
    events.Reload()
    told = {event.step: event.value for event in events.Scalars("loss")}
    assert told == {
        int(row["step"]): pytest.approx(float(row["loss"]), rel=1e-4) for row in csv.DictReader(io.StringIO(curve))
    }
    assert equal(
        train_toy(tmp_path / "s.pt", stage(steps=120), at(-1, None)), train_toy(tmp_path / "t.pt", stage(steps=120))
    )


def test_a_tracker_that_is_not_there_is_told_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.utils.is_dvclive_available", lambda: False)
    with pytest.raises(
        TrainingError, match=r"trackers: dvclive is not installed: uv pip install dvclive, or take it out"
    ):
        train_toy(tmp_path / "s.pt", stage(trackers=["dvclive"]), None)


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
        Training("duel", stage(steps=4, phases=[{"batch": 2, "crop_px": 32}]), 1, tmp_path / "s.pt"),
        duel.restorer,
        losses,
        adversary=duel.losses.discriminator,
    )
    assert [untouched for untouched, _ in seen] == [True, True, True, False]
    assert ["adversary" in found for _, found in seen] == [False, False, True, True]


def test_discriminator_has_the_generators_rate(tmp_path, monkeypatch):
    """Both follow the cosine; the discriminator with a short memory."""
    made, rates = [], []

    class Spy(torch.optim.AdamW):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append(self)

        def step(self, *arguments):
            rates.append((len(self.param_groups), self.param_groups[0]["lr"]))
            return super().step(*arguments)

    monkeypatch.setattr(torch.optim, "AdamW", Spy)
    duel = Duel().fit(tmp_path / "s.pt")
    assert [optimiser.param_groups[0]["betas"] for optimiser in made] == [(0.9, 0.999), (0.5, 0.9)]
    generator, rival = ([rate for groups, rate in rates if groups == n] for n in (2, 1))
    assert generator == [learning_rate(duel.spec, step) for step in range(8)] and rival == generator[2:]


def test_accumulated_batches_of_a_discriminator_all_count(tmp_path):
    """Its gradient is the mean over a step's batches, as the generator's is."""
    rival = nn.Linear(1, 1, bias=False)
    rival.weight.data.fill_(0.0)
    seen = []

    def losses(module, rng, generator, phase, step):
        seen.append(rng.standard_normal())
        return {"loss": module.weight.sum(), "adversary": rival.weight.sum() * seen[-1]}

    spec = stage(steps=1, accumulate=3, warmup_steps=0, weight_decay=0)
    fit(Training("mean", spec, 0, tmp_path / "s.pt"), nn.Linear(1, 1), losses, adversary=rival)
    state = read_state(tmp_path / "s-00000001.pt")["adversary_optimiser"]["state"][0]
    assert state["exp_avg"].item() == pytest.approx(0.5 * np.mean(seen), rel=1e-5)
