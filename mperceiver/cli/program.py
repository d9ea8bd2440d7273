"""The program `mperceiver`: the application, and an end of the process that frees nothing.

Before Python ends it takes torch and diffusers apart, module by module, for a second or more. The operating system frees
the same memory at once.
"""

import atexit
import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import cast


def run() -> None:
    """The console script, and `python -m mperceiver.cli`."""
    from mperceiver.cli import app

    to_the_end(app)


def to_the_end(command: Callable[[], object]) -> None:
    """Run a command as the whole of this process, and end with its exit code, quickly where torch was imported.

    All that Python does before it takes itself apart is done: threads are waited for, what was registered with atexit is called, and
    the outputs are flushed. Where anything else may still want to work, Python ends as ever: an error without a handler, an output that
    cannot be written, a process group of torch.distributed that still stands, a profiler or a debugger that called this command.
    """
    try:
        command()
    except SystemExit as end:
        code = end.code or 0  # None: all went well
        if isinstance(code, int) and _may_leave():
            leave(code)
        raise
    if _may_leave():
        leave(0)


def _may_leave() -> bool:
    """Whether torch was imported, and nothing but the command has work to do in this process."""
    if "torch" not in sys.modules or sys.flags.inspect or os.environ.get("PYTHONINSPECT") or not _outermost():
        return False
    distributed = sys.modules.get("torch.distributed")
    return distributed is None or not (distributed.is_available() and distributed.is_initialized())


def _outermost() -> bool:
    """Whether the process began with the code that called ``to_the_end``, of a script or of `python -m`, and with no other program around it."""
    below, frame = [], cast("FrameType | None", sys._getframe())
    while frame := frame and frame.f_back:
        below.append((frame.f_globals.get("__name__"), frame.f_code.co_name))
    while below and below[-1][0] == "runpy":  # `python -m`
        below.pop()
    return below[-1:] == [("__main__", "<module>")] and {module for module, _ in below[:-1]} <= {__name__}


def leave(code: int) -> None:
    """End the process with an exit code, as processes of multiprocessing do. Returns where an output cannot be flushed."""
    with contextlib.suppress(OSError, ValueError, KeyboardInterrupt):
        _flush()
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        _flush()
        os._exit(code & 0xFF)


def _flush() -> None:
    """Write what Python and libraries in C have kept back of the outputs. Raises OSError, ValueError: one is closed."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    ctypes.CDLL(None).fflush(None)
