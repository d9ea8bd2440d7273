"""Jobs on several cores: in order, and in processes only where these are worth their start."""

import os
from contextlib import closing

import pytest

from mperceiver import parallel
from mperceiver.parallel import WorkerError, in_processes

# eval is a function that a fresh process can import, whatever runs the tests.
PROCESS = "__import__('os').getpid()"


def run(jobs: list[str], workers: int) -> list:
    with closing(in_processes(eval, jobs, workers)) as results:
        return list(results)


def test_results_are_in_the_order_of_the_jobs(monkeypatch):
    monkeypatch.setattr(parallel, "ALONE_SECONDS", 0)
    # The earlier a job, the longer it takes.
    jobs = [f"__import__('time').sleep({0.02 * (12 - i)}) or {i}" for i in range(12)]
    assert run(jobs, workers=3) == list(range(12))


def test_quick_jobs_start_no_process():
    assert set(run([PROCESS] * 40, workers=4)) == {os.getpid()}


def test_long_work_is_shared_among_processes(monkeypatch):
    monkeypatch.setattr(parallel, "ALONE_SECONDS", 0.5)
    jobs = [f"__import__('time').sleep(0.05) or {PROCESS}"] * 20  # the second one tells of 0.9 s for the others
    processes = run(jobs, workers=2)
    assert processes[:2] == [os.getpid()] * 2 and os.getpid() not in processes[2:]
    assert run(jobs, workers=1) == [os.getpid()] * 20


def test_a_slow_first_job_is_not_taken_for_the_others(monkeypatch):
    monkeypatch.setattr(parallel, "ALONE_SECONDS", 0.5)
    assert set(run([f"__import__('time').sleep(0.2) or {PROCESS}", *[PROCESS] * 9], workers=4)) == {os.getpid()}


def test_a_killed_process_is_told(monkeypatch):
    monkeypatch.setattr(parallel, "ALONE_SECONDS", 0)
    with pytest.raises(WorkerError, match="one of 2 worker processes was killed"):
        run(["0", "0", *["__import__('os').kill(__import__('os').getpid(), 9)"] * 4], workers=2)
