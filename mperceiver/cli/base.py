"""What the verbs share: the application, its arguments, and how an error is told."""

import errno
import functools
import os
from collections.abc import Callable
from typing import Annotated

import typer

from mperceiver import __version__, lineage

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def print_version(asked: bool) -> None:
    """Print the package's version, and the commit where the package stands in a git checkout; then exit."""
    if not asked:
        return
    try:
        commit, changed = lineage.commit()
        place = f"commit {commit[:12]}" + (", with uncommitted changes" if changed else "")
    except lineage.LineageError:
        place = "not in a git checkout"
    print(f"mperceiver {__version__} ({place})")
    raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="print version and commit")
    ] = False,
) -> None:
    """Each verb parses its arguments, calls one function, and says what it made."""


DatasetName = Annotated[str, typer.Argument(help="stem of config/datasets/<name>.yaml")]
RunName = Annotated[str, typer.Argument(help="stem of config/runs/<name>.yaml")]
MethodName = Annotated[str, typer.Argument(help="stem of config/methods/<name>.yaml")]
Workers = Annotated[int, typer.Option(help="processes, 0: one a core")]
Threads = Annotated[int, typer.Option(help="torch threads, 0: one a core")]


def verb(function: Callable, name: str | None = None) -> Callable:
    """Make a command of ``function``, by its name: errors a user can act on are told in words, without a traceback."""

    @functools.wraps(function)
    def run(*arguments, **options):
        try:
            return function(*arguments, **options)
        except Exception as error:
            message = _message(error)
            if message is None or os.environ.get("MPERCEIVER_TRACEBACK"):
                raise
            fail(message)

    return app.command(name or function.__name__)(run)


def _message(error: Exception) -> str | None:
    """What to tell a user instead of a traceback; None if it is no error of theirs."""
    cause: BaseException | None = error
    while cause and getattr(cause, "errno", None) not in (errno.ENOSPC, errno.EDQUOT):
        cause = cause.__context__
    if cause or "os error 28" in str(error):  # safetensors has an error of its own
        where = getattr(cause, "filename", None) or "while writing"
        return f"the disk is full ({where}); nothing half-written was left. Free space and run the same command again"
    if isinstance(error, FileNotFoundError) and str(error.filename).startswith(("data/", "results/")):
        return f"{error.filename}: no such file; the work that makes it has not been done (snakemake {error.filename})"
    if isinstance(error, PermissionError):
        return f"{error.filename}: {error.strerror}; the account that runs this may not write or read there"
    if isinstance(error, (ValueError, RuntimeError)) and type(error).__module__.startswith("mperceiver"):
        return str(error)
    return None


def fail(message: str) -> None:
    """Tell an error and end with code 1."""
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, soft_wrap=True).print(Text("error: ", style="bold red") + Text(message))
    raise typer.Exit(1)


def quiet(threads: int = 0) -> None:
    """Before torch is imported: its threads, no hub, none of the libraries' notices."""
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # what torch takes its number from
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
