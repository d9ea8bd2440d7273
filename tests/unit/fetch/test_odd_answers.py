"""Answers that no server should give: each ends in the project's own error (or the file), none in a traceback, none without a bound."""

import gzip
import json
import socket
import threading
import time

import pytest
from support.fuzzing import peak_bytes, reset_peak

from mperceiver.fetch import FetchError, fetch, hub, pace, probe, transfer
from mperceiver.fetch.base import content_length

OK = b"HTTP/1.1 200 OK\r\n"
BYTES = b"Content-Length: 5\r\n\r\nhello"


@pytest.fixture
def raw(monkeypatch):
    """A server that sends bytes to every client, or what a function yields: ``raw(bytes)`` returns its address."""
    monkeypatch.setattr(transfer, "WAITS_S", (0,) * 5)
    listening = socket.create_server(("127.0.0.1", 0))
    answer = [b""]

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            with client:
                client.settimeout(10)
                try:
                    client.recv(65536)
                    for piece in answer[0]() if callable(answer[0]) else answer:
                        client.sendall(piece)
                    client.shutdown(socket.SHUT_WR)
                    client.recv(1)
                except OSError:
                    pass

    threading.Thread(target=serve, daemon=True).start()

    def given(data) -> str:
        answer[0] = data
        return f"http://127.0.0.1:{listening.getsockname()[1]}/a"

    yield given
    listening.close()


@pytest.mark.parametrize(
    "head",
    [
        OK + b"Content-Length: abc\r\n\r\nhello",
        OK + b"Content-Length: -5\r\n\r\nhello",
        OK + b"Content-Length: +5\r\n\r\nhello",
        OK + b"Content-Length: 5, 6\r\n\r\nhello",
        OK + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nhello",
        OK + b"Content-Length: \xb2\r\n\r\nhello",
        OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nhello",
        OK + b"Content-Length: \r\n\r\nhello",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 70_000,
        OK + b"X: " + b"y" * 70_000 + b"\r\n" + BYTES,
        OK + b"".join(b"X%d: y\r\n" % i for i in range(200)) + BYTES,
        OK + b"Content-Encoding: gzip\r\n" + BYTES,
        OK + b"Content-Encoding: br\r\n" + BYTES,
        b"HTTP/1.1 abc\r\n" + BYTES,
        b"HTTP/1.1 99999 No\r\n" + BYTES,
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-\xb2/5\r\n" + BYTES,
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-4/" + b"9" * 5000 + b"\r\n" + BYTES,
        b"HTTP/1.1 416 No\r\n" + BYTES,
        b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /\xe9t\xe9\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:99999/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://" + b"a" * 300 + b".example/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 301 Moved\r\nLocation: /a\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\nRetry-After: -1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 429 Busy\r\nRetry-After: Fri, 31 Dec 99999999999 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"",
    ],
)
def test_an_odd_head(raw, tmp_path, monkeypatch, head):
    monkeypatch.setattr(transfer.time, "sleep", lambda seconds: None)
    url = raw(head)
    with pytest.raises(FetchError, match="http://127.0.0.1"):
        fetch(url, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    probe(url)
    with pytest.raises(hub.ListingError):
        hub.list_files("a/b", endpoint=url.removesuffix("/a"))


def test_the_same_length_twice_is_taken(raw, tmp_path):
    assert fetch(raw(OK + b"Content-Length: 5\r\n" + BYTES), tmp_path / "a").path.read_bytes() == b"hello"
    assert content_length({"Content-Length": "7 , 7"}) == 7 and content_length({}) is None


def test_a_body_longer_than_expected_is_cut_off(raw, tmp_path):
    def endless():
        yield OK + b"Transfer-Encoding: chunked\r\n\r\n"
        for _ in range(1000):
            yield b"100000\r\n" + bytes(1 << 20) + b"\r\n"

    with pytest.raises(FetchError, match="more than the 100 bytes expected"):
        fetch(raw(endless), tmp_path / "a", bytes=100)
    assert list(tmp_path.iterdir()) == []


def test_the_body_of_a_redirect_is_not_read(raw, tmp_path):
    def endless():
        yield b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/b\r\nTransfer-Encoding: chunked\r\n\r\n"
        for _ in range(300):
            yield b"100000\r\n" + bytes(1 << 20) + b"\r\n"

    before = reset_peak()
    with pytest.raises(FetchError, match="refused"):
        fetch(raw(endless), tmp_path / "a")
    assert peak_bytes() - before < 100 << 20


def test_a_listing_is_bounded(raw, monkeypatch):
    monkeypatch.setattr("mperceiver.fetch.base.LISTING_BYTES", 1 << 16)
    for body in (b"[" + b"1," * (1 << 16), gzip.compress(bytes(1 << 22)), b"[" * 60_000, b"{}", b'[{"type": "file"}]'):
        encoding = b"Content-Encoding: gzip\r\n" if body.startswith(b"\x1f") else b""
        answer = OK + encoding + b"Content-Length: %d\r\n\r\n" % len(body) + body
        if body == b"{}":
            assert hub.list_files("a/b", endpoint=raw(answer).removesuffix("/a")) == []
            continue
        with pytest.raises(hub.ListingError, match="not a listing"):
            hub.list_files("a/b", endpoint=raw(answer).removesuffix("/a"))


def test_a_body_compressed_for_the_way_is_refused_but_a_gz_file_is_itself(server, tmp_path):
    body = gzip.compress(json.dumps([1, 2]).encode())
    for name, encoding in (("/a.json", "gzip"), ("/a.png", "deflate"), ("/a.tar.gz", "br"), ("/a.zip", "x-gzip")):
        with pytest.raises(FetchError, match=rf"compressed \(Content-Encoding: '{encoding}'\)"):
            fetch(server.put(name, body, extra={"Content-Encoding": encoding}), tmp_path / "a")
    for name, encoding in (("/a.tar.gz", "gzip"), ("/b.tgz", "x-gzip"), ("/c.png", "identity")):
        fetch(server.put(name, body, extra={"Content-Encoding": encoding}), tmp_path / name[1:])
        assert (tmp_path / name[1:]).read_bytes() == body
        assert all(headers["Accept-Encoding"] == "identity" for headers in server.gets(name))


def test_a_server_that_is_silent_is_given_up_in_words(raw, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("mperceiver.fetch.base.TIMEOUT_S", (1, 0.2))
    monkeypatch.setattr(transfer, "TIMEOUT_S", (1, 0.2))

    def silent():
        yield OK + b"Content-Length: 500\r\n\r\n" + bytes(100)
        time.sleep(0.6)

    with pytest.raises(FetchError, match=r"the server sent nothing for 0\.2 s.*Run the same command again"):
        fetch(raw(silent), tmp_path / "a")
    assert "the server sent nothing for 0.2 s; trying again" in capfd.readouterr().err


BEFORE_DRIPS = {
    "head": b"",
    "header": OK + b"X: ",
    "body": OK + b"Content-Length: 50000000\r\n\r\n",
    "large chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n100000\r\n",
    "many bytes, then drips": OK + b"Content-Length: 50000000\r\n\r\n" + bytes(400_000),
}


@pytest.mark.parametrize("before", BEFORE_DRIPS.values(), ids=BEFORE_DRIPS)
def test_a_server_that_sends_a_byte_at_a_time_is_given_up(raw, tmp_path, monkeypatch, before):
    monkeypatch.setattr(pace, "WINDOW_S", 0.3)
    monkeypatch.setattr(pace, "LEAST_BYTES", 3000)

    def dripping():
        yield before
        for _ in range(1000):
            time.sleep(0.02)
            yield b"0"

    start = time.monotonic()
    with pytest.raises(
        FetchError, match=r"the server sends too slowly \(\d+ bytes in 0 s\).*Run the same command again"
    ):
        fetch(raw(dripping), tmp_path / "a", bytes=50_000_000)
    with pytest.raises(hub.ListingError, match="too slowly"):
        hub.list_files("a/b", endpoint=raw(dripping).removesuffix("/a"))
    assert "too slowly" in probe(raw(dripping)).reason or before
    assert time.monotonic() - start < 30 and not (tmp_path / "a").exists()


def test_a_slow_line_that_keeps_the_pace_is_waited_for(raw, tmp_path, monkeypatch):
    """Some 1,000 bytes a window, where 20 are asked; a pause before the first byte does not count."""
    monkeypatch.setattr(pace, "WINDOW_S", 0.2)
    monkeypatch.setattr(pace, "LEAST_BYTES", 20)

    def slow():
        time.sleep(0.5)
        yield OK + b"Content-Length: 3000\r\n\r\n"
        for _ in range(30):
            time.sleep(0.02)
            yield bytes(100)

    assert fetch(raw(slow), tmp_path / "a").bytes == 3000


def test_a_host_that_takes_no_connection_is_given_up_within_ten_seconds(tmp_path, monkeypatch):
    """A listener whose queue is full drops what comes, as a firewall does."""
    monkeypatch.setattr("mperceiver.fetch.base.TIMEOUT_S", (0.5, 60))
    monkeypatch.setattr(transfer, "NO_SERVER_S", 0.5)
    assert transfer.TIMEOUT_S[0] <= 5
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = [socket.socket() for _ in range(4)]
    for client in waiting:
        client.setblocking(False)
        client.connect_ex(full.getsockname())
    start = time.monotonic()
    with pytest.raises(FetchError, match="no connection within"):
        fetch(f"http://127.0.0.1:{full.getsockname()[1]}/a", tmp_path / "a")
    assert time.monotonic() - start < 10
    for client in (*waiting, full):
        client.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a", "http://localhost:1/a"])
def test_a_dead_address_is_given_up_soon(tmp_path, monkeypatch, url):
    slept = []
    monkeypatch.setattr(transfer.time, "sleep", slept.append)
    with pytest.raises(FetchError, match="refused"):
        fetch(url, tmp_path / "a")
    assert len(slept) == 2 and sum(slept) < 4


@pytest.mark.parametrize(
    "notes",
    [b"[" * 100_000, b"\xff", b'{"total": "x", "etag": "\\"a\\""}', b'{"url": 5}', b'{"total": 1.5}', b"null", b""],
)
def test_odd_notes_of_an_earlier_transfer(server, tmp_path, notes):
    url = server.put("/a", b"hello")
    (tmp_path / "a.part").write_bytes(b"he")
    (tmp_path / "a.part.json").write_bytes(notes)
    assert fetch(url, tmp_path / "a").path.read_bytes() == b"hello" and len(list(tmp_path.iterdir())) == 1
