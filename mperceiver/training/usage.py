"""What a training uses: seconds, memory, and, where NVML tells it, how busy its GPUs are and the energy that they took."""

import contextlib
import math
import time
from typing import Any

import torch

from mperceiver import machine

JOULES_A_WATT_HOUR = 3600


class Usage:
    """Seconds, memory and energy of a training, over all the times that it was continued.

    Every process has one, for its own device. Energy is that of the whole GPU while the training ran, whoever else used it. On a CPU,
    and where NVML does not answer (no driver, a part of a GPU (MIG), a virtual one), it is NaN.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._gpu = _Gpu.of(device)
        self._before_seconds = self._before_joules = 0.0
        self.begin()

    def load(self, seconds: float, joules: float) -> None:
        """Continue after as many seconds and joules; ``begin`` follows."""
        self._before_seconds, self._before_joules = seconds, joules

    def begin(self) -> None:
        """Start the clock."""
        self._start = time.monotonic()
        self._start_joules = self._gpu.joules() if self._gpu else math.nan

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the training."""
        return self._before_seconds + time.monotonic() - self._start

    @property
    def joules(self) -> float:
        """Energy that this process's GPU took while the training ran."""
        return self._before_joules + (self._gpu.joules() if self._gpu else math.nan) - self._start_joules

    def busy_percent(self) -> float:
        """Share of the time since the last call in which a kernel ran on the GPU, in percent; NaN where NVML does not tell.

        The driver remembers some 20 s: of a longer time, the share is that of its last part.
        """
        return self._gpu.busy_percent() if self._gpu else math.nan

    def peak_gib(self) -> float:
        """Peak memory in GiB, of the GPU or else of the process."""
        return machine.peak_gib(self.device)


class _Gpu:
    """A GPU as NVML sees it, which numbers GPUs in another order than CUDA does and so is asked by UUID."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle
        self._seen_us = 0  # the driver's time of the newest sample that was read

    @classmethod
    def of(cls, device: torch.device) -> "_Gpu | None":
        """The GPU of a CUDA device; None for another device, and where NVML does not know it."""
        if device.type != "cuda":
            return None
        import pynvml

        with contextlib.suppress(pynvml.NVMLError, AttributeError):  # torch's properties on ROCm have no UUID
            pynvml.nvmlInit()
            gpu = cls(pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}"))
            gpu.busy_percent()  # what came before does not count
            return gpu
        return None

    def joules(self) -> float:
        """Energy since the driver was loaded; NaN where the GPU does not count it."""
        try:
            return self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1000
        except self._nvml.NVMLError:
            return math.nan

    def busy_percent(self) -> float:
        """Mean of the driver's samples since the last call; NaN where there are none."""
        try:
            _, samples = self._nvml.nvmlDeviceGetSamples(
                self._handle, self._nvml.NVML_GPU_UTILIZATION_SAMPLES, self._seen_us
            )
        except self._nvml.NVMLError:
            return math.nan
        new = [sample for sample in samples if sample.timeStamp > self._seen_us]
        if not new:
            return math.nan
        self._seen_us = max(sample.timeStamp for sample in new)
        return sum(sample.sampleValue.uiVal for sample in new) / len(new)
