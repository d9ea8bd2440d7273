"""What a server says, and what a URL keeps secret, on the way to a terminal and into a card."""

import json
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from support.serving import serving
from typer.testing import CliRunner

from mperceiver import cli, commits, images
from mperceiver.fetch import FetchError, fetch

EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[31mGone\x9b1m"


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    Path("config/datasets").mkdir(parents=True)
    return tmp_path


def described(*urls: str) -> None:
    files = ", ".join(f'{{url: "{url}", name: p{i}.png}}' for i, url in enumerate(urls))
    text = f"title: t\nlicence: l\nsources: [{{source: http, files: [{files}]}}]\n"
    Path("config/datasets/photos.yaml").write_text(text, encoding="utf-8")


def run(*words: str):
    return CliRunner(env={"COLUMNS": "250", "NO_COLOR": "1", "TERM": "dumb"}).invoke(cli.app, words)


@pytest.fixture
def rude():
    """A server that answers 404 with escape sequences as its reason; its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            with line:
                line.recv(65536)
                line.sendall(f"HTTP/1.1 404 {EVIL}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode("latin-1"))

    threading.Thread(target=answer, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


@pytest.mark.parametrize("verb", ["download", "doctor"])
def test_a_servers_escape_sequences_stay_out_of_the_terminal(world, rude, verb):
    described(f"{rude}/a.png?token=sesame")
    said = run(verb, "photos")
    assert said.exit_code == 1 and "photos" in said.output
    assert not any(sign in said.output for sign in ("\x1b", "\x07", "\x9b", "sesame"))
    if verb == "download":
        assert r"404 \x1b]0;owned" in said.output and "token=***" in said.output, said.output


@pytest.mark.parametrize("url", ["http://me:sesame@127.0.0.1:9/a.png", "http://127.0.0.1:9/a.png?x=1&sig=sesame"])
def test_an_error_of_fetching_keeps_the_secret(tmp_path, url, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(FetchError) as raised:
        fetch(url, tmp_path / "a.png")
    assert "sesame" not in str(raised.value) and "***" in str(raised.value)


def test_a_configuration_error_keeps_the_password(world):
    described("https://me:" + "sesame" * 20 + "@example.org/a.png")
    said = run("download", "photos")
    assert said.exit_code == 1 and "https://***@example.org/a.png" in said.output and "sesame" not in said.output


def test_cards_keep_the_secret_and_two_files_stay_two(world):
    with serving() as server:
        urls = []
        for i in range(2):
            picture = np.full((20, 20 + i, 3), 50 * i, np.uint8)
            urls.append(server.put(f"/get?token=sesame{i}", images.encode(picture)))
        described(*urls)
        assert run("download", "photos").exit_code == 0
        text = Path("data/raw/photos.json").read_text(encoding="utf-8")
        assert "sesame" not in text and text.count("token=***") >= 4
        files = json.loads(text)["result"]["files"]
        assert len({file["from"] for file in files.values()}) == len({file["sha256"] for file in files.values()}) == 2
        asked = len(server.asked)
        assert run("download", "photos").exit_code == 0 and len(server.asked) == asked  # nothing is fetched again
        assert Path("data/raw/photos.json").read_text(encoding="utf-8") == text
        assert run("download", "photos", "--force").exit_code == 0  # and both have the digests of the first download
