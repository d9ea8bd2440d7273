"""Being stopped by SIGTERM: at a time limit, by a preemption, or by a user who cancels."""

import signal
from typing import NoReturn

from mperceiver.training import processes, slurm

STOPPED = 143  # 128 + SIGTERM: what a shell says of a process that it killed


class StopSignal:
    """Remembers SIGTERM instead of dying of it, so that the step in progress can be finished."""

    def __init__(self) -> None:
        self.asked = False
        try:
            self.before = signal.signal(signal.SIGTERM, self._ask)
        except ValueError:  # not the main thread: whoever runs us handles signals
            self.before = None

    def _ask(self, *_: object) -> None:
        self.asked = True

    def restore(self) -> None:
        if self.before is not None:
            signal.signal(signal.SIGTERM, self.before)


def end() -> NoReturn:
    """End all processes of a training that was stopped, its state written.

    Where SLURM takes the job back into the queue, wait to be killed: a job that ends by itself before counts as failed.
    Otherwise exit with 143: a failure that the same command, run again, goes on from.
    """
    if processes.told(slurm.requeue() if processes.is_main() else None):
        processes.say("requeued by SLURM: waiting for it to end this job, which goes on later")
        slurm.hold()
    raise SystemExit(STOPPED)
