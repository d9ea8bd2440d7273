"""The program `mperceiver`, changed in one thing: a training waits once it has saved its first state, so that a test can disturb it.

It waits if a test has made a file of the run's name, until the test lets it continue or a SIGTERM comes. So a fast machine cannot end
the training before it is disturbed, and a slow machine needs no longer time limit.
"""

import signal
import sys
import time
from pathlib import Path
from types import FrameType

from mperceiver.cli.program import run

PROGRAM = """#!{python}
import sys
from pathlib import Path
sys.path.append({tests!r})
from support import held
held.main(Path({folder!r}))
"""


def program(folder: Path) -> str:
    """The text of a program `mperceiver` for which ``folder`` holds the files of the runs that wait."""
    tests = Path(__file__).parents[1]
    return PROGRAM.format(python=sys.executable, tests=str(tests), folder=str(folder))


def ask(folder: Path, run: str) -> None:
    """Have the next `train_network` of a run wait after its first state; those after it do not."""
    (folder / run).touch()


def waits(folder: Path, run: str) -> bool:
    """Whether the training of a run has saved its first state, and waits."""
    return _waiting(folder, run).exists()


def let_go(folder: Path, run: str) -> None:
    """Let a training go on that waits. Raises FileNotFoundError if none does."""
    _waiting(folder, run).unlink()


def let_all_go(folder: Path) -> None:
    """Let all trainings go on, and have none wait that is not there yet."""
    for path in folder.iterdir():
        path.unlink(missing_ok=True)


def main(folder: Path) -> None:
    """Run the command of this process."""
    if sys.argv[1:2] == ["train_network"] and (asked := folder / sys.argv[2]).exists():
        asked.unlink()
        _wait_after_first_save(_waiting(folder, sys.argv[2]))
    sys.exit(run())


def _waiting(folder: Path, run: str) -> Path:
    return folder / f"{run}.waits"


def _wait_after_first_save(waiting: Path) -> None:
    from mperceiver.training.resume import ResumeStates  # imports torch, which most commands do not need

    save = ResumeStates.save

    def save_and_wait(states: ResumeStates, state: dict) -> None:
        save(states, state)
        ResumeStates.save = save

        def end(number: int, frame: FrameType | None) -> None:
            waiting.unlink(missing_ok=True)
            handle(number, frame)

        handle = signal.signal(signal.SIGTERM, end)
        waiting.touch()
        while waiting.exists():
            time.sleep(0.05)
        signal.signal(signal.SIGTERM, handle)

    ResumeStates.save = save_and_wait
