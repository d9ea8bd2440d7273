"""Checks that run on a compute node, through srun: does it see this folder, has it this Python, does torch see a GPU."""

import re
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from mperceiver.cluster.ask import ClusterError, ask
from mperceiver.cluster.checks import CheckResult, ok_or_wrong

IDLE_NODE_S = 60  # time to get a node that is idle
STARTUP_S = 240  # time for the command on the node; the first import of torch from a shared disk is slow
CUDA = "import torch; print('CUDA', torch.cuda.device_count(), torch.cuda.get_device_name() if torch.cuda.is_available() else '')"


def check_node(partition: str, with_gpu: bool, gpu_model: str) -> Iterator[CheckResult]:
    """Check one node of a partition ("" for the default one), which SLURM chooses.

    Args:
        with_gpu: ask for one GPU, of ``gpu_model`` if that is not "".
    """
    name = partition or "(default)"
    options = ["--nodes=1", "--ntasks=1", "--time=5", f"--immediate={IDLE_NODE_S}", "--quiet", "--export=ALL"]
    options += [f"--partition={partition}"] if partition else []
    options += [f"--gpus={gpu_model + ':' if gpu_model else ''}1"] if with_gpu else []

    def run_on_node(*command: str) -> str:
        return ask("srun", *options, *command, seconds=IDLE_NODE_S + STARTUP_S)

    # A new file whose name nobody knows: a node that can read it sees this very folder.
    token = Path(f".seen-{secrets.token_hex(4)}")
    token.write_text(token.name, encoding="utf-8")
    try:
        content = _answer_or_result(f"files on {name}", lambda: run_on_node("cat", str(token.absolute())))
    finally:
        token.unlink()
    if isinstance(content, CheckResult):
        yield content
        return
    is_shared = content.strip() == token.name
    detail = (
        "the node sees this folder"
        if is_shared
        else "the node does not see this folder: move the checkout to a shared disk"
    )
    yield ok_or_wrong(f"files on {name}", is_shared, detail)
    if with_gpu:
        yield _cuda(f"CUDA on {name}", run_on_node)
    else:
        subject = f"Python on {name}"
        program = "import mperceiver.config; print('imported')"
        answer = _answer_or_result(subject, lambda: run_on_node(sys.executable, "-c", program))
        yield answer if isinstance(answer, CheckResult) else CheckResult(subject, "ok", sys.executable)


def _cuda(subject: str, run_on_node: Callable[..., str]) -> CheckResult:
    answer = _answer_or_result(subject, lambda: run_on_node(sys.executable, "-c", CUDA))
    if isinstance(answer, CheckResult):
        return answer
    count, *model = answer.split("CUDA", 1)[-1].strip().split(maxsplit=1) or ["0"]
    if count == "0":
        return CheckResult(
            subject,
            "wrong",
            "SLURM gave a GPU and torch sees none: the node's driver is too old, or torch came without CUDA",
        )
    return CheckResult(subject, "ok", " ".join([count, *model]))


def _answer_or_result(subject: str, question: Callable[[], str]) -> str | CheckResult:
    """The answer to ``question``, or the result that says why there is none."""
    try:
        return question()
    except ClusterError as error:
        if re.search(r"(?i)immediate|no answer|busy", str(error)):
            return CheckResult(subject, "unknown", f"no node was free within {IDLE_NODE_S} s; ask again later")
        return CheckResult(subject, "wrong", str(error))
