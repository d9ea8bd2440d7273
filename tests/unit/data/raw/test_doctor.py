"""The doctor: every state that a source can be in, found without a download."""

import importlib.metadata
import io
import json
import zipfile
from pathlib import Path

import pytest
import yaml
from support.packages import index_package
from typer.testing import CliRunner

from mperceiver import cli, commits, config
from mperceiver.data import DataError
from mperceiver.data.raw.doctor import ask_sources
from mperceiver.data.raw.download import download_dataset

BODY = b"PK" + bytes(5000)


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    for name in ("HF_HUB_OFFLINE", "MPERCEIVER_MIRROR", "MPERCEIVER_EXPERIMENT"):
        monkeypatch.delenv(name, raising=False)
    for kind in ("datasets", "foundations"):
        Path("config", kind).mkdir(parents=True)
    return tmp_path


def describe(name: str, *sources: dict, kind: str = "datasets", **more) -> None:
    text = {"title": "t", "licence": "l"} | ({"sources": list(sources)} if sources else {}) | more
    Path(f"config/{kind}/{name}.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")


def http(url: str, **known) -> dict:
    return {"source": "http", "files": [{"url": url, "name": "set.zip"} | known]}


def states(*names: str, mirrors: tuple[Path, ...] = ()) -> list[str]:
    return [answer.state for answer in ask_sources(list(names), list(mirrors))]


def test_a_folder_may_be_named_from_a_home(world, monkeypatch):
    monkeypatch.setenv("HOME", str(world))
    Path("pics").mkdir()
    describe("d", *({"source": "local", "folder": folder} for folder in ("~/pics", "~/none", "~nobody-of-that-name/a")))
    assert states("d") == ["ok", "manual", "unreachable"]


def test_an_available_file_is_ok_and_not_downloaded(world, server):
    url = server.put("/set.zip", BODY)
    describe("d", http(url), http(url, bytes=len(BODY)))
    (one, two) = ask_sources(["d"], [])
    assert (one.state, one.detail, one.source, one.file) == ("ok", "0.0 MB", "http", "set.zip") and two.state == "ok"
    assert server.sent <= 2 and not Path("data").exists()


@pytest.mark.parametrize(
    ("served", "state", "detail"),
    [
        ({"status": 404}, "moved", "answers 404"),
        ({"status": 410}, "moved", "answers 410"),
        ({"status": 401}, "needs login", "answers 401"),
        ({"status": 403}, "needs login", "answers 403"),
        ({"status": 500}, "unreachable", "answers 500"),
        ({"kind": "text/html; charset=utf-8"}, "needs login", "sends a web page instead of the file"),
        ({"body": BODY[:-1]}, "hash differs", f"offers {len(BODY) - 1} bytes, the config has {len(BODY)}"),
        ({"length": False}, "ok", ""),
    ],
)
def test_each_answer_of_a_server_has_its_state(world, server, served, state, detail):
    describe("d", http(server.put("/set.zip", **({"body": BODY} | served)), bytes=len(BODY)))
    (answer,) = ask_sources(["d"], [])
    assert answer.state == state and detail in answer.detail


def test_redirects_are_followed(world, server):
    server.put("/new.zip", BODY)
    server.put("/login", b"<html>", kind="text/html")
    describe("d", http(server.put("/old.zip", b"", to="/new.zip")), http(server.put("/l.zip", b"", to="/login")))
    ok, login = ask_sources(["d"], [])
    assert ok.state == "ok" and login.state == "needs login" and "a login page" in login.detail


def test_a_server_that_is_not_there(world, server):
    describe("d", http("http://127.0.0.1:9/set.zip"))
    (answer,) = ask_sources(["d"], [])
    assert answer.state == "unreachable" and "http://127.0.0.1:9/set.zip" in answer.detail


def test_sizes_are_compared_with_the_card(world, server):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        bundle.writestr("a.png", b"1")
    describe("d", http(server.put("/set.zip", buffer.getvalue())))
    download_dataset("d", [])
    assert states("d") == ["ok"]
    server.put("/set.zip", BODY)
    (answer,) = ask_sources(["d"], [])
    assert answer.state == "hash differs" and "the card has" in answer.detail


def test_the_listing_of_the_hub_gives_sizes_and_digests(world, server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    lfs = {"oid": "a" * 64, "size": 5002, "pointerSize": 130}
    tree = [{"type": "file", "path": f"{i}.zip", "size": 5002, "oid": "0" * 40, "lfs": lfs} for i in range(3)]
    server.put(
        "/api/datasets/some/set/tree/main?recursive=true",
        json.dumps(tree).encode(),
        kind="application/json",
    )
    server.put("/datasets/some/set/resolve/main/0.zip", BODY)
    source = {"source": "huggingface", "repo": "some/set"}
    describe(
        "d", source, source | {"sha256": {"1.zip": "b" * 64}}, source | {"count": 4}, source | {"repo": "some/other"}
    )
    answers = ask_sources(["d"], [])
    assert [answer.state for answer in answers] == ["ok", "hash differs", "hash differs", "moved"]
    assert answers[0].detail == "3 files" and answers[1].file == "1.zip" and "the server offers" in answers[1].detail
    assert "3 files fit **, expected 4" in answers[2].detail


def test_sources_on_this_machine_and_files_that_a_person_brings(world, server):
    manual = {"source": "manual", "page": "https://example.org/", "terms": "none", "files": [{"name": "set.zip"}]}
    describe(
        "d",
        manual,
        {"source": "local", "folder": "set"},
        {"source": "package", "package": "numpy", "files": {"a": "b.png"}},
    )
    describe("e", {"source": "generated", "generator": "dead-leaves", "count": 1, "size_px": 8})
    assert states("d", "e") == ["manual", "manual", "ok", "ok"]
    Path("lab/d").mkdir(parents=True)
    Path("lab/d/set.zip").write_bytes(BODY)
    Path("lab/set").mkdir()
    assert states("d", mirrors=(Path("lab"),)) == ["ok", "ok", "ok"] and not server.asked


def test_mirrors_of_foundations(world, server, monkeypatch):
    tree = [{"type": "file", "path": "vae/config.json", "size": 3, "oid": "0" * 40}]
    server.put(
        "/api/models/some/weights/tree/main?recursive=true",
        json.dumps(tree).encode(),
        kind="application/json",
    )
    server.put("/w/vae/config.json", b"{}\n")
    hub = {"hub": "some/weights", "endpoint": server.url}
    mirrors = [hub, {"url": f"{server.url}/w"}, {"url": f"{server.url}/gone"}, {"folder": "nowhere"}]
    describe("f", kind="foundations", parts=[{"mirrors": mirrors, "files": {"vae/config.json": {"bytes": 3}}}])
    assert states("f") == ["ok", "ok", "moved", "manual"]
    describe(
        "g", kind="foundations", parts=[{"mirrors": [hub], "files": {"vae/config.json": {"bytes": 4}, "b.json": {}}}]
    )
    assert {f.file: f.state for f in ask_sources(["g"], [])} == {"vae/config.json": "hash differs", "b.json": "moved"}


def test_packages_of_foundations(world, server, monkeypatch):
    """The installed package, else what the index lists."""
    index_package(server, "far-away", "far_away-1.0-py3-none-any.whl", BODY)
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"{server.url}/simple/")
    version = importlib.metadata.version("lpips")
    mirrors = [
        {"package": "lpips", "version": version},
        {"package": "far-away", "version": "1.0"},
        {"package": "far-away", "version": "2.0"},
    ]
    files = {"heads.svm": {"from": "lpips/weights/v0.1/alex.pth", "sha256": "0" * 64}}
    describe("f", kind="foundations", parts=[{"mirrors": mirrors, "files": files}])
    assert states("f") == ["ok", "ok", "unreachable"]
    answers = [answer.detail for answer in ask_sources(["f"], [])]
    assert answers[0].endswith("installed") and answers[1].endswith("far_away-1.0-py3-none-any.whl")
    assert "no archive of far-away 2.0" in answers[2]


def test_names_lead_to_the_datasets_they_are_made_from(world, server):
    describe("raw", http(server.put("/set.zip", BODY)))
    describe("test", **{"from": ["raw"], "degradations": {"noise": {"gaussian-noise": {}}}})
    assert [answer.name for answer in ask_sources(["test"], [])] == ["raw"]
    assert [answer.name for answer in ask_sources([], [])] == ["raw"]
    with pytest.raises(config.ConfigError, match="no such file. The (nearest )?datasets"):
        ask_sources(["tset"], [])


def test_without_a_network_it_says_so_at_once(world, monkeypatch):
    describe("d", http("http://127.0.0.1:9/set.zip"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match=r"\$HF_HUB_OFFLINE is set, so no server may be asked"):
        ask_sources([], [])


def test_the_verb_prints_a_table_or_json_and_its_code_tells(world, server):
    describe("good", http(server.put("/set.zip", BODY)))
    runner = CliRunner()
    done = runner.invoke(cli.app, ["doctor"])
    assert done.exit_code == 0 and "set.zip" in done.stdout and "1 ok" in done.stdout
    describe("bad", http(f"{server.url}/gone.zip"))
    done = runner.invoke(cli.app, ["doctor", "--json"])
    answers = json.loads(done.stdout)
    assert done.exit_code == 1 and [(f["name"], f["state"]) for f in answers] == [("bad", "moved"), ("good", "ok")]
    assert runner.invoke(cli.app, ["doctor", "good"]).exit_code == 0
