"""The server of the page, with a page that is made up: how it ends, and what it leaves behind."""

import os
import signal
import socket
import subprocess
import sys

import pytest

# A process of its own: without a handler, the signal would end the tests.
PROGRAM = """
import signal, sys
from mperceiver.app import serve
signal.signal(signal.SIGHUP, signal.{hangup})

class Page:
    def close(self, verbose): print("closed")

def launch(folder, *rest):
    (folder / "upload.png").write_bytes(b"private")
    return Page(), "http://127.0.0.1:1/"

serve.launch = launch
serve.work.methods = lambda: {{"tiny": "Tiny"}}
serve.serve("127.0.0.1", 0)
"""


@pytest.fixture
def served(tmp_path):
    """Starts the server in a process: served(what it does on a hangup); waits until the page is there."""
    processes = []

    def start(hangup: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(hangup=hangup)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(tmp_path)},
        )
        processes.append(process)
        assert process.stdout is not None and process.stdout.readline().startswith("The page:")
        assert len(list(tmp_path.glob("mperceiver-app-*/upload.png"))) == 1
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_nothing_is_left_behind_whichever_signal_ends_it(served, tmp_path, number):
    process = served("SIG_DFL")
    process.send_signal(number)
    assert process.wait(60) == 0
    assert list(tmp_path.glob("mperceiver-app-*")) == []


def test_under_nohup_a_closed_terminal_does_not_end_it(served, tmp_path):
    process = served("SIG_IGN")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert list(tmp_path.glob("mperceiver-app-*")) == []


def test_the_handlers_stand_before_there_is_a_folder(monkeypatch):
    from mperceiver.app import serve

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    seen = {}

    def refused(prefix: str) -> str:
        seen.update({number: signal.getsignal(number) for number in handlers})
        raise OSError("no space")

    monkeypatch.setattr(serve.work, "methods", lambda: {"tiny": "Tiny"})
    monkeypatch.setattr(serve.tempfile, "mkdtemp", refused)
    with pytest.raises(OSError, match="no space"):
        serve.serve("127.0.0.1", 0)
    assert all(seen[number] != handler for number, handler in handlers.items())
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_a_port_or_an_address_that_cannot_be_had_is_told_at_once(monkeypatch, tmp_path):
    from mperceiver.app import serve

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(serve.AppError, match=f"127.0.0.1:{port}: nothing can be served there: .*in use.*--port 0"):
            serve.launch(tmp_path, "127.0.0.1", port)
    with pytest.raises(serve.AppError, match="192.0.2.1:0: nothing can be served there: .*leave out --host"):
        serve.launch(tmp_path, "192.0.2.1", 0)
    assert serve._free_port("127.0.0.1", 0) > 0
    assert list(tmp_path.iterdir()) == []


def test_the_page_of_this_machine_is_asked_without_a_proxy(monkeypatch):
    from urllib.request import getproxies, proxy_bypass

    from mperceiver.app import serve

    for name, value in {"http_proxy": "http://proxy:3128", "no_proxy": "intranet", "NO_PROXY": "intranet"}.items():
        monkeypatch.setenv(name, value)
    serve._ask_without_proxy("10.0.0.1")
    assert getproxies()["http"] == "http://proxy:3128"
    assert all(proxy_bypass(host) for host in ("127.0.0.1:7860", "localhost:7860", "10.0.0.1:7860", "intranet"))
    assert not proxy_bypass("example.org")
