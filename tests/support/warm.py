"""Commands without their start: one server process has imported the libraries, and every command is a fork of it.

Most commands of a miniature world spend all but their last second on importing torch and diffusers. `serving` starts the
server and fills a folder with stand-ins for three programs: `mperceiver`, `snakemake` and `warm-python` (which runs a script or a module).
A stand-in hands its words, working directory, environment and outputs to the server, forwards SIGTERM and SIGINT to the fork,
and ends as the fork ends; where the stand-in is killed, the fork is killed. The workflow, its rules and the verbs stay the same.
"""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Never

LIBRARIES = """
    torch._dynamo torch.distributed.fsdp torchvision.models open_clip.model transformers.models.clip.modeling_clip
    diffusers.models.autoencoders.autoencoder_kl diffusers.models.unets.unet_2d_condition
    diffusers.schedulers.scheduling_ddim diffusers.training_utils
    spandrel.architectures.NAFNet pyiqa.archs.inception pyiqa.archs.niqe_arch pyiqa.archs.brisque_arch
    matplotlib.pyplot sklearn.manifold snakemake.cli
"""
UNWRITTEN = 120  # Python's exit code where an output cannot be flushed
PROGRAMS = ("mperceiver", "snakemake", "warm-python")
STAND_IN = """#!{python} -IS
import json, os, signal, socket, sys
line = socket.socket(socket.AF_UNIX)
line.connect({address!r})
request = json.dumps([{program!r}, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(line, [len(request).to_bytes(4, "big")], [1, 2])
line.sendall(request)
fork = int.from_bytes(line.recv(4), "big")
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, _: os.kill(fork, number))
code = int.from_bytes(line.recv(4), "big", signed=True) if fork else 70
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@contextlib.contextmanager
def serving() -> Iterator[Path]:
    """The folder of the stand-ins, which work inside the block. The server imports the libraries when the first command comes."""
    with tempfile.TemporaryDirectory(prefix="warm-") as folder:  # short: a socket's path has 107 characters at most
        address = f"{folder}/socket"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
        listener.listen(64)
        for program in PROGRAMS:
            stand_in = Path(folder) / "bin" / program
            stand_in.parent.mkdir(exist_ok=True)
            stand_in.write_text(
                STAND_IN.format(python=sys.executable, address=address, program=program), encoding="utf-8"
            )
            stand_in.chmod(0o755)
        words = [sys.executable, __file__, str(listener.fileno()), str(os.getpid())]
        with listener:
            server = subprocess.Popen(words, pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL)
        try:
            yield Path(folder) / "bin"
        finally:
            server.terminate()
            server.wait()


def cold() -> dict[str, str]:
    """The environment of commands that start as a user's do: the tests' own Python is first on the PATH, nothing is set of this project.

    Compiled modules are kept; otherwise every job would compile all that it imports.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MPERCEIVER_", "SNAKEMAKE_"))}
    return inherited | {"PATH": path, "PYTHONDONTWRITEBYTECODE": ""}


def environment(stand_ins: Path) -> dict[str, str]:
    """The environment of commands that are forks of the server: the folder of the stand-ins is first on the PATH."""
    variables = cold()
    return variables | {"PATH": os.pathsep.join([str(stand_ins), variables["PATH"]])}


def serve(listener: socket.socket, owner: int) -> None:
    """Fork for every request; import the libraries at the first. Returns in the forks, which have to run their command.

    Ends with its parent, the process ``owner``.
    """
    listener.settimeout(2)
    ready = False
    while os.getppid() == owner:
        with contextlib.suppress(ChildProcessError):  # there is none
            while os.waitpid(-1, os.WNOHANG) != (0, 0):  # a keeper that has ended
                pass
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        if not ready:
            import_libraries()
            gc.freeze()  # a fork that collects garbage would copy all of it
            ready = True
        if os.fork() == 0:
            listener.close()
            connection.setblocking(True)
            keep(connection)
            return
        connection.close()
    sys.exit()


def import_libraries() -> None:
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1"}
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}
    import mperceiver

    modules = [module.name for module in pkgutil.walk_packages(mperceiver.__path__, "mperceiver.")]
    for name in [*LIBRARIES.split(), *modules]:
        if not name.endswith("__main__"):
            importlib.import_module(name)


def keep(connection: socket.socket) -> None:
    """Fork once more, and return in the fork. Its parent, the keeper, tells the stand-in the fork's number and how it ended."""
    head, outputs, _, _ = socket.recv_fds(connection, 4, 2)
    length, request = int.from_bytes(head, "big"), b""
    while len(request) < length:
        request += connection.recv(length - len(request))
    fork = os.fork()
    if fork == 0:
        connection.close()
        for number, output in zip((1, 2), outputs, strict=True):
            os.dup2(output, number)
            os.close(output)
        become(*json.loads(request))
        return
    ended = threading.Event()

    def watch() -> None:
        if connection.recv(1) == b"" and not ended.is_set():
            os.kill(fork, signal.SIGKILL)

    connection.sendall(struct.pack(">I", fork))
    threading.Thread(target=watch, daemon=True).start()
    _, status = os.waitpid(fork, 0)
    ended.set()
    with contextlib.suppress(OSError):
        connection.sendall(struct.pack(">i", os.waitstatus_to_exitcode(status)))
    os._exit(0)


def become(program: str, words: list[str], folder: str, environment: dict[str, str]) -> None:
    """Take over what the stand-in was called with."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [program, *words]


def end_of(command: Callable[[], None]) -> Never:
    """Run a command to the end of its threads and exit handlers, and end with its exit code.

    The interpreter is not finalised: with all that was imported, that alone would take three seconds.
    """
    from mperceiver.cli.program import leave

    code = 0
    try:
        command()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    leave(code)
    os._exit(UNWRITTEN)


def run() -> None:
    """The command of ``sys.argv``, as its own program would run it."""
    program, *words = sys.argv
    if program == "mperceiver":
        from mperceiver.cli import app

        app(words)
    elif program == "snakemake":
        from snakemake.cli import main

        sys.exit(main())
    else:
        sys.argv = [word for word in words if word != "-u"]
        if sys.argv[0] == "-m":
            del sys.argv[0]
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
            return
        sys.path.insert(0, str(Path(sys.argv[0]).parent))
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
    end_of(run)
