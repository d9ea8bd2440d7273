"""`mperceiver` without its start: one process has imported the libraries, and every job is a fork of it.

Of the half a thousand jobs of a miniature most spend all but their last second on importing torch and diffusers. Here
`serving` starts that process and puts a client of the name `mperceiver` into a folder for the PATH; Snakemake, the rules and
the verbs are the same as ever.
"""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIBRARIES = """
    torchvision.models open_clip.model transformers.masking_utils transformers.models.clip.modeling_clip
    diffusers.models.autoencoders.autoencoder_kl diffusers.models.unets.unet_2d_condition diffusers.schedulers.scheduling_ddim
    diffusers.training_utils spandrel.architectures.NAFNet pyiqa.archs.inception pyiqa.archs.niqe_arch pyiqa.archs.brisque_arch
    matplotlib.pyplot sklearn.manifold
    mperceiver.restoring.ensemble mperceiver.restoring.datasets mperceiver.scoring.datasets mperceiver.training.stages
    mperceiver.report.figures mperceiver.report.site mperceiver.data.prepare.dataset
"""
CLIENT = """#!{python} -IS
import json, os, socket, sys
line = socket.socket(socket.AF_UNIX)
line.connect({address!r})
words = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(line, [len(words).to_bytes(4, "big")], [1, 2])
line.sendall(words)
code = line.recv(1)
sys.exit(code[0] if code else 70)
"""


@contextmanager
def serving(folder: Path, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment in which `mperceiver` is the client; ``folder`` is new, its path short enough for a socket's."""
    folder.mkdir(parents=True)
    address = folder / "line"
    client = folder / "mperceiver"
    client.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    client.chmod(0o755)
    server = subprocess.Popen([sys.executable, __file__, str(address)], env=environment)
    try:
        while not address.exists():
            if server.poll() is not None:
                raise RuntimeError(f"the server of the verbs ended with {server.returncode}")
            time.sleep(0.1)
        yield environment | {"PATH": os.pathsep.join([str(folder), environment["PATH"]])}
    finally:
        server.terminate()
        server.wait()


def serve(address: str) -> None:
    """Import everything once, then fork for every caller."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}
    for name in LIBRARIES.split():
        importlib.import_module(name)
    from mperceiver.cli import app

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children but their callers
    line = socket.socket(socket.AF_UNIX)
    line.bind(f"{address}.new")
    line.listen(64)
    os.rename(f"{address}.new", address)
    while True:
        caller, _ = line.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            code = _answer(caller, app)
            caller.sendall(bytes([code]))
            os._exit(0)
        caller.close()


def _answer(caller: socket.socket, app) -> int:
    """Run one command with the caller's words, folder, environment and outputs; its exit code."""
    head, outputs, _, _ = socket.recv_fds(caller, 4, 2)
    length, text = int.from_bytes(head, "big"), b""
    while len(text) < length:
        text += caller.recv(length - len(text))
    words, folder, environment = json.loads(text)
    for place, output in zip((1, 2), outputs, strict=True):
        os.dup2(output, place)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["mperceiver", *words]
    code = 0
    try:
        app(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code & 0xFF


if __name__ == "__main__":
    serve(sys.argv[1])
