"""Ask the programs of SLURM and Snakemake, and say to a person what to do where they give no answer."""

from mperceiver.programs import ProgramError, answer

ANSWER_S = 60  # a busy SLURM controller takes long to answer
ADVICE = {
    "missing": ". SLURM's programs are there on the cluster's login node: run the same command there",
    "silent": ". The SLURM controller may be busy or down: see scontrol ping, then try again",
    "failed": "",
    "unconfigured": ". SLURM's programs are installed on this machine, but it is no part of a cluster: run the same command on the "
    "cluster's login node. If this is that node, its slurm.conf is missing: tell the administrators",
    "unreachable": ". The SLURM controller may be down: see scontrol ping, then try again",
}
# What SLURM's programs print, in small letters -> the advice.
SAID = {
    "could not establish a configuration source": "unconfigured",
    "unable to process configuration file": "unconfigured",
    "unable to contact slurm controller": "unreachable",
}


class ClusterError(RuntimeError):
    """SLURM or Snakemake gave no answer, or its state needs a person; the message says what to do."""


def ask(*command: str, seconds: float = ANSWER_S) -> str:
    """Run a program and return its standard output.

    Raises ClusterError: the program is not installed, ends with an error, or does not answer within ``seconds``.
    """
    try:
        return answer(*command, seconds=seconds)
    except ProgramError as error:
        said = next((SAID[words] for words in SAID if words in str(error).lower()), error.why)
        raise ClusterError(f"{error}{ADVICE[said]}") from None


def fields(text: str) -> dict[str, str]:
    """Parse the `Key=value Key=value` that `scontrol -o show` prints; a value is cut at its first space."""
    return dict(word.split("=", 1) for word in text.split() if "=" in word)
