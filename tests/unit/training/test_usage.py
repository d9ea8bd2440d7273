"""What a training uses, with an NVML of our own: no test machine need have a GPU."""

import csv
import io
import math
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from support.loops import regress, stage, toy

from mperceiver.training import meter, usage
from mperceiver.training.loop import fit
from mperceiver.training.resume import Training


class NVMLError(Exception):
    pass


@pytest.fixture
def nvml(monkeypatch):
    """A GPU that has taken 7 kJ since its driver was loaded, and takes 3.6 kJ, which is 1 Wh, between two questions."""
    fake = ModuleType("pynvml")
    fake.asked, fake.millijoules, fake.samples = [], 7_000_000, [(1, 90), (2, 100)]

    def energy(handle):
        fake.asked.append(handle)
        fake.millijoules += 3_600_000
        return fake.millijoules

    def samples(handle, kind, since):
        assert kind == "busy"
        return 0, [
            SimpleNamespace(timeStamp=at, sampleValue=SimpleNamespace(uiVal=value))
            for at, value in fake.samples
            if at >= since
        ]

    fake.NVMLError, fake.NVML_GPU_UTILIZATION_SAMPLES, fake.nvmlInit = NVMLError, "busy", lambda: None
    fake.nvmlDeviceGetHandleByUUID = lambda uuid: uuid
    fake.nvmlDeviceGetTotalEnergyConsumption, fake.nvmlDeviceGetSamples = energy, samples
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="1234-5"))
    return fake


def test_energy_is_what_the_gpu_took_since_the_training_began(nvml):
    used = usage.Usage(torch.device("cuda"))
    used.begin()
    nvml.millijoules += 500_000
    assert used.joules == pytest.approx(3600 + 500)
    used.load(100.0, 10_000.0)
    used.begin()
    assert used.joules == pytest.approx(10_000 + 3600) and 100 <= used.seconds < 160
    assert set(nvml.asked) == {"GPU-1234-5"}, "asked by UUID: NVML counts in another order than CUDA"


def test_a_gpu_is_as_busy_as_the_samples_since_the_last_question(nvml):
    used = usage.Usage(torch.device("cuda"))
    assert math.isnan(used.busy_percent()), "samples of what came before are not the training's"
    nvml.samples += [(3, 50), (4, 70)]
    assert used.busy_percent() == 60
    assert math.isnan(used.busy_percent())
    nvml.samples += [(5, 20)]
    assert used.busy_percent() == 20


@pytest.mark.parametrize("without", ["nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetTotalEnergyConsumption"])
def test_where_nvml_does_not_tell_nothing_is_told(nvml, without, monkeypatch):
    def refuse(*_):
        raise NVMLError("Not Supported")

    monkeypatch.setattr(nvml, without, refuse)
    assert math.isnan(usage.Usage(torch.device("cuda")).joules)


def test_without_a_gpu_nothing_is_told():
    for device in ("cuda", "cpu"):
        used = usage.Usage(torch.device(device))
        assert math.isnan(used.joules) and math.isnan(used.busy_percent()) and used.seconds >= 0


def test_the_curve_tells_use_and_energy_over_time(tmp_path, nvml, monkeypatch):
    """A training on the CPU whose meter believes in a GPU: it begins, and each of three rows asks once for the energy."""

    def of_gpu(device):
        return of(torch.device("cuda"))

    of = usage.Usage
    monkeypatch.setattr(of, "peak_gib", lambda self: 2.5)
    monkeypatch.setattr(meter, "Usage", of_gpu)
    losses = 0

    def objective(*arguments):
        nonlocal losses
        losses += 1
        nvml.samples.append((10 + losses, 40 if losses <= 50 else 80))
        return regress(*arguments)

    text = fit(Training("toy", stage(steps=120, save_every_steps=1000), 1, tmp_path / "s.pt"), toy(), objective)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [float(row["gpu_percent"]) for row in rows] == [40, 80, 80]
    assert [float(row["watt_hours"]) for row in rows] == [1, 2, 3]
    assert [float(row["gib"]) for row in rows] == [2.5] * 3
