"""Asking SLURM's programs, and Snakemake's: lists of words, never a shell."""

import shutil
import subprocess

ANSWER_S = 60  # a busy controller takes its time


class ClusterError(RuntimeError):
    """SLURM or Snakemake could not be asked, or is in a state that a person has to look at."""


def ask(*command: str, seconds: float = ANSWER_S) -> str:
    """What a program prints. Raises ClusterError if it is not there, fails, or gives no answer."""
    if not shutil.which(command[0]):
        raise ClusterError(f"{command[0]}: no such program here; on the cluster's login node it is on the PATH")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{command[0]}: no answer within {seconds:.0f} s; try again, or see scontrol ping") from None
    except subprocess.CalledProcessError as error:
        words = " ".join((error.stderr or error.stdout).split())[-600:]
        raise ClusterError(f"{' '.join(command)}: {words or f'code {error.returncode}'}") from None
    return done.stdout


def pairs(text: str) -> dict[str, str]:
    """Of what `scontrol -o show` prints, `Key=value` with spaces between; a value with spaces is cut at the first."""
    return dict(word.split("=", 1) for word in text.split() if "=" in word)
