"""Cards, and the chain that they form."""

import json
import socket
from pathlib import Path

import pytest

from mperceiver import commits, files, lineage, shipped
from mperceiver.config.datasets import Dataset
from mperceiver.lineage import LineageError

COMMIT = ("0" * 40, False)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """An empty working directory; its commit is made up, so that the tests run without a checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: COMMIT)
    return tmp_path


# ---------------------------------------------------------------- code


def test_hash_of_the_code(world, monkeypatch):
    monkeypatch.setattr(shipped, "PACKAGE", world)
    Path("report").mkdir()
    for name in ("a.py", "report/b.html.j2", "notes.txt"):
        Path(name).write_text("1", encoding="utf-8")
    hashes = [lineage.code.__wrapped__()]
    for name in ("notes.txt", "a.py", "report/b.html.j2"):
        Path(name).write_text("2", encoding="utf-8")
        hashes.append(lineage.code.__wrapped__())
    assert hashes[0] == hashes[1] and len(set(hashes)) == 3


# ---------------------------------------------------------------- cards


def make_card(path: str = "results/card.json", **changes) -> dict:
    for name in ("in", "out"):
        if not Path(name).exists():
            Path(name).write_text(name, encoding="utf-8")
    begun = {"verb": "test", "spec": {"b": 1, "a": [2]}, "inputs": ["in"], "seed": 3}
    work = lineage.begin(**begun | {key: changes.pop(key) for key in begun.keys() & changes.keys()})
    return work.write_card(path, **{"outputs": ["out"]} | changes)


def test_a_card_says_what_was_made_from_what(world):
    card = make_card(sources={"package:a/b.png": "f" * 64}, result={"n": 1})
    assert (
        card
        == lineage.read_card("results/card.json")
        == json.loads(Path("results/card.json").read_text(encoding="utf-8"))
    )
    assert (card["verb"], card["commit"], card["dirty"]) == ("test", *COMMIT)
    assert card["inputs"] == {"in": files.sha256("in"), "package:a/b.png": "f" * 64}
    assert card["outputs"] == {"out": files.sha256("out")}
    assert (card["spec"], card["seed"], card["result"], card["device"]) == ({"b": 1, "a": [2]}, 3, {"n": 1}, "cpu")
    assert card["code"] == lineage.code() and {"torch", "numpy"} <= set(card["versions"])


def test_equal_work_gives_equal_cards(world, tmp_path, monkeypatch):
    make_card("here.json")
    other = tmp_path / "elsewhere"
    other.mkdir()
    monkeypatch.chdir(other)
    make_card("here.json", spec={"a": [2], "b": 1})
    text = Path("here.json").read_bytes()
    assert text == (tmp_path / "here.json").read_bytes()
    assert str(tmp_path).encode() not in text and socket.gethostname().encode() not in text


def test_other_work_gives_another_card(world):
    cards = [make_card()]
    cards += [make_card(**change) for change in ({"spec": {}}, {"seed": 4}, {"verb": "other"}, {"device": "a GPU"})]
    Path("in").write_text("changed", encoding="utf-8")
    cards.append(make_card())
    assert len({json.dumps(card, sort_keys=True) for card in cards}) == len(cards)


def test_a_spec_has_the_keys_of_its_file(world):
    dataset = Dataset.model_validate(
        {"title": "t", "licence": "l", "from": ["a"], "degradations": {"haze": {"haze": {}}}}
    )
    assert make_card(spec=dataset)["spec"]["from"] == ["a"]
    inside = make_card(spec={"dataset": dataset, "name": "a"})["spec"]
    assert inside["dataset"]["from"] == ["a"] and inside["name"] == "a"


def test_inputs_may_be_any_iterable(world):
    card = make_card(inputs=(Path(name) for name in ["in"]), outputs=iter([Path("out")]))
    assert set(card["inputs"]) == {"in"} and set(card["outputs"]) == {"out"}


def test_no_card_without_its_files(world):
    with pytest.raises(
        LineageError, match=r"results/card.json: cannot write the card, outputs are missing: gone, lost"
    ):
        make_card(outputs=["gone", "out", "lost"])
    assert not Path("results").exists()


def test_no_work_begins_without_its_inputs(world):
    with pytest.raises(FileNotFoundError, match="gone"):
        lineage.begin("test", {}, ["gone"])


def test_a_card_names_the_inputs_as_they_were_when_the_work_began(world):
    Path("in").write_text("before", encoding="utf-8")
    was, work = files.sha256("in"), lineage.begin("test", {}, ["in"])
    Path("in").write_text("edited meanwhile", encoding="utf-8")
    assert work.write_card("card.json")["inputs"] == {"in": was}


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"verb": "a"}', "\xff"])
def test_a_file_that_is_no_card_is_refused(world, text):
    Path("card.json").write_text(text, encoding="latin-1")
    with pytest.raises(
        LineageError, match=r"card.json: not a card; delete it and make it again: snakemake --cores all card.json"
    ):
        lineage.read_card("card.json")


def test_a_missing_card_is_named_with_the_command_that_makes_it(world):
    with pytest.raises(
        LineageError, match=r"no such card; make it with: snakemake --cores all results/scores/a/b.json"
    ):
        lineage.read_card("results/scores/a/b.json")


# ---------------------------------------------------------------- the chain


@pytest.fixture
def chained(world):
    """raw -> prepared -> {restored -> score, score} -> table, with plain files between them."""

    def work(name: str, *inputs: str, **more) -> None:
        Path(f"{name}.bin").write_text(name, encoding="utf-8")
        lineage.begin("v", {}, inputs).write_card(f"{name}.json", outputs=[f"{name}.bin"], **more)

    Path("config.yaml").write_text("title: t", encoding="utf-8")
    work("raw", "config.yaml", sources={"package:pictures/a.json": "0" * 64})
    work("prepared", "raw.json", "config.yaml")
    work("restored", "prepared.json")
    work("score", "restored.json", "prepared.json")
    work("table", "score.json", "config.yaml")
    return world


def test_the_chain_is_listed_nearest_first(chained):
    cards = lineage.chain("table.json")
    assert list(cards) == ["table.json", "score.json", "prepared.json", "restored.json", "raw.json"]
    assert cards["raw.json"] == lineage.read_card("raw.json")
    assert list(lineage.chain(Path("raw.json"))) == ["raw.json"]


def test_a_sound_chain_has_no_problems(chained):
    assert lineage.verify("table.json") == []


def test_verify_names_a_changed_byte(chained):
    was = files.sha256("prepared.bin")
    data = bytearray(Path("prepared.bin").read_bytes())
    data[3] ^= 1
    Path("prepared.bin").write_bytes(data)
    now = files.sha256("prepared.bin")
    assert lineage.verify("table.json") == [f"prepared.json: output prepared.bin was {was[:12]}…, is {now[:12]}…"]
    assert lineage.verify("raw.json") == []  # below the change all is as it was


def test_verify_names_a_changed_config_at_every_card_that_rests_on_it(chained):
    Path("config.yaml").write_text("title: u", encoding="utf-8")
    problems = lineage.verify("table.json")
    assert [problem.partition(":")[0] for problem in problems] == ["table.json", "prepared.json", "raw.json"]
    assert all("input config.yaml was" in problem for problem in problems)


def test_verify_names_a_card_that_was_made_again(chained):
    Path("raw.bin").write_text("other", encoding="utf-8")
    lineage.begin("v", {}, ["config.yaml"]).write_card("raw.json", outputs=["raw.bin"])
    assert [p.split(" was ")[0] for p in lineage.verify("table.json")] == ["prepared.json: input raw.json"]


def test_verify_names_what_is_missing(chained):
    Path("restored.bin").unlink()
    Path("raw.json").unlink()
    assert lineage.verify("table.json") == [
        "prepared.json: input raw.json is missing",
        "restored.json: output restored.bin is missing",
    ]


def test_verify_looks_into_folders(world):
    Path("pictures").mkdir()
    Path("pictures/a.png").write_bytes(b"1")
    lineage.begin("v", {}).write_card("a.json", outputs=["pictures"])
    assert lineage.verify("a.json") == []
    Path("pictures/.snakemake_timestamp").write_bytes(b"")
    assert lineage.verify("a.json") == []
    Path("pictures/b.png").write_bytes(b"1")
    assert len(lineage.verify("a.json")) == 1
