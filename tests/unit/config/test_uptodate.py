"""Which keys of a file make what again, and the times that are set by the cards."""

import os
from pathlib import Path

import pytest
from support.configs import SOURCES, STAGE, describe

from mperceiver import commits, config, lineage
from mperceiver.files import sha256

PAIRS = "title: t\nlicence: l\nfrom: [photos]\ndegradations: {haze: {haze: {}}}\nencode: {crop_px: 16}\n"


@pytest.fixture
def made(world, monkeypatch):
    """Cards of photos -> pairs -> latents, restored -> scores, and of a run's three stages, as their verbs write them."""
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    describe("datasets", "photos", SOURCES)
    describe("datasets", "pairs", PAIRS)
    describe("foundations", "f", "title: f\nlicence: l\nlocal: somewhere\n")
    describe("protocols", "rgb", "title: t\nmetrics: [psnr]\n")
    describe("protocols", "y", "title: t\nchannel: y\nmetrics: [psnr]\n")
    describe("methods", "input", "title: t\nkind: identity\n")
    describe("runs", "full", f"title: t\nfoundation: f\ntrain: [pairs]\nlatents: {{steps: 1}}\npredictor: {STAGE}\n"
             f"branches: {STAGE}\ndrm: {{steps: 1, phases: [{{batch: 1, crop_px: 16}}], losses: {{perceptual: 0}}}}\n")  # fmt: skip
    for card in CARDS:
        write(card)
    return world


CARDS = {
    "data/foundations/f.json": "data/foundations/f.bin",
    "data/raw/photos.json": "data/raw/photos.bin",
    "data/prepared/pairs.json": "data/prepared/pairs.arrow",
    "data/latents/f/pairs.json": "data/latents/f/pairs.arrow",
    "results/runs/full/predictor.json": "results/runs/full/predictor.safetensors",
    "results/runs/full/branches.json": "results/runs/full/branches.safetensors",
    "results/runs/full/drm.json": "results/runs/full/drm.safetensors",
    "results/restored/input/pairs.json": "results/restored/input/pairs",
    "results/scores/input/pairs.json": "results/scores/input/pairs.csv",
}


def write(card: str) -> None:
    out = Path(CARDS[card])
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix:
        out.write_text(card, encoding="utf-8")
    else:
        out.mkdir(exist_ok=True)
        (out / "a.png").write_bytes(b"a")
        (out / ".snakemake_timestamp").touch()
    lineage.begin("v", {}, config.inputs_of(card)).write_card(card, outputs=[out])


def out_of_date() -> set[str]:
    return {card for card in CARDS if config.changes(card, config.inputs_of(card))}


def edit(kind: str, name: str, old: str, new: str) -> None:
    path = config.path_of(kind, name)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


PREPARE, ENCODE, SCORE = "data/prepared/pairs.json", "data/latents/f/pairs.json", "results/scores/input/pairs.json"
PREDICTOR, BRANCHES, DRM = (f"results/runs/full/{stage}.json" for stage in ("predictor", "branches", "drm"))


@pytest.mark.parametrize(
    ("kind", "name", "old", "new", "reached"),
    [
        ("datasets", "pairs", "title: t", "# a comment\ntitle: another title", set()),
        ("datasets", "pairs", "encode", "seed: 0\nencode", set()),  # the default, spelt out
        ("datasets", "pairs", "licence: l", "licence: l\nprotocol: y", {SCORE}),
        ("datasets", "pairs", "crop_px: 16", "crop_px: 32", {ENCODE}),
        ("datasets", "pairs", "encode", "seed: 1\nencode", {PREPARE}),
        ("datasets", "photos", "title: t", "title: another title", set()),
        ("datasets", "photos", "count: 1", "count: 2", {"data/raw/photos.json"}),
        ("datasets", "photos", "title: t", "title: t\nnames: {a.zip: shift_jis}", {"data/raw/photos.json"}),
        ("methods", "input", "title: t", "title: u\ncitation: somebody", set()),
        ("methods", "input", "kind", "memory_gib: 2\nkind", {"results/restored/input/pairs.json"}),
        ("protocols", "rgb", "title: t", "title: u", set()),
        ("protocols", "rgb", "title: t", "title: t\nborder_px: 4", {SCORE}),
        ("foundations", "f", "title: f", "title: g", set()),
        ("foundations", "f", "somewhere", "elsewhere", {"data/foundations/f.json"}),
        ("runs", "full", "drm: {steps: 1", "drm: {steps: 2", {DRM}),
        ("runs", "full", "latents: {steps: 1", "latents: {steps: 2", {DRM}),
        ("runs", "full", "title: t", "title: u", set()),
        ("runs", "full", "title: t", "title: t\nseed: 1", {PREDICTOR, BRANCHES, DRM}),
    ],
)
def test_what_an_edit_puts_out_of_date(made, kind, name, old, new, reached):
    assert out_of_date() == set()
    edit(kind, name, old, new)
    assert out_of_date() == reached


def test_a_card_of_whole_files_is_still_understood(made):
    path = "config/datasets/pairs.yaml"
    lineage.begin("v", {}, ["data/raw/photos.json"]).write_card(PREPARE, sources={path: sha256(path)})
    assert config.changes(PREPARE, config.inputs_of(PREPARE)) == []
    edit("datasets", "pairs", "title: t", "seed: 3\ntitle: t")
    (change,) = config.changes(PREPARE, config.inputs_of(PREPARE))
    assert change.name == f"{path}#prepare"


def times(card: str) -> tuple[float, float, float]:
    """(newest input, oldest and newest output) of a card's job, as Snakemake sees them."""
    inputs = [
        Path(file).stat().st_mtime for file in config.files_of_inputs(config.inputs_of(card)) if Path(file).exists()
    ]
    out = Path(CARDS[card])
    outputs = [Path(card).stat().st_mtime, (out / ".snakemake_timestamp" if out.is_dir() else out).stat().st_mtime]
    return max(inputs), min(outputs), max(outputs)


def test_times_in_no_order_are_put_in_order(made):
    """As `git clone` and `dvc pull` leave them: what comes last in the pipeline is oldest."""
    every = [path for top in ("data", "results", "config") for path in Path(top).rglob("*") if path.is_file()]
    content = {path: path.read_bytes() for path in every}
    for age, path in enumerate(sorted(every)):
        os.utime(path, (2_000_000_000 - 100 * age,) * 2)
    late = {card for card in CARDS if times(card)[0] > times(card)[1]}
    assert late, "some outputs are older than their inputs"
    assert config.settle() > 0
    for card in CARDS:
        newest_input, oldest, newest = times(card)
        assert newest_input <= oldest and newest <= 2_000_000_000, card
    assert config.settle() == 0
    assert {path: path.read_bytes() for path in every} == content


def test_only_what_an_edit_reaches_is_left_older_than_its_inputs(made):
    config.settle()
    edit("datasets", "pairs", "licence: l", "licence: l\nprotocol: y")
    os.utime("config/protocols/y.yaml", (1_000_000_000,) * 2)  # older than any output: its time says nothing
    config.settle()
    assert {card for card in CARDS if times(card)[1] < times(card)[0]} == {SCORE}
    write(SCORE)
    config.settle()
    assert {card for card in CARDS if times(card)[1] < times(card)[0]} == set()


def test_the_measurement_of_a_job_that_was_undone_has_no_say(made):
    """After `git checkout` and `dvc checkout` it is older than the files that came back, and Snakemake counts it as an output."""
    benchmark = Path("results/benchmarks/train_drm/full.tsv")
    benchmark.parent.mkdir(parents=True)
    benchmark.write_text("s\n1\n", encoding="utf-8")
    os.utime(benchmark, (1_000_000_000,) * 2)
    config.settle()
    assert times(DRM)[0] <= benchmark.stat().st_mtime and benchmark.read_text(encoding="utf-8") == "s\n1\n"


def test_what_is_no_card_or_has_no_file_any_more_is_passed_over(made):
    Path("results/scores/input/other.json").write_text("{}", encoding="utf-8")
    Path("data/prepared/gone.json").write_text("{}", encoding="utf-8")
    Path("results/runs/full/notes.json").write_text("{}", encoding="utf-8")
    Path(SCORE).write_text("no card", encoding="utf-8")
    config.settle()
    assert Path(SCORE).read_text(encoding="utf-8") == "no card"


def test_restoring_reads_the_model_of_its_run(made):
    describe("methods", "ours", "title: t\nkind: mperceiver\nrun: full\n")
    card = "results/restored/ours/pairs.json"
    lineage.begin("restore", {}, config.restore_inputs("ours", "pairs")).write_card(card)
    assert config.changes(card, config.restore_inputs("ours", "pairs")) == []
    edit("runs", "full", "title: t", "title: t\nmodel: {predictor_temperature: 0.5}")
    (change,) = config.changes(card, config.restore_inputs("ours", "pairs"))
    assert change.name == "config/runs/full.yaml#restore"


def test_a_module_reads_folders_and_json_files_that_are_no_cards(made):
    settings = Path("weights/gain.json")
    settings.parent.mkdir()
    settings.write_text("0.9", encoding="utf-8")
    reads = [str(settings.parent), str(settings)]
    describe(
        "methods", "theirs", f"title: t\nkind: python\npython: {{entry: 'own:make', reads: [{', '.join(reads)}]}}\n"
    )
    card, inputs = "results/restored/theirs/pairs.json", config.restore_inputs("theirs", "pairs")
    lineage.begin("restore", {}, inputs).write_card(card)
    assert config.changes(card, inputs) == []
    settings.write_text("0.2", encoding="utf-8")
    assert [change.name for change in config.changes(card, inputs)] == reads
    assert [lineage.is_card(path) for path in (card, *reads)] == [True, False, False]
    assert set(lineage.chain(card)) == {card, "data/prepared/pairs.json", "data/raw/photos.json"}
