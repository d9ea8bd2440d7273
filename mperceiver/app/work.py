"""What the page does: restore photographs, a dataset's pair, and pictures that it degraded itself. Nothing here knows Gradio."""

import queue
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mperceiver import config, images, paths
from mperceiver.config.methods import Method
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.degradations import DEGRADATIONS, PLACES
from mperceiver.degradations.mix import degrade
from mperceiver.images import PictureError
from mperceiver.messages import for_user
from mperceiver.metrics import METRICS, score_pair
from mperceiver.metrics.weights import WeightsError
from mperceiver.models.restorer import Restorer
from mperceiver.printing import shown
from mperceiver.restoring.photographs import Photograph, method_for_photographs, views
from mperceiver.restoring.restorers import load_restorer
from mperceiver.restoring.stream import RestoreOutcome, RestoreRequest, restore_all
from mperceiver.seeds import picture_seed

if TYPE_CHECKING:
    from mperceiver.models.mperceiver import MPerceiver

PREFERRED = ("small", "demo", "mperceiver")  # methods to begin with, the first that has weights
MOST_PHOTOGRAPHS = 20  # in one queue
MOST_PIXELS = 40_000_000  # of a photograph
MOST_MIB = 100  # of a file
MOST_STEPS = 50

Scores = dict[str, dict[str, float | str | None]]  # "input", "restored" -> metric -> value, or why there is none


@dataclass
class Progress:
    """How far the work is: picture ``number`` of ``count`` (from 1), and the share of it that is done."""

    number: int
    count: int
    share: float
    name: str


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
    notes: list[str] = field(default_factory=list)
    scores: Scores | None = None
    error: str | None = None


class Stopped(Exception):
    """The person who asked for the work has left or stopped it."""


@dataclass
class Uploaded(Photograph):
    """A photograph that is also kept as it was read, for the page to show; not larger than MOST_PIXELS."""

    before: Path = Path()

    def read(self) -> np.ndarray:
        """The pixels, uint8 (H, W, 3). Raises PictureError."""
        pixels = super().read()
        if pixels.shape[0] * pixels.shape[1] > MOST_PIXELS:
            raise PictureError(
                f"{self.source}: {pixels.shape[1]}x{pixels.shape[0]} is more than {MOST_PIXELS:,} pixels, the most that this "
                "page takes; restore it on the command line: mperceiver restore"
            )
        self.before.write_bytes(images.encode(pixels, None, **self.metadata))
        return pixels


def methods() -> dict[str, str]:
    """{name: title} of the methods that restore photographs and have their weights here, the one to begin with first."""
    found = {}
    for name in config.names("methods"):
        spec = config.load("methods", name)
        files = config.weights_files(name).values() if spec.kind in ("mperceiver", "network") else ()
        if files and all(file.is_file() for file in files):
            found[name] = spec.title
    return dict(sorted(found.items(), key=lambda item: (item[0] not in PREFERRED, item[0] != PREFERRED[0], item[0])))


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
        self._busy = threading.Lock()
        self._model: tuple[str, Restorer] | None = None
        self._on_share: Callable[[float], None] = lambda share: None

    def photographs(self, person: str, sources: list[Path], method: str, steps: int) -> Iterator[Progress | Result]:
        """Restore uploaded photographs, one after the other, each with a result of its own.

        Args:
            person: an id of the browser's session; what it restored before is removed.
            steps: of the sampler, for a method of kind mperceiver.
        """
        if len(sources) > MOST_PHOTOGRAPHS:
            raise PictureError(f"{len(sources)} photographs at once; this page takes {MOST_PHOTOGRAPHS}")
        folder, spec = self._emptied(person), self._spec(method, steps)
        for number, source in enumerate(sources, 1):
            place = folder / str(number)
            place.mkdir()
            yield from self._photograph(place, source, method, spec, number, len(sources))

    def pair(self, person: str, dataset: str, row: int, method: str, steps: int) -> Iterator[Progress | Result]:
        """Restore row ``row`` (from 0) of a prepared dataset as its restoring does, and score it by the dataset's protocol."""
        folder, spec, prepared = self._emptied(person), self._spec(method, steps), PreparedDataset(dataset)
        if not 0 <= row < len(prepared):
            raise PictureError(f"{dataset} has {len(prepared)} pictures; there is no picture {row + 1}")
        name = prepared.ids[row]
        lq, gt = prepared.lq(row), prepared.gt(row) if prepared.has("gt", row) else None

        def work(tell: Callable[[float], None]) -> Result:
            restorer = self._restorer(method, spec)
            seed = picture_seed(dataset, name, spec.sampler.seed)
            restored: list[np.ndarray] = []
            request = RestoreRequest(
                name, lambda: prepared.stacked(restorer.sees, row), restored.append, seed, prepared.tasks[row]
            )
            outcome = next(restore_all(restorer, spec, [request]))
            result = _result(f"{dataset}, {name} ({prepared.tasks[row]})", outcome, lq)
            if not result.error:
                result = self._written(folder, result, lq, restored[0], gt)
                result.scores = (
                    gt is not None and scores(config.load("datasets", dataset).protocol, lq, restored[0], gt)
                ) or None
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
        folder, spec = self._emptied(person), self._spec(method, steps)
        ordered = sorted(layers, key=lambda name: PLACES.index(DEGRADATIONS[name].place))
        clean = Uploaded(source, folder / "none.png", before=folder / "clean.png").read()
        picture, _ = degrade(clean.astype(np.float32) / 255, [(name, layers[name]) for name in ordered], int(seed))
        place = folder / f"{source.stem}-degraded.png"
        place.write_bytes(images.encode(picture))
        (folder / "1").mkdir()
        for event in self._photograph(folder / "1", place, method, spec, 1, 1):
            if isinstance(event, Result) and event.after is not None:
                restored = images.decode(event.after)
                event.target, event.scores = folder / "clean.png", scores("rgb", picture, restored, clean)
                event.notes = [f"degraded by {', '.join(ordered)}"]
            yield event

    def forget(self, person: str) -> None:
        """Remove what was restored for a session."""
        shutil.rmtree(self.folder / person, ignore_errors=True)

    def _emptied(self, person: str) -> Path:
        self.forget(person)
        folder = self.folder / person
        folder.mkdir(parents=True)
        return folder

    def _spec(self, method: str, steps: int) -> Method:
        spec = method_for_photographs(method)
        if spec.kind != "mperceiver":
            return spec
        return method_for_photographs(method, sampler=spec.sampler.model_dump() | {"steps": int(steps)})

    def _photograph(
        self, folder: Path, source: Path, method: str, spec: Method, number: int, count: int
    ) -> Iterator[Progress | Result]:
        target = folder / f"{source.stem}-restored.png"

        def work(tell: Callable[[float], None]) -> Result:
            if source.suffix.lower() not in images.SUFFIXES:
                raise PictureError(f"{source}: a picture's name ends in {', '.join(sorted(images.SUFFIXES))}")
            photograph = Uploaded(source, target, method, before=folder / "before.png")
            request = RestoreRequest(str(source), photograph.read, photograph.write, spec.sampler.seed)
            outcome = next(restore_all(self._restorer(method, spec), spec, [request]))
            result = _result(source.name, outcome)
            if not result.error:
                result.before, result.after, result.notes = photograph.before, target, photograph.notes
                result.size = photograph.size or (0, 0)
            return result

        for event in self._told(work, spec, number, count, source.name):
            if isinstance(event, Result) and event.error:  # where it lies on this machine is no matter
                event.error = event.error.replace(str(source), source.name)
            yield event

    def _told(
        self, work: Callable[[Callable[[float], None]], Result], spec: Method, number: int, count: int, name: str
    ) -> Iterator[Progress | Result]:
        """Do the work in a thread; yield its progress, then its result. If the caller goes away, the work is stopped."""
        events: queue.Queue[Progress | Result] = queue.Queue()
        gone = threading.Event()
        done = 0.0

        def tell(share: float) -> None:
            nonlocal done
            if gone.is_set():
                raise Stopped
            done += share / parts
            events.put(Progress(number, count, min(done, 1.0), name))

        def run() -> None:
            with self._busy:
                if gone.is_set():
                    return
                self._on_share = tell
                try:
                    result = work(tell)
                except Stopped:
                    return
                except Exception as error:
                    result = Result(name, error=in_words(error))
                finally:
                    self._on_share = lambda share: None
            events.put(result)

        yield Progress(number, count, 0.0, name)
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
        """The method's model, loaded once; the sampler's settings are those of ``spec``."""
        if self._model is None or self._model[0] != method:
            self._model = None  # two models need not fit into the memory
            self._model = method, load_restorer(method, lambda share: self._on_share(share))
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
    return Result(name, None, None, None, size, outcome.seconds, outcome.probabilities, error=outcome.error)


def scores(protocol_name: str, lq: np.ndarray, restored: np.ndarray, gt: np.ndarray) -> Scores:
    """PSNR, SSIM and LPIPS, as far as the protocol has them, of the input and of the restored picture: uint8 (H, W, 3) each."""
    protocol = config.load("protocols", protocol_name)
    found: Scores = {"input": {}, "restored": {}}
    for metric in (name for name in ("psnr", "ssim", "lpips") if name in protocol.metrics):
        one = protocol.model_copy(update={"metrics": [metric]})
        for key, picture in (("input", lq), ("restored", restored)):
            try:
                found[key][METRICS[metric].label] = score_pair(picture, gt, one)[metric]
            except (PictureError, WeightsError) as error:
                found[key][METRICS[metric].label] = str(error)
    return found


def in_words(error: Exception) -> str:
    """An error as the command line words it. One that is a bug of ours is told as such, and its traceback is printed."""
    words = for_user(error)
    if words is None:
        traceback.print_exception(error, file=sys.stderr)
        words = f"the program has a fault here ({type(error).__name__}: {error}); the terminal that it was started in shows where"
    return shown(words)
