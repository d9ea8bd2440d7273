"""What a method restores with, in one digest: it changes with what changes pixels, and costs no reading of weights."""

import json
from pathlib import Path

import pytest

from mperceiver import files
from mperceiver.restoring import photographs
from mperceiver.restoring.definitions import definition

RUN = """title: net
train: [d]
network: {architecture: nafnet, steps: 1, phases: [{batch: 1, crop_px: 8}]}
"""
METHOD = "title: net\nkind: network\nrun: net\n"
WEIGHTS = Path("results/runs/net/network.safetensors")


def write(path: str | Path, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")


def card_of(digest: str) -> str:
    return json.dumps({"verb": "train_network", "inputs": {}, "outputs": {str(WEIGHTS): digest}})


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("config/runs/net.yaml", RUN)
    write("config/methods/net.yaml", METHOD)
    write(WEIGHTS, "weights")
    write(WEIGHTS.with_suffix(".json"), card_of("1" * 64))
    return tmp_path


def now(method: str = "net", **changes) -> str:
    return definition(method, photographs.method_for_photographs(method, **changes))


def test_what_changes_pixels_changes_it(world):
    before = {now(), now(tile_px=64)}
    assert len(before) == 2
    for path, text in (
        ("config/methods/net.yaml", METHOD + "self_ensemble: flip2\n"),
        ("config/methods/net.yaml", METHOD + "sampler: {seed: 3}\n"),
        ("config/runs/net.yaml", RUN + "tasks: [rain]\n"),
        (WEIGHTS.with_suffix(".json"), card_of("2" * 64)),
    ):
        old = Path(path).read_text(encoding="utf-8")
        write(path, text)
        assert now() not in before, text
        before.add(now())
        write(path, old)
    assert now() in before


def test_what_changes_no_pixel_does_not(world):
    before = now()
    assert now(memory_gib=1.5) == before
    write("config/methods/net.yaml", "# a comment\n" + METHOD.replace("title: net", "title: other") + "citation: c\n")
    write("config/runs/net.yaml", RUN.replace("title: net", "title: other") + "seed: 3\n")
    assert now() == before


def test_weights_are_read_only_if_they_have_no_card_and_once(world, monkeypatch):
    hashed = []
    monkeypatch.setattr(files, "SMALL_BYTES", 0)
    monkeypatch.setattr(files, "sha256", lambda path: hashed.append(path) or "3" * 64)
    now()
    assert hashed == []
    WEIGHTS.with_suffix(".json").unlink()
    assert now() == now() and hashed == [WEIGHTS]
    WEIGHTS.write_text("other weights", encoding="utf-8")
    now()
    assert hashed == [WEIGHTS, WEIGHTS]
    WEIGHTS.unlink()
    now()


def test_a_module_of_ones_own(world):
    write("own.py", "a = 1")
    write("config/methods/own.yaml", "title: own\nkind: python\npython: {entry: 'own:make'}\n")
    before = now("own")
    write("own.py", "a = 2")
    assert now("own") != before


def test_published_weights_count_by_the_card_of_their_foundation(world):
    mirror = "{mirrors: [{url: 'https://example.org/a'}], files: {net.pth: {tensors_only: true}}}"
    write("config/foundations/f.yaml", f"title: f\nlicence: l\nparts: [{mirror}]\n")
    write(
        "config/methods/p.yaml",
        "title: p\nkind: checkpoint\nfoundation: f\ncheckpoint: {architecture: SwinIR, file: net.pth}\n",
    )
    digests = set()
    for digest in ("", "1" * 64, "2" * 64):
        if digest:
            result = {"files": {"net.pth": {"sha256": digest}}}
            write(
                "data/foundations/f.json",
                json.dumps({"verb": "foundation", "inputs": {}, "outputs": {}, "result": result}),
            )
        digests.add(now("p"))
    assert len(digests) == 3
