"""Python's search for reference cycles rests while libraries are imported, and goes on after whatever ends the block."""

import gc
import importlib.metadata
import importlib.util
import platform
import subprocess
import sys

import pytest
import torch

from mperceiver import machine
from mperceiver.machine import importing, without_collection


@pytest.mark.parametrize(
    "can, has",
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx512_bf16": False}, False), ({}, False)],
)
def test_a_card_tells_where_bfloat16_was_used(monkeypatch, can, has):
    """Another processor may give other pixels, if the method asks for bfloat16; only then does a card tell them apart."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can)
    assert machine.has_bfloat16("cpu") is has
    assert machine.device_name("cpu", "bf16") == ("cpu with bfloat16" if has else "cpu")
    assert machine.device_name("cpu") == machine.device_name("cpu", "no") == "cpu"


def test_collection_rests_inside_and_goes_on_after_an_error():
    with without_collection(), without_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(KeyError), without_collection():
        raise KeyError
    assert gc.isenabled()


def test_it_stays_off_where_it_was_off():
    gc.disable()
    try:
        with without_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_function_can_be_decorated():
    @without_collection()
    def inside() -> bool:
        return gc.isenabled()

    assert not inside() and gc.isenabled()


@pytest.mark.parametrize("command", [False, True])
def test_only_a_command_leaves_out_what_it_imported(monkeypatch, command):
    """A program that uses the package keeps its own objects under Python's search; and once all is imported, nothing is left out again."""
    monkeypatch.setattr(machine, "_whole_process", command)
    try:
        for new in (True, False):
            gc.unfreeze()
            if new:
                sys.modules.pop("colorsys", None)
            with importing():
                importlib.import_module("colorsys")
            assert (gc.get_freeze_count() > 0) == (command and new)
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("command", [False, True])
def test_only_a_command_hides_what_it_does_not_use(monkeypatch, command):
    monkeypatch.setattr(machine, "_whole_process", True)
    monkeypatch.setattr(machine, "_hides", command)
    sys.modules.pop("colorsys", None)
    try:
        with importing(unused=["colorsys", "gc"]):  # the second one is imported already
            assert (importlib.util.find_spec("colorsys") is None) == command
            assert importlib.util.find_spec("gc") is not None
            assert (importlib.metadata.packages_distributions() == {}) == command
        with pytest.raises(KeyError), importing(unused=["colorsys"]):
            raise KeyError
        assert importlib.metadata.packages_distributions()["pytest"] == ["pytest"]
        assert importlib.import_module("colorsys").rgb_to_hsv(1, 1, 1) == (0, 0, 1)
    finally:
        gc.unfreeze()


GIB = 2**30
V2 = {
    "memory.max": 16 * GIB,
    "memory.current": 15 * GIB,
    "memory.stat": f"anon 5\nactive_file {2 * GIB}\ninactive_file {GIB}\n",
}
V1 = {
    "memory.limit_in_bytes": 4 * GIB,
    "memory.usage_in_bytes": 3 * GIB,
    "memory.stat": f"active_file 1\ntotal_active_file {GIB}\ntotal_inactive_file 0\n",
}


@pytest.mark.parametrize(
    ("groups", "folder", "files", "free"),
    [
        ("0::/slurm/job_1\n", "slurm/job_1", V2, 4 * GIB),  # 1 GiB is not used, and 3 GiB are cached files
        ("0::/slurm/job_1/step_0\n", "slurm/job_1", V2, 4 * GIB),  # the limit is that of the group above
        ("0::/slurm/job_1\n", "slurm/job_1", V2 | {"memory.max": "max"}, None),
        ("0::/slurm/job_1\n", "slurm/job_1", V2 | {"memory.current": 20 * GIB}, 0),
        ("5:cpu,cpuacct:/a\n4:memory:/slurm/job_1\n0::/\n", "memory/slurm/job_1", V1, 2 * GIB),
        ("4:memory:/docker/abc\n", "memory", V1, 2 * GIB),  # a container sees its own group as the root
        ("4:memory:/slurm/job_1\n", "memory/slurm/job_1", {"memory.limit_in_bytes": 4 * GIB}, None),
        ("4:cpu:/slurm/job_1\n", "memory/slurm/job_1", V1, None),
    ],
)
def test_the_limit_of_a_job_counts(tmp_path, monkeypatch, groups, folder, files, free):
    (tmp_path / folder).mkdir(parents=True)
    for name, value in files.items():
        (tmp_path / folder / name).write_text(f"{value}\n", encoding="utf-8")
    (tmp_path / "own").write_text(groups, encoding="utf-8")
    whole = machine.free_memory_bytes()
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "GROUPS", tmp_path)
    assert machine._cgroup_limits() == ([] if free is None else [free])
    assert machine.free_memory_bytes() <= (whole * 2 if free is None else free)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_command_is_given_its_memory_once():
    """Four arrays of 3 MiB, 3,072 pages in all, made and freed fifty times. Python itself takes a few thousand pages to start."""
    code = """
import resource, numpy as np
{}
for _ in range(50):
    arrays = [np.ones(3 * 2**17) for _ in range(4)]
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""
    pages = {
        first: int(subprocess.run([sys.executable, "-c", code.format(first)], capture_output=True, check=True).stdout)
        for first in ("", "from mperceiver.machine import own_process; own_process()")
    }
    default, command = pages.values()
    assert default > 25 * 3072 > 2 * command, pages
