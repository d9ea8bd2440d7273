"""Run the programs of SLURM and Snakemake and read what they print. A command is a list of words; no shell is involved."""

import shutil
import subprocess

ANSWER_S = 60  # a busy SLURM controller takes long to answer


class ClusterError(RuntimeError):
    """SLURM or Snakemake gave no answer, or its state needs a person; the message says what to do."""


def ask(*command: str, seconds: float = ANSWER_S) -> str:
    """Run a program and return its standard output.

    Raises:
        ClusterError: the program is not installed, ends with an error, or does not answer within ``seconds``.
    """
    if not shutil.which(command[0]):
        raise ClusterError(
            f"{command[0]}: this program is not on the PATH. SLURM's programs are there on the cluster's login node: "
            "run the same command there"
        )
    try:
        finished = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="backslashreplace", check=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise ClusterError(
            f"{' '.join(command)}: no answer within {seconds:.0f} s. The SLURM controller may be busy or down: "
            "see scontrol ping, then try again"
        ) from None
    except subprocess.CalledProcessError as error:
        reason = " ".join((error.stderr or error.stdout).split())[-600:]
        raise ClusterError(f"{' '.join(command)}: {reason or f'exit code {error.returncode}'}") from None
    return finished.stdout


def fields(text: str) -> dict[str, str]:
    """Parse the `Key=value Key=value` that `scontrol -o show` prints; a value is cut at its first space."""
    return dict(word.split("=", 1) for word in text.split() if "=" in word)
