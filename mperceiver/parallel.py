"""Process many jobs on several cores, with results in the order of the jobs and bounded memory."""

import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

ALONE_SECONDS = 2.0  # less work is done faster in this process: each worker process takes half a second to start
JOBS_AHEAD = 4  # jobs for each worker process that run or whose results wait to be taken
MAX_THREADS = 8  # threads that read pictures beside a training; a machine with several GPUs runs as many trainings

Job = TypeVar("Job")
Result = TypeVar("Result")


class WorkerError(RuntimeError):
    """A worker process was killed. The message gives the likely cause and what to do."""


def cores() -> int:
    """Number of cores this process may use; a cluster job has fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_processes(function: Callable[[Job], Result], jobs: Iterable[Job], workers: int) -> Generator[Result, None, None]:
    """Yield ``function(job)`` for each job, in order, computed by worker processes.

    With one worker, all jobs are computed in this process. With more, the first two jobs are as well; the time of the second one (the
    first one imports libraries too) says whether the others are worth starting processes for. If not, they are also computed in this
    process. Use contextlib.closing, so that an error leaves no process behind.

    Args:
        function: must be picklable, as must be the jobs and the results.
        jobs: read completely at the start.
        workers: number of processes at most.

    Raises:
        WorkerError: a process was killed. And whatever ``function`` raises.
    """
    jobs = list(jobs)
    if workers <= 1:
        yield from map(function, jobs)
        return
    start = time.monotonic()
    for job in jobs[:2]:
        start = time.monotonic()
        yield function(job)
    jobs = jobs[2:]
    workers = min(workers, len(jobs))
    if workers <= 1 or (time.monotonic() - start) * len(jobs) < ALONE_SECONDS:
        yield from map(function, jobs)
        return
    # "spawn": a process forked from one with threads can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
    try:
        yield from _in_order(pool, function, jobs, JOBS_AHEAD * workers)
    except BrokenProcessPool:
        raise WorkerError(
            f"one of {workers} worker processes was killed, most likely because memory ran out; "
            "give the job more memory or fewer workers, and run it again"
        ) from None


def in_threads(
    function: Callable[[Job], Result], jobs: Iterable[Job], workers: int | None = None
) -> Generator[Result, None, None]:
    """Yield ``function(job)`` for each job, in order, computed by threads a few jobs ahead.

    For functions that release Python's global lock, such as decoding pictures.

    Args:
        function: called in several threads at once.
        jobs: read completely at the start.
        workers: number of threads; by default as many as cores, at most MAX_THREADS.
    """
    workers = workers or min(cores(), MAX_THREADS)
    jobs = list(jobs)
    if workers <= 1 or len(jobs) <= 1:
        yield from map(function, jobs)
        return
    ahead = workers + 1  # results are whole pictures, so few of them wait
    yield from _in_order(ThreadPoolExecutor(workers), function, jobs, ahead)


def _in_order(
    pool: Executor, function: Callable[[Job], Result], jobs: list[Job], ahead: int
) -> Generator[Result, None, None]:
    """Yield the results of jobs in their order, of which at most ``ahead`` run or wait to be taken; then shut the pool down."""
    pending: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            pending.append(pool.submit(function, job))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """End a worker process when its parent ends; if the parent is killed, it would wait for jobs for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # this runs in worker processes only

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
