"""Stopping on SIGTERM: at a job's time limit, at a preemption, or because a user cancels."""

import signal
from typing import NoReturn

from mperceiver.training import processes, slurm

STOPPED = 143  # exit code 128 + SIGTERM, as a shell reports a process that SIGTERM ended


class StopSignal:
    """Records SIGTERM instead of ending the process, so that the step in progress can finish."""

    def __init__(self) -> None:
        self.received = False
        try:
            self.previous_handler = signal.signal(signal.SIGTERM, self._receive)
        except ValueError:  # not in the main thread, where the program that calls us handles signals itself
            self.previous_handler = None

    def _receive(self, *_: object) -> None:
        self.received = True

    def restore_handler(self) -> None:
        """Let SIGTERM do what it did before."""
        if self.previous_handler is not None:
            signal.signal(signal.SIGTERM, self.previous_handler)


def end_processes() -> NoReturn:
    """End all processes of a training that was stopped and has written its state.

    If SLURM puts the job back into its queue, wait until SLURM ends the processes: a requeued job that ends by itself counts
    as failed. Otherwise exit with code 143; the same command then continues the training.
    """
    if processes.broadcast(slurm.requeue() if processes.is_main() else None):
        processes.say(
            "requeued by SLURM: waiting until SLURM ends this job; the training continues when it starts again"
        )
        slurm.wait_to_be_ended()
    raise SystemExit(STOPPED)
