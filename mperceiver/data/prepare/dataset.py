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
from mperceiver.data import DataError
from mperceiver.data.prepare import ready_made, synthesised
from mperceiver.data.prepare.matching import PairFault
from mperceiver.data.prepare.ready_made import PairFaults
from mperceiver.data.prepare.rows import Row, write_rows
from mperceiver.data.raw.folder import linked_folder
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

    A second job for the same dataset waits for the first.

    Args:
        name: a dataset. Its pictures, or those of the datasets in `from`, have been downloaded.
        workers: processes; by default one a core. The number never changes a byte.

    Raises:
        ConfigError: the dataset's file is wrong, e.g. an unknown degradation. LineageError: a download is missing or was
        changed. PictureError, DataError: a picture cannot be read or is too small, and the message names it; or no row is left.
    """
    synthesised.check_degradations(name, config.load("datasets", name))
    commits.require()
    with files.locked(paths.prepared_file(name)):
        return _prepare(name, workers)


def _prepare(name: str, workers: int | None) -> Path:
    # Read with the lock held: another job may have had it for hours, and the dataset's file may have changed meanwhile.
    dataset = config.load("datasets", name)
    inputs = config.prepare_inputs(name)
    for source in map(Path, inputs):
        if source.is_relative_to(paths.DATA):
            _check_unchanged(name, source)
    work = lineage.begin("prepare", config.read_part("datasets", name, "prepare"), inputs, seed=dataset.seed)
    target, card = paths.prepared_file(name), paths.prepared_card(name)
    with _planned(name, dataset, target.parent) as plan, files.atomic_file(target, card) as beside:
        with closing(_run(name, plan, workers or cores())) as rows:
            result = write_rows(name, beside, rows)
        if plan.faults is not None:
            result |= plan.faults.check(result["count"])
        elif not result["count"]:
            raise DataError(
                f"{name}: no row is left: none of the datasets that it is made of has a picture. Look at their cards, then "
                f"prepare again what has none: mperceiver prepare {' or '.join(config.pictures_of(name))}"
            )
    work.write_card(card, outputs=[target], result=result)
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
    if linked := linked_folder(data):  # a folder's SHA-256 does not look behind links, as files.members does not
        raise lineage.LineageError(
            f"{name}: {linked} is a link to another folder, whose files the card of {origin} does not know. Give the files to the "
            f"source that {config.path_of('datasets', origin)} names, and run: mperceiver {again} {origin}"
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
