"""Programs of the system whose output is read: those of SLURM, and Snakemake. A command is a list of words; no shell is involved."""

import shutil
import subprocess
from typing import Literal


class ProgramError(RuntimeError):
    """A program gave no answer. The message names it and says why.

    Attributes:
        why: missing: it is not installed; silent: it took too long; failed: it ended with an error.
        reason: the message without the command.
    """

    def __init__(self, why: Literal["missing", "silent", "failed"], command: str, reason: str) -> None:
        super().__init__(f"{command}: {reason}")
        self.why, self.reason = why, reason


def answer(*command: str, seconds: float) -> str:
    """Run a program and return its standard output.

    Raises ProgramError: the program is not installed, ends with an error, or does not answer within ``seconds``.
    """
    if not shutil.which(command[0]):
        raise ProgramError("missing", command[0], "this program is not on the PATH")
    line = " ".join(command)
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="backslashreplace", check=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise ProgramError("silent", line, f"no answer within {seconds:.0f} s") from None
    except subprocess.CalledProcessError as error:
        printed = " ".join((error.stderr or error.stdout).split())[-600:]
        raise ProgramError("failed", line, printed or f"exit code {error.returncode}") from None
    except OSError as error:
        raise ProgramError("missing", line, f"this program cannot be started ({error})") from None
    return done.stdout
