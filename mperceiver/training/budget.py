"""How long a training is: a number of steps, or of seconds of CPU time."""

import time

from mperceiver.config.runs import Stage
from mperceiver.training.schedule import TrainingError, share_of_pixels


class Budget:
    """How much of a training is done. The learning rate and the phases follow it."""

    def __init__(self, spec: Stage, processes: int) -> None:
        """Raises TrainingError if several ``processes`` are to share a training whose length is CPU time."""
        if spec.cpu_seconds is not None and processes > 1:
            raise TrainingError("`cpu_seconds` is the CPU time of one process; start the training without a launcher")
        self.spec = spec
        self._before = 0.0  # CPU seconds of the processes that the training ran in before this one

    def resume(self, cpu_seconds: float) -> None:
        """Count the CPU time of the processes before this one."""
        self._before = cpu_seconds

    def cpu_seconds(self) -> float:
        """CPU time so far, of all threads, from the start of the process on."""
        return self._before + time.process_time()

    def share(self, step: int) -> float:
        """The part of the training that is done before ``step`` (from 0): 0 to 1."""
        if self.spec.cpu_seconds is None:
            return step / self.spec.steps
        return min(self.cpu_seconds() / self.spec.cpu_seconds, 1.0)

    def share_of_time(self, step: int) -> float:
        """An estimate of the part of the training's time that the steps before ``step`` (from 0) take: 0 to 1."""
        return share_of_pixels(self.spec, step) if self.spec.cpu_seconds is None else self.share(step)

    def timed_share(self, step: int) -> float | None:
        """``share`` where CPU time is the length of the training; None where the number of steps is."""
        return None if self.spec.cpu_seconds is None else self.share(step)

    def over(self, step: int) -> bool:
        """Whether the training ends before ``step`` (from 0). A training has at least one step."""
        timed_out = self.spec.cpu_seconds is not None and step > 0 and self.share(step) >= 1
        return step >= self.spec.steps or timed_out
