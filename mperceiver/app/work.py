"""What the page does: restore photographs, a dataset's pair, and pictures that it degraded itself. Nothing here knows Gradio."""

import queue
import shutil
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mperceiver import config, images, paths
from mperceiver.app.scores import Scorer, Scores, scores
from mperceiver.app.uploads import Uploaded, Uploads
from mperceiver.config.methods import Method
from mperceiver.config.samplers import Sampler
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.degradations import DEGRADATIONS, PLACES
from mperceiver.degradations.common import SIDE_MIN_PX
from mperceiver.degradations.mix import degrade
from mperceiver.images import PictureError
from mperceiver.messages import for_user
from mperceiver.metrics import score_pair
from mperceiver.models.restorer import Restorer
from mperceiver.printing import shown
from mperceiver.restoring.definitions import definition
from mperceiver.restoring.photographs import method_for_photographs, views
from mperceiver.restoring.restorers import load_restorer
from mperceiver.restoring.stream import RestoreOutcome, RestoreRequest, restore_all
from mperceiver.scoring.pictures import as_scored, ground_truth, score_given
from mperceiver.seeds import picture_seed

if TYPE_CHECKING:
    from mperceiver.models.mperceiver import MPerceiver

PREFERRED = ("small", "demo", "mperceiver")  # methods to begin with, the first that has weights
MOST_PHOTOGRAPHS = 20  # in one queue
MOST_MIB = 100  # of a file
MOST_STEPS = 50


@dataclass
class Progress:
    """How far the work is: picture ``number`` of ``count`` (from 1), and the share of it that is done."""

    number: int
    count: int
    share: float
    name: str
    before: str = ""  # what is done before the model begins with the picture, in words


@dataclass
class Result:
    """A picture before and after, or why it could not be restored."""

    name: str
    before: Path | None = None
    after: Path | None = None
    target: Path | None = None  # ground truth
    size: tuple[int, int] = (0, 0)  # (W, H)
    seconds: float = 0.0
    probabilities: dict[str, float] | None = None
    clean: float | None = None
    notes: list[str] = field(default_factory=list)
    scores: Scores | None = None
    error: str | None = None


class Stopped(Exception):
    """The person who asked for the work has left or stopped it."""


Tell = Callable[[float, str], None]  # the share of a picture's work that was done, and ``Progress.before``


def _nobody(share: float, before: str) -> None:
    """Tells nobody: no work goes on."""


def methods() -> dict[str, str]:
    """{name: title} of the methods that restore photographs and have their weights here, the one to begin with first."""
    titles = {}
    for name in config.names("methods"):
        spec = config.load("methods", name)
        files = config.weights_files(name).values() if spec.kind in ("mperceiver", "network") else ()
        if files and all(file.is_file() for file in files):
            titles[name] = spec.title
    return dict(sorted(titles.items(), key=lambda item: (item[0] not in PREFERRED, item[0] != PREFERRED[0], item[0])))


def datasets() -> list[str]:
    """The prepared datasets whose pairs are there to be shown."""
    return [
        name
        for name in config.names("datasets")
        if paths.prepared_file(name).is_file() and not PreparedDataset(name).on_the_fly
    ]


class Workshop:
    """Restores in one thread at a time, keeps the last method's model in memory, and writes below ``folder`` only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uploads = Uploads()
        self._busy = threading.Lock()
        self._model: tuple[tuple[str, str], Restorer] | None = None
        self._tell: Tell = _nobody

    def photographs(self, person: str, sources: list[Path], method: str, steps: int) -> Iterator[Progress | Result]:
        """Restore uploaded photographs, one after the other, each with a result of its own.

        Args:
            person: an id of the browser's session; what it restored here before is removed.
            steps: of the sampler, for a method of kind mperceiver.
        """
        if len(sources) > MOST_PHOTOGRAPHS:
            raise PictureError(f"{len(sources)} photographs at once; this page takes {MOST_PHOTOGRAPHS}")
        folder, spec = self._emptied(person, "photographs"), self._spec(method, steps)
        for number, source in enumerate(sources, 1):
            place = folder / str(number)
            place.mkdir()
            yield from self._photograph(place, source, method, spec, number, len(sources))

    def pair(self, person: str, dataset: str, row: int, method: str, steps: int) -> Iterator[Progress | Result]:
        """Restore row ``row`` (from 0) of a prepared dataset as its restoring does, and score it as its scoring does."""
        folder, spec, prepared = self._emptied(person, "pair"), self._spec(method, steps), PreparedDataset(dataset)
        if not 0 <= row < len(prepared):
            raise PictureError(f"{dataset} has {len(prepared)} pictures; there is no picture {row + 1}")
        name = prepared.ids[row]
        lq, gt = prepared.lq(row), prepared.gt(row) if prepared.has("gt", row) else None

        def work() -> Result:
            restorer = self._restorer(method, spec)
            seed = picture_seed(dataset, name, spec.sampler.seed)
            restored: list[np.ndarray] = []
            request = RestoreRequest(
                name,
                lambda: prepared.stacked(restorer.sees, row),
                restored.append,
                seed,
                prepared.tasks[row],
                prepared.bits,
            )
            outcome = next(restore_all(restorer, spec, [request]))
            result = _result(f"{dataset}, {name} ({prepared.tasks[row]})", outcome, lq)
            if not result.error:
                result = self._written(folder, result, lq, restored[0], gt)
                result.scores = _as_in_tables(prepared, row, None if spec.kind == "identity" else restored[0])
            return result

        yield from self._told(work, spec, 1, 1, name)

    def degraded(
        self, person: str, source: Path, layers: dict[str, dict[str, Any]], seed: int, method: str, steps: int
    ) -> Iterator[Progress | Result]:
        """Degrade a clean photograph and restore it; the scores are those of protocol rgb.

        Args:
            layers: {degradation: its parameters}, in any order; they are applied in that of the light's path.
        """
        if not layers:
            raise PictureError("choose at least one degradation")
        folder, spec = self._emptied(person, "degraded"), self._spec(method, steps)
        yield Progress(1, 1, 0.0, source.name, "reading and degrading it")  # which takes seconds for a large photograph
        ordered = sorted(layers, key=lambda name: PLACES.index(DEGRADATIONS[name].place))
        upload = Uploaded(source, folder / "none.png", before=folder / "clean.png")
        clean = upload.read()
        if min(clean.shape[:2]) < SIDE_MIN_PX:
            raise PictureError(
                f"{source.name}: is {clean.shape[1]}x{clean.shape[0]} px; the degradations need {SIDE_MIN_PX} px a side at least; "
                "choose a larger photograph"
            )
        try:
            picture, _ = degrade(clean.astype(np.float32) / 255, [(name, layers[name]) for name in ordered], int(seed))
        except ValueError as error:  # a value that its function does not take for a picture of this size
            raise PictureError(f"{source.name}: cannot be degraded: {error}; choose other values") from None
        place = folder / f"{source.stem}-degraded.png"
        place.write_bytes(images.encode(picture, None, **upload.metadata))  # so that all three are shown in its colours
        (folder / "1").mkdir()
        for event in self._photograph(folder / "1", place, method, spec, 1, 1):
            if isinstance(event, Result) and event.after is not None:
                event.target, event.scores = folder / "clean.png", _by_rgb(picture, images.decode(event.after), clean)
                event.notes = [*upload.notes, f"degraded by {', '.join(ordered)}"]
            yield event

    def forget(self, person: str) -> None:
        """Remove what a session uploaded, and what was restored for it."""
        self.uploads.forget(person)
        shutil.rmtree(self.folder / person, ignore_errors=True)

    def _emptied(self, person: str, kind: str) -> Path:
        """A new folder for one kind of work; what was restored by that kind is removed, and results of another kind stay on the page.

        A work that was stopped may still be at its last photograph, which it writes into the folder that it was given.
        """
        folder = self.folder / person / kind
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=folder))

    def _spec(self, method: str, steps: int) -> Method:
        spec = method_for_photographs(method)
        if spec.kind != "mperceiver":
            return spec
        return method_for_photographs(method, sampler=spec.sampler.model_dump() | {"steps": int(steps)})

    def _photograph(
        self, folder: Path, source: Path, method: str, spec: Method, number: int, count: int
    ) -> Iterator[Progress | Result]:
        target = folder / f"{source.stem}-restored.png"

        def work() -> Result:
            photograph = Uploaded(source, target, method, definition(method, spec), before=folder / "before.png")
            picture = [photograph.read()]  # before the weights: the word that a file is refused does not wait for them
            request = RestoreRequest(str(source), picture.pop, photograph.write, spec.sampler.seed)
            outcome = next(restore_all(self._restorer(method, spec), spec, [request]))
            result = _result(source.name, outcome)
            if not result.error:
                result.before, result.after, result.notes = photograph.before, target, photograph.notes
                result.size = photograph.size or (0, 0)
            return result

        yield from self._told(work, spec, number, count, source.name)

    def _told(
        self, work: Callable[[], Result], spec: Method, number: int, count: int, name: str
    ) -> Iterator[Progress | Result]:
        """Do the work in a thread; yield its progress, then its result. If the caller goes away, the work is stopped."""
        events: queue.Queue[Progress | Result] = queue.Queue()
        gone = threading.Event()
        done = 0.0

        def tell(share: float, before: str = "") -> None:
            nonlocal done
            if gone.is_set():
                raise Stopped
            done += share / parts
            events.put(Progress(number, count, min(done, 1.0), name, before))

        def run() -> None:
            with self._busy:
                if gone.is_set():
                    return
                self._tell = tell
                try:
                    if waits:
                        tell(0.0)
                    result = work()
                except Stopped:
                    return
                except Exception as error:
                    result = Result(name, error=in_words(error))
                finally:
                    self._tell = _nobody
            events.put(result)

        waits = self._busy.locked()
        yield Progress(number, count, 0.0, name, "waiting: another photograph is being restored" if waits else "")
        parts = views(spec)
        threading.Thread(target=run, daemon=True).start()
        try:
            while True:
                event = events.get()
                yield event
                if isinstance(event, Result):
                    return
        finally:
            gone.set()

    def _restorer(self, method: str, spec: Method) -> Restorer:
        """The method's model, loaded once for what the method is now; the sampler's settings are those of ``spec``."""
        what = method, definition(method, spec.model_copy(update={"sampler": Sampler()}))
        if self._model is None or self._model[0] != what:
            self._model = None  # two models need not fit into the memory
            self._tell(0.0, "reading the weights")
            self._model = what, load_restorer(method, lambda share: self._tell(share, ""))
        restorer = self._model[1]
        if spec.kind == "mperceiver":
            cast("MPerceiver", restorer).sampler = spec.sampler
        return restorer

    def _written(
        self, folder: Path, result: Result, lq: np.ndarray, restored: np.ndarray, gt: np.ndarray | None
    ) -> Result:
        for key, picture in (("before", lq), ("after", restored), ("target", gt)):
            if picture is not None:
                file = folder / f"{key}.png"
                file.write_bytes(images.encode(picture))
                setattr(result, key, file)
        return result


def _result(name: str, outcome: RestoreOutcome, picture: np.ndarray | None = None) -> Result:
    size = (picture.shape[1], picture.shape[0]) if picture is not None else (0, 0)
    seconds, probabilities, clean = outcome.seconds, outcome.probabilities, outcome.clean
    return Result(name, None, None, None, size, seconds, probabilities, clean, error=outcome.error)


def _as_in_tables(prepared: PreparedDataset, row: int, restored: np.ndarray | None) -> Scores | None:
    """The scores of a pair by its dataset's protocol, None without a ground truth.

    ``restored``: (H, W, 3), uint8, or uint16 of a dataset of 16 bits; None: the input, by the method that copies it.
    """
    gt = ground_truth(prepared, row)
    if gt is None:
        return None
    given: Scorer = partial(score_given, prepared, row, gt)
    ours = given if restored is None else partial(score_pair, as_scored(restored), gt)
    protocol = config.load("protocols", config.load("datasets", prepared.name).protocol)
    return scores(protocol, {"input": given, "restored": ours})


def _by_rgb(lq: np.ndarray, restored: np.ndarray, gt: np.ndarray) -> Scores:
    """The scores of a degraded photograph by the protocol rgb: uint8 (H, W, 3) each."""
    pictures: dict[str, Scorer] = {"input": partial(score_pair, lq, gt), "restored": partial(score_pair, restored, gt)}
    return scores(config.load("protocols", "rgb"), pictures)


def in_words(error: Exception) -> str:
    """An error as the command line words it. One that is a bug of ours is told as such, and its traceback is printed."""
    words = for_user(error)
    if words is None:
        traceback.print_exception(error, file=sys.stderr)
        words = f"the program has a fault here ({type(error).__name__}: {error}); the terminal that it was started in shows where"
    return shown(words)
