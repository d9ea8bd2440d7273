"""The real stages on a tiny world: their bytes, their cards, what they learn on, and what stops them."""

import csv
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.loops import at, terminate

from mperceiver import commits, config, lineage, paths
from mperceiver.config.runs import Phase
from mperceiver.files import sha256
from mperceiver.training.loop import fit

STAGES = {"predictor": "tiny", "branches": "tiny", "drm": "tiny", "network": "tiny-net"}


def encode(name: str = "tiny-train") -> Path:
    """What `mperceiver encode tiny NAME` does."""
    from mperceiver.models.towers import load
    from mperceiver.training import latents

    path = latents.encode(load("tiny"), name)
    inputs = ["data/foundations/tiny.json", f"data/prepared/{name}.json"]
    lineage.begin("encode", {}, inputs).write_card(path.with_suffix(".json"), outputs=[path])
    return path


def train(run: str, name: str) -> Path:
    from mperceiver.training.stages import train

    return train(run, name)


def patch_fit(patch, other) -> None:
    """Let every stage call ``other`` instead of the loop."""
    for name in STAGES:
        patch.setattr(f"mperceiver.training.stages.{name}.fit", other)


def every(read) -> torch.Tensor:
    """All 18 crops' latents, or embeddings."""
    return torch.stack([read(i) for i in range(18)])


@pytest.fixture(scope="module")
def trained_root(tiny_root, tmp_path_factory) -> Path:
    """The tiny world with every stage of its runs trained once, without a stop."""
    root = tmp_path_factory.mktemp("trained") / "world"
    shutil.copytree(tiny_root, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(commits, "current", lambda: ("0" * 40, False))
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
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
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
    part, *cards = config.stage_inputs(run, name)
    assert (
        sorted(card["inputs"]) == sorted([part.label, *cards]) and part.label == f"config/runs/{run}.yaml#train_{name}"
    )
    assert card["outputs"] == {str(path.with_suffix(".safetensors")): sha256(path.with_suffix(".safetensors"))}
    state = load_file(path.with_suffix(".safetensors"))
    floats = sum(tensor.numel() for tensor in state.values() if tensor.is_floating_point())
    assert card["result"] == {"parameters": floats, "steps": spec.steps}
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    assert lineage.verify(path) == []
    rows = list(csv.DictReader(path.with_suffix(".csv").read_text(encoding="utf-8").splitlines()))
    assert rows[-1]["step"] == str(spec.steps) and math.isfinite(float(rows[-1]["loss"]))


@pytest.mark.parametrize(("name", "k"), [("predictor", 2), ("branches", 3), ("drm", 0), ("drm", 2), ("network", 1)])
def test_stage_stopped_and_resumed_is_the_same_bytes(trained, monkeypatch, name, k):
    """SIGTERM in the middle, for the DRM before and after its discriminator has learnt."""

    run = STAGES[name]
    first = undo(run, name)
    with monkeypatch.context() as patch:
        patch_fit(patch, lambda training, module, losses, **o: fit(training, module, at(k, terminate, losses), **o))
        with pytest.raises(SystemExit):
            train(run, name)
    assert not Path(f"results/runs/{run}/{name}.safetensors").exists()
    gone = []
    watch = lambda training, module, losses, **o: fit(training, module, at(-1, None, seen(losses, gone)), **o)  # noqa: E731
    patch_fit(monkeypatch, watch)
    train(run, name)
    assert gone == list(range(k + 1, getattr(config.load("runs", run), name).steps))
    assert undo(run, name) == first


def test_only_what_a_stage_depends_on_begins_it_anew(trained, monkeypatch):
    """A comment, a tracker or another stage's keys in the run's file leave a stopped training its state; its own do not."""
    from safetensors.torch import load

    path, first = Path("config/runs/tiny.yaml"), undo("tiny", "branches")
    spec = path.read_text(encoding="utf-8")
    with monkeypatch.context() as patch:
        patch_fit(patch, lambda training, module, losses, **o: fit(training, module, at(3, terminate, losses), **o))
        with pytest.raises(SystemExit):
            train("tiny", "branches")
    state = {path: path.read_bytes() for path in Path("results/resume/tiny").iterdir()}
    for change, begun in [
        (("branches: {", "branches: {save_every_minutes: 9, trackers: [], "), 4),
        (("drm:\n  steps: 4", "drm:  # fewer\n  steps: 3"), 4),
        (("branches: {steps: 6", "branches: {steps: 7"), 0),
        (("tp_tokens: 2", "tp_tokens: 2\n  prompt_order: cm_first"), 0),
    ]:
        assert change[0] in spec
        path.write_text(spec.replace(*change), encoding="utf-8")
        for place, data in state.items():
            place.write_bytes(data)
        gone = []
        with monkeypatch.context() as patch:
            patch_fit(patch, lambda training, module, losses, **o: fit(training, module, seen(losses, gone), **o))  # noqa: B023
            train("tiny", "branches")
        assert gone[0] == begun, change
        made, known = (load(files[".safetensors"]) for files in (undo("tiny", "branches"), first))
        assert not begun or all(torch.equal(made[key], known[key]) for key in known)


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
    patch_fit(monkeypatch, lambda training, module, losses, **o: fit(training, module, None, **o))
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
    Path("config/runs/half.yaml").write_text("\n".join(lines), encoding="utf-8")
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

    from mperceiver.training.latents import CachedLatents

    learnt = []

    def spy(training, module, *arguments, **options):
        curve = fit(training, module, *arguments, **options)
        learnt.append({key: value.clone() for key, value in module.state_dict().items()})
        return curve

    patch_fit(monkeypatch, spy)
    train("tiny", "predictor")
    saved, x = (
        load_file("results/runs/tiny/predictor.safetensors"),
        every(CachedLatents("tiny", "tiny-train").embedding),
    )
    standard = (x - x.mean(0)) / x.std(0).clamp(min=1e-6)
    expected = F.linear(standard, learnt[0]["hidden.weight"], learnt[0]["hidden.bias"])
    assert torch.allclose(F.linear(x, saved["hidden.weight"], saved["hidden.bias"]), expected, atol=1e-3)
    assert expected.std() > 0.1


def objective(monkeypatch, run: str, name: str):
    """The objective that a stage hands to the loop, drawing its own batch, and nothing trained."""

    class Found(Exception):
        pass

    def grab(training, module, losses, draw, **options):
        raise Found(lambda m, rng, generator, phase, step: losses(m, draw(rng, phase), generator, phase, step))

    with monkeypatch.context() as patch:
        patch_fit(patch, grab)
        with pytest.raises(Found) as found:
            train(run, name)
    return found.value.args[0]


def window_of(part: torch.Tensor, whole: torch.Tensor) -> tuple[slice, slice]:
    """Where ``part`` (C, h, w) was cut out of ``whole`` (C, H, W)."""
    (h, w), (high, wide) = part.shape[-2:], whole.shape[-2:]
    places = [(y, x) for y in range(high - h + 1) for x in range(wide - w + 1)]
    ((y, x),) = [(y, x) for y, x in places if torch.equal(whole[:, y : y + h, x : x + w], part)]
    return slice(y, y + h), slice(x, x + w)


@pytest.mark.parametrize("clean", [False, True])
def test_predictor_learns_clean_rows_as_a_class_of_their_own(trained, monkeypatch, clean):
    """Who knows each row's class answers without error: with ``predictor_clean``, that of a clean row is the one after the tasks."""
    from mperceiver.data.read.mixture import Mixture
    from mperceiver.training.latents import CachedLatents

    path = Path("config/runs/tiny.yaml")
    text = path.read_text(encoding="utf-8").replace("model:\n", f"model:\n  predictor_clean: {str(clean).lower()}\n")
    path.write_text(text, encoding="utf-8")
    run, cached = config.load("runs", "tiny"), CachedLatents("tiny", "tiny-train")
    assert run.model.predictor_clean == clean
    monkeypatch.setattr(Mixture, "_is_clean", [[row % 3 == 0 for row in range(18)]])
    known, count = every(cached.embedding), len(run.tasks)
    known = (known - known.mean(0)) / known.std(0).clamp(min=1e-6)
    seen = []

    def oracle(standard):
        rows = torch.cdist(standard, known).argmin(1).tolist()
        seen.extend(rows)
        classes = [count if clean and row % 3 == 0 else run.tasks.index(cached.crops.tasks[row]) for row in rows]
        return 50 * F.one_hot(torch.tensor(classes), count + clean).float()

    losses = objective(monkeypatch, "tiny", "predictor")
    for seed in range(5):
        found = losses(oracle, np.random.default_rng(seed), torch.Generator(), Phase(batch=18, crop_px=16), 0)
        assert found["accuracy"] == 1 and found["loss"] < 1e-6
    assert {row % 3 == 0 for row in seen} == {True, False}


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_branches_learn_the_foundations_target_at_one_place(trained, monkeypatch, prediction):
    """Eq. 1: who knows the clean latent of the same picture and place answers without error; P is the predictor's."""
    from mperceiver.models import towers
    from mperceiver.models.predictor import build_predictor
    from mperceiver.models.sampling import velocity
    from mperceiver.models.weights import load_weights
    from mperceiver.training.latents import CachedLatents

    load = towers.load
    schedule = {"prediction_type": prediction}
    monkeypatch.setattr(
        towers, "load", lambda *a: (found := load(*a)) and replace(found, schedule=found.schedule | schedule)
    )
    losses, cached = objective(monkeypatch, "tiny", "branches"), CachedLatents("tiny", "tiny-train")
    foundation = towers.load("tiny")
    alphas, lq, gt = foundation.alphas(), every(cached.lq).float(), every(cached.gt).float()
    predictor = build_predictor(foundation, config.load("runs", "tiny"))
    load_weights(paths.weights_file("tiny", "predictor"), predictor)
    times, places = [], set()

    def oracle(z, t, embedding, z_lq, p):
        assert torch.equal(p, predictor.probabilities(embedding))
        times.extend(t.tolist())
        answer = []
        for i in range(len(z)):
            (row,) = [r for r, known in enumerate(every(cached.embedding)) if torch.equal(known, embedding[i])]
            window = window_of(z_lq[i], lq[row])
            places.add((row, window[0].start, window[1].start))
            z0, a = gt[row][:, *window], alphas[t[i]]
            noise = (z[i] - a.sqrt() * z0) / (1 - a).sqrt()
            answer.append(noise if prediction == "epsilon" else velocity(z0, noise, a))
        return torch.stack(answer)

    phase = Phase(batch=6, crop_px=16)
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        found = losses(oracle, np.random.default_rng(seed), generator, phase, 0)
        assert found["loss"] < 1e-6
        assert losses(lambda *a: oracle(*a) + 0.1, np.random.default_rng(seed), generator, phase, 0)["loss"] > 9e-3
    assert min(times) < 60 and max(times) > 939 and len(set(times)) > 100  # all of the schedule
    assert len({row for row, *_ in places}) == 18 and len(places) > 60


def test_drm_sees_latent_picture_truth_and_probabilities_of_one_place(trained, monkeypatch):
    from mperceiver.data.read.loader import PreparedDataset
    from mperceiver.models.drm import DetailRefinement
    from mperceiver.models.towers import load
    from mperceiver.training.latents import CachedLatents
    from mperceiver.training.stages.judgements import judgements

    path = Path("config/runs/tiny.yaml")
    path.write_text(path.read_text(encoding="utf-8").replace("drm:\n", "drm:\n  judged_crops: 1\n"), encoding="utf-8")
    run, given = config.load("runs", "tiny"), []
    assert run.drm.judged_crops == 1
    latents = CachedLatents("tiny", "tiny-train")
    (judged,) = judgements("tiny", run, run.drm, load("tiny"), [latents], {})
    assert len(judged.unique(dim=0)) > 5
    rows = PreparedDataset("tiny-train")
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

    monkeypatch.setattr("mperceiver.training.stages.drm.sample_latents", lambda *a: given.append(a[3]) or [shrunk])
    monkeypatch.setattr("mperceiver.training.stages.drm.PictureLosses", Spy)
    monkeypatch.setattr(DetailRefinement, "degraded_features", lambda self, encode, x: (None, seen.update(lq=x)))
    losses = objective(monkeypatch, "tiny", "drm")
    places = set()
    for seed in range(20):
        rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        losses(lambda decode, z, features, p: seen.update(z=z, p=p) or z, rng, generator, Phase(batch=3, crop_px=16), 0)
        assert seen["lq"].shape == seen["gt"].shape == (3, 3, 16, 16) and seen["z"].shape == (3, 4, 8, 8)
        assert torch.equal(seen["z"], F.avg_pool2d(seen["lq"], 2)[:, [0, 1, 2, 0]].half().float())
        assert torch.equal(given[0][0], judged)
        for one, clean, latent, p in zip(seen["lq"], seen["gt"], seen["z"], seen["p"], strict=True):
            (row,) = [i for i in range(18) if contains(shrunk[i].float(), latent)]
            assert torch.equal(p, judged[row])
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


def test_crops_that_the_u_net_cannot_halve_are_refused(trained):
    Path("config/runs/odd.yaml").write_text(
        "like: tiny\nreuse: {predictor: tiny}\npredictor: null\nbranches: {phases: [{batch: 2, crop_px: 24}]}\n",
        encoding="utf-8",
    )
    with pytest.raises(
        config.ConfigError, match=r"odd\.yaml: branches\.phases: crop_px 24 is no multiple of 16, which tiny"
    ):
        train("odd", "branches")


# ---------------------------------------------------------------- few-shot


def starts(monkeypatch) -> list[dict[str, torch.Tensor]]:
    """The state of each module that comes to ``fit``, as it comes."""

    found = []

    def spy(training, module, *arguments, **options):
        found.append({key: value.clone() for key, value in module.state_dict().items()})
        return fit(training, module, *arguments, **options)

    patch_fit(monkeypatch, spy)
    return found


def test_few_shot_starts_from_the_other_run(trained, monkeypatch):
    from safetensors.torch import load_file

    found = starts(monkeypatch)
    before = {path: sha256(path) for path in Path("results/runs/tiny").glob("[!.]*")}
    card = lineage.read_card(train("tiny-few", "drm"))
    assert "results/runs/tiny/drm.json" in card["inputs"] and "results/runs/tiny/branches.json" in card["inputs"]
    source, made = (load_file(f"results/runs/{run}/drm.safetensors") for run in ("tiny", "tiny-few"))
    assert found[0].keys() == source.keys()
    assert all(torch.equal(found[0][key], source[key]) for key in source)
    assert any(not torch.equal(made[key], source[key]) for key in source)
    assert {path: sha256(path) for path in Path("results/runs/tiny").glob("[!.]*")} == before
    assert config.method_weights("tiny-few") == {"predictor": "tiny", "branches": "tiny", "drm": "tiny-few"}


@pytest.mark.parametrize("name", ["predictor", "branches"])
def test_few_shot_of_the_other_stages(trained, monkeypatch, name):
    """A run that trains further; the predictor's weights mean the same though it learns on standardised embeddings."""
    from safetensors.torch import load_file

    from mperceiver.training.latents import CachedLatents

    Path("config/runs/more.yaml").write_text("like: tiny\nstart_from: tiny\nseed: 5\n", encoding="utf-8")
    if name == "branches":
        train("more", "predictor")
    found = starts(monkeypatch)
    train("more", name)
    source = load_file(f"results/runs/tiny/{name}.safetensors")
    if name == "branches":
        assert all(torch.equal(found[0][key], source[key]) for key in source)
        return
    x = every(CachedLatents("tiny", "tiny-train").embedding)
    standard = (x - x.mean(0)) / x.std(0).clamp(min=1e-6)
    before = F.linear(standard, found[0]["hidden.weight"], found[0]["hidden.bias"])
    assert torch.allclose(before, F.linear(x, source["hidden.weight"], source["hidden.bias"]), atol=1e-3)
    assert torch.equal(found[0]["out.weight"], source["out.weight"])


def test_few_shot_of_some_modules(trained):
    """`only` trains these; the others are saved as the run it starts from has them."""
    from safetensors.torch import load_file

    head = "like: tiny\nstart_from: tiny\nreuse: {predictor: tiny}\npredictor: null\ndrm: null\nlatents: null\n"
    Path("config/runs/some.yaml").write_text(
        head + "branches: {only: [ir_adapter, textual.tp_pool], steps: 2}\n", encoding="utf-8"
    )
    card = lineage.read_card(train("some", "branches"))
    before, after = (load_file(f"results/runs/{run}/branches.safetensors") for run in ("tiny", "some"))
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(name.startswith(("ir_adapter.", "textual.tp_pool")) for name in moved)
    assert {name.split(".")[0] for name in moved} == {"ir_adapter", "textual"}
    trained_ones = [t for name, t in after.items() if name.startswith(("ir_adapter.", "textual.tp_pool"))]
    assert card["result"]["parameters"] == sum(t.numel() for t in trained_ones)
    Path("config/runs/some.yaml").write_text(head + "branches: {only: [ir_adaptor]}\n", encoding="utf-8")
    with pytest.raises(
        config.ConfigError, match=r"branches\.only: there is no ir_adaptor; its modules are textual, ir_ada"
    ):
        train("some", "branches")


# ---------------------------------------------------------------- Table 9

# Row of the paper's Table 9 -> (its switches, which parts of the branches there must be)
ABLATIONS = {
    "textual": ("visual: false", {"textual.cm_adapter", "textual.tp_pool"}),
    "textual-no-tp": ("visual: false, tp_pool: false", {"textual.cm_adapter"}),
    "visual": ("textual: false", {"ir_adapter", "ir_adapter.vp_pool", "modulation"}),
    "visual-no-vp": ("textual: false, vp_pool: false", {"ir_adapter", "modulation"}),
    "both-no-tp": ("tp_pool: false", {"textual.cm_adapter", "ir_adapter", "ir_adapter.vp_pool", "modulation"}),
    "both-no-vp": ("vp_pool: false", {"textual.cm_adapter", "textual.tp_pool", "ir_adapter", "modulation"}),
    "full": (
        "prompt_order: cm_first",
        {"textual.cm_adapter", "textual.tp_pool", "ir_adapter", "ir_adapter.vp_pool", "modulation"},
    ),
}


@pytest.mark.parametrize("row", ABLATIONS)
def test_every_row_of_table_9_trains_and_restores(trained, row):
    from safetensors.torch import load_file

    switches, parts = ABLATIONS[row]
    Path("config/runs/row.yaml").write_text(
        f"like: tiny\nmodel: {{{switches}}}\nreuse: {{predictor: tiny}}\npredictor: null\n"
        "branches: {steps: 2}\nlatents: {steps: 1}\ndrm: {steps: 1}\n",
        encoding="utf-8",
    )
    for name in ("branches", "drm"):
        train("row", name)
    names = load_file("results/runs/row/branches.safetensors").keys()
    everything = {"textual.cm_adapter", "textual.tp_pool", "ir_adapter", "ir_adapter.vp_pool", "modulation"}
    assert {part for part in everything if any(f"{name}.".startswith(f"{part}.") for name in names)} == parts
    for name, drm in (("row", "true"), ("row-no-drm", "false")):
        Path(f"config/methods/{name}.yaml").write_text(f"like: tiny\nrun: row\ndrm: {drm}\n", encoding="utf-8")
    assert not torch.equal(restored("row"), restored("row-no-drm"))


def test_the_baseline_of_table_9_is_stable_diffusion(trained):
    """Neither branch: nothing is trained but the predictor, which only tells; the picture enters by its noised latent."""
    switches = "like: tiny\nmodel: {textual: false, visual: false}\nreuse: {predictor: tiny}\npredictor: null\n"
    Path("config/runs/bare.yaml").write_text(switches + "branches: null\ndrm: null\nlatents: null\n", encoding="utf-8")
    Path("config/methods/bare.yaml").write_text(
        "like: tiny\nrun: bare\ndrm: false\nsampler: {init: lq_noised, strength: 0.5}\n", encoding="utf-8"
    )
    assert config.method_weights("bare") == {"predictor": "tiny"}
    assert torch.equal(restored("bare"), restored("bare"))
    Path("config/runs/bare.yaml").write_text(switches, encoding="utf-8")
    with pytest.raises(config.ConfigError, match="the model has neither branch"):
        config.load("runs", "bare")


# ---------------------------------------------------------------- cached work


def test_datasets_with_crops_of_different_sizes_are_refused(trained, foundation):
    from mperceiver.data import DataError
    from mperceiver.data.prepare.dataset import prepare_dataset
    from mperceiver.training.latents import encode

    text = Path("config/datasets/tiny-train.yaml").read_text(encoding="utf-8")
    Path("config/datasets/large.yaml").write_text(text.replace("crop_px: 32", "crop_px: 48"), encoding="utf-8")
    Path("config/runs/mixed.yaml").write_text(
        "like: tiny\ntrain: [tiny-train, large]\nreuse: {predictor: tiny}\npredictor: null\n", encoding="utf-8"
    )
    prepare_dataset("large", workers=1)
    path = encode(foundation, "large")
    lineage.begin("encode", {}).write_card(path.with_suffix(".json"), outputs=[path])
    with pytest.raises(DataError, match=r"one crop_px; their latents are tiny-train \(16, 16\), large \(24, 24\)"):
        train("mixed", "branches")


def test_sampled_latents_follow_what_they_are_made_of(trained, monkeypatch):
    """A killed DRM stage keeps its latents; other branches, or another sampler, make new ones."""
    from mperceiver.training.shards import MappedRows
    from mperceiver.training.stages import drm

    def killed_after_sampling() -> torch.Tensor:
        with monkeypatch.context() as patch:
            patch_fit(patch, lambda *a, **o: terminate_here())
            with pytest.raises(SystemExit):
                train("tiny", "drm")
        (part,) = Path("results/resume/tiny/latents").glob("*.arrow")
        rows = MappedRows([part])  # of those crops alone that the stage's steps use
        return torch.stack(
            [torch.frombuffer(bytearray(rows.bytes("latent", i)), dtype=torch.float16) for i in range(len(rows))]
        )

    def terminate_here():
        raise SystemExit(143)

    samples = []
    original = drm.ddim
    monkeypatch.setattr(drm, "ddim", lambda *a: samples.append(a) or original(*a))
    first = killed_after_sampling()
    assert len(samples) == 1 and torch.isfinite(first.float()).all()
    assert torch.equal(killed_after_sampling(), first) and len(samples) == 1
    path = Path("config/runs/tiny.yaml")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("latents: {steps: 2,", "latents: {steps: 3,"), encoding="utf-8")
    assert not torch.equal(killed_after_sampling(), first) and len(samples) == 2
    path.write_text(text, encoding="utf-8")
    card = Path("results/runs/tiny/branches.json")
    card.write_text(card.read_text(encoding="utf-8").replace('"seed": 0', '"seed": 1'), encoding="utf-8")
    killed_after_sampling()
    assert len(samples) == 3


def restored(method: str) -> torch.Tensor:
    """A picture of an odd size, restored by a method's trained weights."""
    from support.restoring import restore_picture

    from mperceiver.models.mperceiver import load_restorer

    picture = torch.rand(1, 3, 30, 45, generator=torch.Generator().manual_seed(0))
    found = restore_picture(load_restorer(method), picture, config.load("methods", method), seed=7)
    assert found.shape == picture.shape and torch.isfinite(found).all() and not torch.equal(found, picture)
    return found


def test_trained_weights_restore(trained):
    """From a run's files to a picture: what stage 3 left is what the method loads."""
    assert torch.equal(restored("tiny"), restored("tiny"))


def test_controls_of_what_carries_the_result(trained):
    """A DRM without diffusion, and prompts that are mixed by other probabilities than the predicted ones."""
    from mperceiver.models.mperceiver import load_restorer

    reused = "like: tiny\nreuse: {predictor: tiny, branches: tiny}\npredictor: null\nbranches: null\n"
    for name, init in (("alone", "lq_alone"), ("zero", "zero")):
        Path(f"config/runs/{name}.yaml").write_text(reused + f"latents: {{init: {init}}}\n", encoding="utf-8")
        Path(f"config/methods/{name}.yaml").write_text(
            f"like: tiny\nrun: {name}\nsampler: {{init: {init}}}\n", encoding="utf-8"
        )
        train(name, "drm")
    assert not torch.equal(restored("alone"), restored("zero"))

    tasks = config.load("runs", "tiny").tasks
    told = [tasks[-1], "no task of the run"]
    seen = {}
    for kind in ("predicted", "uniform", "given"):
        Path(f"config/methods/{kind}.yaml").write_text(f"like: tiny\nprobabilities: {kind}\n", encoding="utf-8")
        seen[kind] = load_restorer(kind).look(torch.rand(2, 3, 32, 32), told).probabilities
        assert torch.allclose(seen[kind].sum(1), torch.ones(2))
    assert (seen["uniform"] == 1 / len(tasks)).all()
    assert seen["given"][0].tolist() == [0.0] * (len(tasks) - 1) + [1.0]
    assert 0 < seen["given"][1].max() < 1, "a task that is none of the run's stays predicted"


# ---------------------------------------------------------------- random crops


@pytest.fixture
def fresh(trained) -> Path:
    """A run on random crops of whole pictures of several sizes, nothing encoded."""
    from mperceiver.data.prepare.dataset import prepare_dataset
    from mperceiver.data.raw.download import download_dataset

    shutil.rmtree("data/latents")
    text = Path("config/datasets/tiny-train.yaml").read_text(encoding="utf-8")
    whole = text.replace("crop_px: 32\ncrops: 18\nevery: false\n", "every: false\nencode: {crop_px: 32, crops: 2}\n")
    whole = whole.replace("from: [leaves]", "from: [leaves, large-leaves, small-leaves]")
    Path("config/datasets/whole.yaml").write_text(whole, encoding="utf-8")
    for name, size in (("large-leaves", 80), ("small-leaves", 24)):
        spec = (
            Path("config/datasets/leaves.yaml").read_text(encoding="utf-8").replace("size_px: 96", f"size_px: {size}")
        )
        Path(f"config/datasets/{name}.yaml").write_text(spec, encoding="utf-8")
        download_dataset(name, [])
    prepare_dataset("whole", workers=1)
    Path("config/runs/fresh.yaml").write_text("like: tiny\ntrain: [whole]\ncached: false\n", encoding="utf-8")
    return trained


def test_random_crops_need_nothing_encoded(fresh):
    assert not any(
        "latents" in path for name in ("predictor", "branches") for path in config.stage_inputs("fresh", name)
    )
    assert "data/latents/tiny/whole.json" in config.stage_inputs("fresh", "drm")
    bits = []
    for _ in range(2):
        for name in ("predictor", "branches"):
            train("fresh", name)
        bits.append([undo("fresh", name) for name in ("branches", "predictor")])
    assert bits[0] == bits[1]


def test_random_crops_go_through_the_towers_alike(fresh, monkeypatch, foundation):
    """One picture, one place, mirrored or not: what the branches get is what the towers make of the crop."""
    from mperceiver.data.read.loader import PreparedDataset
    from mperceiver.data.read.mixture import Mixture
    from mperceiver.training.stages.batches import LiveBatches

    train("fresh", "predictor")
    losses, rows = objective(monkeypatch, "fresh", "branches"), PreparedDataset("whole")
    seen, cut = {}, []
    original = Mixture.batch

    def batch(self, indices, crop_px, rng, flip):
        cut.append(original(self, indices, crop_px, rng, flip))
        assert flip
        return cut[-1]

    monkeypatch.setattr(Mixture, "batch", batch)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        oracle = lambda z, t, embedding, z_lq, p: seen.update(embedding=embedding, z_lq=z_lq) or z  # noqa: E731
        losses(oracle, np.random.default_rng(seed), generator, Phase(batch=5, crop_px=32), 0)
        lq, gt, _ = cut[-1]
        assert lq.shape == (5, 3, 32, 32) and not torch.equal(lq, gt)
        with torch.no_grad():
            posterior = foundation.vae.encode(lq * 2 - 1).latent_dist
            assert torch.allclose(seen["embedding"], foundation.embed(lq), atol=1e-5)
        spread = (seen["z_lq"] / foundation.vae.config.scaling_factor - posterior.mean) / posterior.std
        assert spread.std().item() == pytest.approx(1, abs=0.1)
    batches = LiveBatches(config.load("runs", "fresh"), foundation, config.load("runs", "fresh").branches)
    for seed in range(3):
        batch = batches.draw(np.random.default_rng(seed), Phase(batch=5, crop_px=32))
        found = batches.latent_batch(batch, torch.Generator().manual_seed(seed))
        for latent, name in ((found.z_lq, "lq"), (found.z_gt, "gt")):
            with torch.no_grad():
                posterior = foundation.vae.encode(batch[name] * 2 - 1).latent_dist
            spread = (latent / foundation.vae.config.scaling_factor - posterior.mean) / posterior.std
            assert spread.std().item() == pytest.approx(1, abs=0.1) and abs(spread.mean()) < 0.1, name
    assert len({rows.size(i) for i in range(len(rows))}) == 3


def test_all_stages_on_crops_of_whole_pictures(fresh):
    """The third stage learns on the fixed crops; the first two may, too."""
    encode("whole")
    Path("config/runs/cropped.yaml").write_text("like: tiny\ntrain: [whole]\n", encoding="utf-8")
    for name in ("predictor", "branches", "drm"):
        card = lineage.read_card(train("cropped", name))
        assert "data/latents/tiny/whole.json" in card["inputs"]
    for name in ("predictor", "branches", "drm"):
        train("fresh", name)


# ---------------------------------------------------------------- baselines


def test_a_baseline_gets_what_its_architecture_needs(trained, monkeypatch):
    """The task of each picture and a second crop of it reach the architecture's own losses; without `needs` they do not."""
    from mperceiver.data.read.loader import PreparedDataset
    from mperceiver.models import baselines

    batches = []

    def losses(network, batch, picture_losses, step, generator):
        batches.append(batch)
        return picture_losses(network(batch["lq"]), batch["gt"], step)

    plain = baselines.ARCHITECTURES["nafnet"]
    needs = frozenset({"task", "second_view"})
    monkeypatch.setitem(baselines.ARCHITECTURES, "nafnet", replace(plain, losses=losses, needs=needs))
    train("tiny-net", "network")
    rows = PreparedDataset("tiny-train")
    classes = config.load("runs", "tiny-net").tasks
    assert len(batches) == config.load("runs", "tiny-net").network.steps
    for batch in batches:
        pictures = [rows.ids.index(name.removeprefix("tiny-train: ")) for name in batch["ids"]]
        assert [classes[task] for task in batch["task"].tolist()] == [rows.tasks[row] for row in pictures]
        for view, row in zip(batch["second_view"], pictures, strict=True):
            whole = torch.from_numpy(rows.lq(row)).permute(2, 0, 1).float().div(255)
            sides = (whole, whole.flip(-1))
            windows = [side.unfold(1, view.shape[1], 1).unfold(2, view.shape[2], 1) for side in sides]
            assert any((found == view[:, None, None]).all((0, 3, 4)).any() for found in windows)
    assert any(not torch.equal(batch["second_view"], batch["lq"]) for batch in batches)
    monkeypatch.setitem(baselines.ARCHITECTURES, "nafnet", replace(plain, losses=losses))
    undo("tiny-net", "network")
    batches.clear()
    train("tiny-net", "network")
    assert set(batches[0]) == {"ids", "lq", "gt"}
