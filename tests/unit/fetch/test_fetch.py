"""Fetching: complete and verified or not at all, resumed where it stopped, from a loopback server that misbehaves."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mperceiver.fetch import DigestMismatch, FetchError, fetch, hub, partial, probe

BODY = np.random.default_rng(0).bytes(300_001)
OTHER = np.random.default_rng(1).bytes(300_001)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "deep/weights.bin"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(partial, "CHUNK_BYTES", 1000)


def interrupted(server, target, body=BODY, at=100_000, path="/w", **options) -> str:
    """Start a fetch that gives up after ``at`` bytes and keeps them; returns the address."""
    url = server.put(path, body, cuts=[at, *[0] * 20], **options)
    with pytest.raises(FetchError, match="kept"):
        fetch(url, target)
    assert not target.exists() and target.with_name("weights.bin.part").stat().st_size == at
    server.asked.clear()
    return url


def alone(target: Path) -> bool:
    """Whether nothing lies beside the target."""
    return [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_file_is_downloaded(server, target):
    file = fetch(server.put("/w", BODY), target, sha256=digest(BODY).upper(), bytes=len(BODY))
    assert (file.path, file.sha256, file.bytes, file.downloaded) == (target, digest(BODY), len(BODY), True)
    assert target.read_bytes() == BODY and alone(target)


def test_the_digest_is_returned_where_none_was_expected(server, target):
    assert fetch(server.put("/w", BODY), target).sha256 == digest(BODY)


def test_empty_file(server, target):
    assert fetch(server.put("/w", b""), target).bytes == 0 and target.read_bytes() == b"" and alone(target)


def test_a_complete_file_is_not_fetched_again(server, target):
    url = server.put("/w", BODY)
    fetch(url, target)
    server.asked.clear()
    assert not fetch(url, target, sha256=digest(BODY)).downloaded and server.asked == []


@pytest.mark.parametrize("expected", [{"sha256": digest(BODY)}, {"bytes": len(BODY)}])
def test_another_file_than_expected_is_replaced(server, target, expected):
    target.parent.mkdir()
    target.write_bytes(b"something else")
    assert fetch(server.put("/w", BODY), target, **expected).downloaded and target.read_bytes() == BODY


# ---------------------------------------------------------------- resuming


def test_cut_connections_are_resumed(server, target):
    url = server.put("/w", BODY, cuts=[70_000, 50_000, 1, 0, 100_000])
    fetch(url, target, sha256=digest(BODY))
    assert target.read_bytes() == BODY and server.sent == len(BODY), "no byte was sent twice"
    assert [asked.get("Range") for asked in server.gets("/w")][:3] == [None, "bytes=70000-", "bytes=120000-"]


def test_more_cuts_than_attempts_do_not_matter_while_bytes_come(server, target):
    fetch(server.put("/w", BODY, cuts=[10_000] * 25), target)
    assert target.read_bytes() == BODY


def test_a_later_call_resumes(server, target):
    url = interrupted(server, target)
    server.files["/w"].cuts.clear()
    fetch(url, target)
    (asked,) = server.gets("/w")
    assert asked["Range"] == "bytes=100000-" and asked["If-Range"].startswith('"')
    assert target.read_bytes() == BODY and alone(target)


def test_resumed_by_date_where_there_is_no_etag(server, target):
    url = interrupted(server, target, etag=None, modified="Mon, 01 Jan 2024 00:00:00 GMT")
    server.files["/w"].cuts.clear()
    fetch(url, target)
    assert server.gets("/w")[0]["If-Range"] == "Mon, 01 Jan 2024 00:00:00 GMT" and target.read_bytes() == BODY


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_restarted_where_no_strong_etag_or_date_identifies_the_file(server, target, etag):
    fetch(server.put("/w", BODY, etag=etag, cuts=[100_000]), target)
    assert ["Range" in asked for asked in server.gets("/w")] == [False, False] and target.read_bytes() == BODY


@pytest.mark.parametrize("options", [{}, {"conditions": False}, {"ranges": False}])
def test_restarted_where_the_file_changed(server, target, options):
    """The change shows by If-Range; by the ETag where the server ignores If-Range; or because the server sends the whole file."""
    url = interrupted(server, target)
    server.put("/w", OTHER, **options)
    fetch(url, target)
    assert target.read_bytes() == OTHER and alone(target)


def test_restarted_where_the_file_shrank(server, target):
    url = interrupted(server, target)
    server.put("/w", OTHER[:5000], conditions=False)
    fetch(url, target)
    assert target.read_bytes() == OTHER[:5000]


def test_a_server_without_ranges_that_always_breaks_off_is_given_up(server, target):
    url = server.put("/w", BODY, ranges=False, cuts=[50_000] * 50)
    with pytest.raises(
        FetchError, match=r"(50000 of 300001 bytes|IncompleteRead|ProtocolError).*Run the same command again to resume"
    ):
        fetch(url, target)
    assert not target.exists() and len(server.asked) < 10


def test_another_address_resumes_where_the_digest_is_known(server, target):
    first, second = server.put("/1", BODY, cuts=[100_000, *[0] * 20]), server.put("/2", BODY, etag='"another"')
    with pytest.raises(FetchError):
        fetch(first, target, sha256=digest(BODY))
    fetch(second, target, sha256=digest(BODY))
    assert server.gets("/2")[0]["Range"] == "bytes=100000-" and target.read_bytes() == BODY


def test_another_address_restarts_where_no_digest_is_known(server, target):
    interrupted(server, target, path="/1")
    fetch(server.put("/2", BODY), target)
    assert "Range" not in server.gets("/2")[0] and target.read_bytes() == BODY


def test_a_spoiled_partial_file_is_downloaded_again_once(server, target, capsys):
    url = server.put("/w", BODY, cuts=[100_000, *[0] * 20])
    with pytest.raises(FetchError):
        fetch(url, target, sha256=digest(BODY))
    spoiled = target.with_name("weights.bin.part")
    spoiled.write_bytes(bytes(100_000))
    server.put("/w", BODY)
    fetch(url, target, sha256=digest(BODY))
    assert target.read_bytes() == BODY and "downloading all of it again" in capsys.readouterr().err


def test_an_address_that_gives_nothing_leaves_the_partial_file_of_another(server, target):
    url = interrupted(server, target)
    for gone in (server.url + "/gone", server.put("/busy", BODY, fails=[503] * 50), "http://127.0.0.1:1/w"):
        with pytest.raises(FetchError):
            fetch(gone, target)
    server.asked.clear()
    server.files["/w"].cuts.clear()
    fetch(url, target)
    assert server.gets("/w")[0]["Range"] == "bytes=100000-" and target.read_bytes() == BODY


@pytest.mark.parametrize("notes", [None, "{", "[]"])
def test_a_partial_file_without_its_notes_is_not_trusted(server, target, notes):
    url = interrupted(server, target)
    server.files["/w"].cuts.clear()
    beside = target.with_name("weights.bin.part.json")
    beside.unlink() if notes is None else beside.write_text(notes, encoding="utf-8")
    fetch(url, target)
    assert "Range" not in server.gets("/w")[0] and target.read_bytes() == BODY


def test_killed_before_the_rename(server, target):
    url = interrupted(server, target)
    target.with_name("weights.bin.part").write_bytes(BODY)
    server.asked.clear()
    fetch(url, target, sha256=digest(BODY))
    assert server.asked == [] and target.read_bytes() == BODY and alone(target)


def test_a_killed_process_is_resumed_by_the_next(server, target):
    """A process is killed in the middle of a file; the next one downloads only what is missing."""
    url = server.put("/w", BODY, slow=threading.Event())
    program = (
        f"from mperceiver.fetch import fetch, partial; partial.CHUNK_BYTES = 1000; fetch({url!r}, {str(target)!r})"
    )
    first = subprocess.Popen([sys.executable, "-c", program])
    on_disk = target.with_name("weights.bin.part")
    until = time.monotonic() + 60
    while not (on_disk.is_file() and on_disk.stat().st_size) and time.monotonic() < until:
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    server.files["/w"].slow.set()
    size = on_disk.stat().st_size
    assert 0 < size < len(BODY) and not target.exists()
    server.files["/w"].slow = None
    fetch(url, target)
    assert server.gets("/w")[-1]["Range"] == f"bytes={size}-" and target.read_bytes() == BODY and alone(target)


# ---------------------------------------------------------------- refusals


def test_a_wrong_digest_is_refused_and_both_are_shown(server, target):
    with pytest.raises(DigestMismatch, match=f"received SHA-256 {digest(OTHER)}, expected {digest(BODY)}"):
        fetch(server.put("/w", OTHER), target, sha256=digest(BODY))
    assert list(target.parent.iterdir()) == [] and len(server.asked) == 1


def test_a_wrong_size_is_refused_before_it_is_fetched(server, target):
    with pytest.raises(FetchError, match="offers 300001 bytes, expected 5"):
        fetch(server.put("/w", BODY), target, bytes=5)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("status", [401, 403, 404, 410, 451])
def test_a_permanent_failure_is_not_tried_again(server, target, status):
    with pytest.raises(FetchError, match=f"answers {status}"):
        fetch(server.put("/w", BODY, status=status), target)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_temporary_failure_is_tried_again(server, target, status):
    fetch(server.put("/w", BODY, fails=[status] * 3), target)
    assert len(server.asked) == 4 and target.read_bytes() == BODY


def test_a_server_that_asks_for_a_wait_gets_it(server, target, monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    fetch(server.put("/w", BODY, fails=[429, 503], extra={"Retry-After": "7"}), target)
    assert waits == [7, 7]


def test_given_up_after_some_attempts(server, target):
    with pytest.raises(FetchError, match=r"answers 503.*Run the same command again"):
        fetch(server.put("/w", BODY, fails=[503] * 50), target)
    assert len(server.asked) == 6 and list(target.parent.iterdir()) == []


def test_a_web_page_in_place_of_a_file_is_refused(server, target):
    page = b"\n<!DOCTYPE html><html>please log in</html>"
    with pytest.raises(FetchError, match="web page"):
        fetch(server.put("/w.zip", page, kind="text/html; charset=utf-8"), target)
    assert list(target.parent.iterdir()) == []
    assert fetch(server.put("/w.html", page, kind="text/html"), target).bytes == len(page)


def test_a_login_page_leaves_what_has_come(server, target):
    """As of a session that has ended, or of a hotel's network: the page comes with status 200 where the rest was asked for."""
    interrupted(server, target)
    page = b"\xef\xbb\xbf<!DOCTYPE html><html>please log in</html>"
    with pytest.raises(FetchError, match="web page"):
        fetch(server.put("/w", page, kind="text/html"), target)
    fetch(server.put("/w", BODY), target)
    assert target.read_bytes() == BODY and server.gets("/w")[-1]["Range"] == "bytes=100000-"


def test_the_room_of_what_is_replaced_counts(server, target, monkeypatch):
    interrupted(server, target)
    free = len(OTHER) - 50_000
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 0, free))
    fetch(server.put("/w", OTHER), target)
    assert target.read_bytes() == OTHER


def test_half_a_file_of_unknown_size_is_refused(server, target):
    url = server.put("/w", BODY, length=False, cuts=[1000, 1000])
    with pytest.raises(FetchError, match="does not report the file's size"):
        fetch(url, target)
    with pytest.raises(FetchError, match="received 1000 bytes .*expected 300001"):
        fetch(url, target, bytes=len(BODY))
    fetch(url, target, sha256=digest(BODY))
    assert target.read_bytes() == BODY


def test_a_server_that_is_not_there(target, monkeypatch, server):
    with pytest.raises(FetchError, match="refused"):
        fetch("http://127.0.0.1:1/w", target)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "weights.bin", "http:///x"])
def test_only_http(url, target):
    with pytest.raises(FetchError, match="not an http"):
        fetch(url, target)


def test_no_redirect_leads_to_another_scheme_or_in_a_circle(server, target):
    with pytest.raises(FetchError, match="file:///"):
        fetch(server.put("/w", b"", to="file:///etc/passwd"), target)
    with pytest.raises(FetchError, match="redirects"):
        fetch(server.put("/w", b"", to="/w"), target)


def test_a_token_is_not_taken_along_to_another_host(server, target):
    server.put("/far", BODY)
    url = server.put("/w", b"", to=server.url.replace("127.0.0.1", "localhost") + "/far")
    fetch(url, target, headers={"Authorization": "Bearer secret"})
    assert server.gets("/w")[0]["Authorization"] == "Bearer secret" and "Authorization" not in server.gets("/far")[0]


def test_a_full_disk_is_noticed_before_the_download(server, target, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 1000))
    with pytest.raises(FetchError, match="free space"):
        fetch(server.put("/w", BODY), target)


# ---------------------------------------------------------------- two processes at once


def test_two_jobs_fetch_a_file_once(server, target):
    gate = threading.Event()
    url = server.put("/w", BODY, slow=gate)
    program = f"from mperceiver.fetch import fetch; print(fetch({url!r}, {str(target)!r}).downloaded)"
    jobs = [subprocess.Popen([sys.executable, "-c", program], stdout=-1, stderr=-1, text=True) for _ in range(2)]
    assert "another process is writing it" in next(filter(None, (_line(jobs))))
    gate.set()
    assert sorted(job.communicate(timeout=60)[0].strip() for job in jobs) == ["False", "True"]
    assert len(server.gets("/w")) == 1 and alone(target)


def _line(jobs):
    """The first line that any of the jobs writes to its standard error."""
    import select

    ready, _, _ = select.select([job.stderr for job in jobs], [], [], 60)
    return [stream.readline() for stream in ready]


# ---------------------------------------------------------------- probes and addresses


def test_probe(server):
    reported = probe(server.put("/w", BODY))
    assert reported.available and (reported.status, reported.bytes) == (200, len(BODY))
    assert probe(server.put("/far", b"", to="/w")).final_url.endswith("/w")
    assert probe(server.url + "/gone").status == 404
    assert probe(server.put("/closed", BODY, status=403)).status == 403
    nowhere = probe("http://127.0.0.1:1/")
    assert nowhere.status is None and "refused" in nowhere.reason
    assert probe("ftp://127.0.0.1/x").status is None and not probe("nonsense").available


def test_probe_downloads_nothing(server):
    probe(server.put("/w", BODY))
    assert server.sent == 0


def test_addresses_of_the_hub(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert hub.file_url("a/b", "x y.json") == "https://huggingface.co/a/b/resolve/main/x%20y.json"
    assert hub.file_url("a/b", "c", "refs/pr/1", kind="dataset").endswith("/datasets/a/b/resolve/refs%2Fpr%2F1/c")
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert hub.file_url("a/b", "c").startswith("https://mirror.example/a/b/")
    assert hub.file_url("a/b", "c", endpoint="http://127.0.0.1:9").startswith("http://127.0.0.1:9/a/b/")


def test_the_token_goes_to_the_hub_only(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert hub.token_headers() == {"Authorization": "Bearer hf_secret"}
    assert hub.token_headers("https://elsewhere.example") == {}
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    assert hub.token_headers() == {"Authorization": "Bearer hf_secret"}


def test_notes_hold_no_token(server, target):
    url = server.put("/w", BODY, cuts=[1000, *[0] * 20])
    with pytest.raises(FetchError) as error:
        fetch(url, target, headers={"Authorization": "Bearer secret"})
    notes = json.loads(target.with_name("weights.bin.part.json").read_text(encoding="utf-8"))
    assert "secret" not in str(notes) + str(error.value)


@pytest.mark.parametrize("user, query", [("me:sesame@", ""), ("sesame@", ""), ("", "?sig=sesame&part=2")])
def test_notes_hold_no_secret_of_the_address_and_the_transfer_is_resumed(server, target, user, query):
    plain = server.put(f"/w{query}", BODY, cuts=[100_000, *[0] * 20])
    url = plain.replace("http://", f"http://{user}")
    with pytest.raises(FetchError, match="kept"):
        fetch(url, target)
    for file in target.parent.iterdir():
        assert b"sesame" not in file.read_bytes() and "sesame" not in file.name
    server.put(f"/w{query}", BODY)
    server.asked.clear()
    assert fetch(url, target).path.read_bytes() == BODY
    assert next(asked.get("Range") for asked in server.gets(f"/w{query}")) == "bytes=100000-"
