"""Prepare a dataset: write its rows to one memory-mapped Arrow file, with the same bytes whatever the number of workers.

ready_made.py makes the rows of pairs out of archives; synthesised.py makes rows by degrading pictures.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mperceiver import commits, config, files, lineage, paths
from mperceiver.config.datasets import Dataset
from mperceiver.data.prepare import ready_made, synthesised
from mperceiver.data.prepare.matching import PairFault
from mperceiver.data.prepare.ready_made import PairFaults
from mperceiver.data.prepare.rows import Row, write_rows
from mperceiver.parallel import cores, in_processes
from mperceiver.progress import progress


class RowJob(Protocol):
    """Work for a process; ``rows``: how many rows it makes, for the progress bar."""

    @property
    def rows(self) -> int: ...


@dataclass(frozen=True)
class RowPlan:
    """Jobs in the order of their rows, the function that makes a job's rows, and the collection of faulty pairs."""

    jobs: Sequence[RowJob]
    make_rows: Callable[[Any], Iterable[Row | PairFault]]
    faults: PairFaults | None = None


def prepare_dataset(name: str, workers: int | None = None) -> Path:
    """Write data/prepared/{name}.arrow and its card, completely or not at all; return the card's path.

    Args:
        name: a dataset. Its pictures, or those of the datasets in `from`, have been downloaded.
        workers: processes; by default one a core. The number never changes a byte.

    Raises:
        ConfigError: the dataset's file is wrong, e.g. an unknown degradation. LineageError: a download is missing or was
        changed. PictureError, DataError: a picture cannot be read or is too small; the message names it.
    """
    dataset = config.load("datasets", name)
    inputs = config.prepare_inputs(name)
    synthesised.check_degradations(name, dataset)
    commits.current()  # without git the card could not be written: fail before the work, not after
    for source in map(Path, inputs):
        if source.is_relative_to(paths.DATA):
            _check_unchanged(name, source)
    target, card = paths.prepared_file(name), paths.prepared_card(name)
    with _planned(name, dataset, target.parent) as plan, files.atomic_file(target, card) as beside:
        with closing(_run(name, plan, workers or cores())) as rows:
            result = write_rows(name, beside, rows)
        if plan.faults is not None:
            result |= plan.faults.check(result["count"])
    lineage.write_card(
        card,
        verb="prepare",
        spec=config.read_part("datasets", name, "prepare"),
        inputs=inputs,
        outputs=[target],
        seed=dataset.seed,
        result=result,
    )
    return card


def _check_unchanged(name: str, card: Path) -> None:
    """Raise LineageError unless the data that a card in data/raw/ or data/prepared/ describes are there and unchanged."""
    origin = card.stem
    if card.parent == paths.RAW:
        data, verb, again = paths.raw_folder(origin), "download", "download --force"
    else:
        data, verb, again = paths.prepared_file(origin), "prepare", "prepare"
    if not card.is_file() or not data.exists():
        raise lineage.LineageError(
            f"{name}: the pictures of {origin} are not in {data}; run: mperceiver {verb} {origin}"
        )
    if lineage.read_card(card)["outputs"].get(str(data)) != files.sha256(data):
        raise lineage.LineageError(
            f"{name}: {data} is not what its card describes; someone changed it. Run: mperceiver {again} {origin}"
        )


@contextmanager
def _planned(name: str, dataset: Dataset, scratch: Path) -> Iterator[RowPlan]:
    """The plan of a dataset's rows; unpacked archives lie in ``scratch`` until the block ends."""
    if dataset.pairs:
        with ready_made.plan_pairs(name, dataset, scratch) as (jobs, faults):
            yield RowPlan(jobs, ready_made.read_rows, faults)
    else:
        yield RowPlan(synthesised.plan_rows(name, dataset), synthesised.render_rows)


def _run(name: str, plan: RowPlan, workers: int) -> Generator[Row, None, None]:
    """The rows of all jobs in order; faulty pairs are added to ``plan.faults``."""
    with (
        closing(in_processes(plan.make_rows, plan.jobs, workers)) as results,
        progress(f"prepare {name}", sum(job.rows for job in plan.jobs)) as advance,
    ):
        for job, rows in zip(plan.jobs, results, strict=True):
            for row in rows:
                if isinstance(row, PairFault):
                    assert plan.faults is not None, "only ready-made pairs have faults"
                    plan.faults.add(row)
                else:
                    yield row
            advance(job.rows)
