"""Work on many pictures: over all cores, in order, within bounded memory."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

AHEAD = 4  # jobs under way or waiting to be taken, for each worker
THREADS = 8  # that read pictures beside a training; a machine with several GPUs runs as many trainings


class WorkerError(RuntimeError):
    """A worker process was killed; the message says why that is likely and what to do."""


def cores() -> int:
    """Cores this process may use (a cluster job has fewer than the machine)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_processes(function: Callable, jobs: Iterable, workers: int) -> Generator[Any, None, None]:
    """Results of ``function`` over ``jobs``, in the order of the jobs, computed by ``workers`` processes.

    With one worker all is done in this process. Close the iterator (contextlib.closing) so that an error leaves no process
    behind. ``function`` and the jobs must pickle. Raises what ``function`` raises; WorkerError if a process is killed.
    """
    if workers <= 1:
        yield from map(function, jobs)
        return
    # "spawn": a process forked while other libraries hold threads can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
    try:
        waiting: deque = deque()
        for job in jobs:
            waiting.append(pool.submit(function, job))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise WorkerError(
            f"one of {workers} worker processes was killed, most likely for want of memory; "
            "give the job more memory or fewer workers, and run it again"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_threads(function: Callable, jobs: Iterable, workers: int | None = None) -> Iterator[Any]:
    """Results of ``function`` over ``jobs`` in their order, computed by threads a little ahead of who takes them.

    For work that leaves Python alone, such as decoding pictures. As many threads as cores, at most THREADS.
    """
    workers = workers or min(cores(), THREADS)
    jobs = list(jobs)
    if workers <= 1 or len(jobs) <= 1:
        yield from map(function, jobs)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(function, job))
                if len(waiting) > workers:  # whole pictures wait here
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
