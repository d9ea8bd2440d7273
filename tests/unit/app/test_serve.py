"""The server of the page, with a page that is made up: how it ends, and what it leaves behind."""

import os
import signal
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
