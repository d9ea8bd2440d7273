"""What the verbs share: the application, common arguments, and how errors are printed.

`mperceiver --help` imports this package and nothing heavy: a verb imports what it needs when it runs.
"""

import functools
import os
import select
import sys
from collections.abc import Callable
from typing import Annotated, Any, Never, ParamSpec

import typer
from typer.core import TyperGroup

from mperceiver import __version__, homes
from mperceiver.machine import importing, own_process, quiet_model_libraries
from mperceiver.messages import for_user
from mperceiver.printing import console, print_anything, say, shown

P = ParamSpec("P")


class Commands(TyperGroup):
    """The verbs. Errors about mistyped arguments are printed as all others are."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        print_anything()
        return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if hasattr(error, "exit_code") and hasattr(error, "message"):  # typer's errors of usage
                error.message = shown(error.message)
            raise


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

DatasetName = Annotated[str, typer.Argument(help="Dataset: the stem of config/datasets/<name>.yaml.")]
RunName = Annotated[str, typer.Argument(help="Run: the stem of config/runs/<name>.yaml.")]
MethodName = Annotated[str, typer.Argument(help="Method: the stem of config/methods/<name>.yaml.")]
FoundationName = Annotated[str, typer.Argument(help="Foundation: the stem of config/foundations/<name>.yaml.")]
Workers = Annotated[int, typer.Option(min=0, help="Number of worker processes; 0: one for each core.")]
Threads = Annotated[int, typer.Option(min=0, help="Number of CPU threads of torch; 0: one for each core.")]

INTERRUPTED = 130  # exit code 128 + SIGINT, as a shell reports a process that Ctrl-C ended
STOPPED = (
    "stopped by Ctrl-C. What was finished stands whole, and nothing half-written was left. The same command starts again; a "
    "training, a download or an encoding continues from what it has kept"
)


def print_version(asked: bool) -> None:
    """Print the package's version, and the commit where the package stands in a git checkout; then exit."""
    if not asked:
        return
    from mperceiver import commits

    try:
        commit, changed = commits.current()
        place = f"commit {commit[:12]}" + (", with uncommitted changes" if changed else "")
    except commits.CommitError:
        place = "not in a git checkout"
    say(f"mperceiver {__version__} ({place})")
    raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Print version and commit, and exit."),
    ] = False,
) -> None:
    """Restore photographs, and make every number of the paper's tables, with MPerceiver.

    To restore a photograph: mperceiver restore small photo.jpg restored.png. To build tables: snakemake --cores all, which calls these verbs.
    """


def verb(panel: str, name: str | None = None) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Decorate a function so that it is a command, listed in a panel of --help.

    An error that the user can act on is printed as one message without a traceback, and the exit code is 1. The
    environment variable MPERCEIVER_TRACEBACK=1 shows the traceback all the same. ``name``: of the command; None: the function's.
    """

    def decorate(function: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(function)
        def command(*args: P.args, **kwargs: P.kwargs) -> None:
            homes.provide()
            try:
                function(*args, **kwargs)
            except Exception as error:
                if isinstance(error, BrokenPipeError) and nobody_reads():
                    raise  # typer ends without a word
                message = for_user(error)
                if message is None or os.environ.get("MPERCEIVER_TRACEBACK"):
                    raise
                fail(message)
            except KeyboardInterrupt:
                say(STOPPED, error=True)
                raise typer.Exit(INTERRUPTED) from None

        return app.command(name or function.__name__, rich_help_panel=panel)(command)

    return decorate


def nobody_reads() -> bool:
    """Whether standard output is a pipe whose reader has ended, as in `| head`."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except OSError:  # no file
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))


def fail(message: str) -> Never:
    """Print an error on standard error and exit with code 1."""
    from rich.text import Text

    console(error=True, soft_wrap=True).print(Text("error: ", style="bold red") + Text(message))
    raise typer.Exit(1)


def configure_torch(threads: int = 0, hides: bool = True) -> None:
    """Set the environment for torch and the model libraries; call this before anything imports them.

    The libraries never ask the hub and print no notices. ``threads``: CPU threads of torch, 0 for one on each core.
    ``hides``: as in ``own_process``.
    """
    if threads:  # each library reads its own variable; Snakemake has set all of them to the job's threads
        for library in ("OMP", "MKL", "OPENBLAS"):
            os.environ[f"{library}_NUM_THREADS"] = str(threads)
    quiet_model_libraries()
    own_process(hides)


def prepare_torch(threads: int = 0, hides: bool = True) -> None:
    """``configure_torch``, and import torch."""
    configure_torch(threads, hides)
    with importing():
        import torch  # noqa: F401
