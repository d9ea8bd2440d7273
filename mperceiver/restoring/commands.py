"""Methods of kind command: a program that turns a folder of degraded pictures into a folder of restored ones."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from mperceiver import config, files, images, lineage, paths, temporary
from mperceiver.config.outside import Command
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.data.read.unchanged import check_unchanged
from mperceiver.printing import say, shown
from mperceiver.progress import progress
from mperceiver.restoring.taking import check_pictures

LAST_LINES = 15  # of the output of a program that failed, repeated in the error


class CommandError(RuntimeError):
    """A program failed, or did not restore every picture. The message says which, and shows the end of what it printed."""


def run_command(method: str, dataset: str) -> Path:
    """Run the program of a method on the degraded pictures of a dataset; return the path of the card.

    The program gets PNG files {picture id}.png of the dataset's bits, 8 or 16, and has to write a picture of the same name and size for each:
    results/commanded/{method}/{dataset}/ appears whole or not at all.

    Raises:
        ConfigError: the method is of another kind, or what it runs in is not installed.
        ChecksumError: the pairs are no longer those of their card.
        CommandError: the program ended with another exit code than 0. PictureError: pictures are missing, or there are other
            files, or one has another size.
    """
    spec = config.load("methods", method).command
    inputs = config.command_inputs(method, dataset)
    lineage.check_cards(inputs)
    assert spec is not None
    absent = [path for path in spec.reads if not Path(path).exists()]
    if absent:
        raise config.ConfigError(f"{config.path_of('methods', method)}: command.reads: there is no {', '.join(absent)}")
    if spec.image is not None and not spec.image.exists():
        raise config.ConfigError(
            f"{config.path_of('methods', method)}: command.container: there is no {spec.image}; correct its path, or put the image there"
        )
    check_unchanged(inputs)
    settings = {"method": config.read_part("methods", method, "command"), "dataset": dataset}
    work = lineage.begin("command", settings, inputs)
    prepared = PreparedDataset(dataset)
    if prepared.unclipped:
        raise images.PictureError(
            f"{dataset}: its noise is not clipped (clip: false), and the PNG files that a program is given cannot hold it; use a "
            "dataset whose noise is clipped"
        )
    folder, card = paths.commanded_folder(method, dataset), paths.commanded_card(method, dataset)
    with files.locked(folder), _given(prepared, folder) as given, files.atomic_folder(folder, card) as beside:
        _run(_words(method, spec, given, beside), method, dataset)
        check_pictures(
            beside, prepared, f"the program of {method} ended well on {dataset}, but of what it wrote nothing was kept"
        )
    work.write_card(card, outputs=[folder], device="told by the program", result={"count": len(prepared)})
    return card


@contextlib.contextmanager
def _given(prepared: PreparedDataset, place: Path) -> Iterator[Path]:
    """A temporary folder beside ``place`` with the degraded pictures as PNG files; it is deleted at the end."""
    given = temporary.new_folder(place.with_name(f"{place.name}-lq"))
    try:
        with progress(f"write the pictures of {prepared.name}", len(prepared)) as advance:
            for i, name in enumerate(prepared.ids):
                (given / f"{name}.png").write_bytes(
                    images.encode(images.to_levels(prepared.lq_float(i), prepared.bits))
                )
                advance(1)
        yield given
    finally:
        shutil.rmtree(given, ignore_errors=True)


def _words(method: str, spec: Command, given: Path, output: Path) -> list[str]:
    """The program and its arguments, as the system starts them."""
    line = spec.run.replace("{input}", shlex.quote(str(given.resolve())))
    line = line.replace("{output}", shlex.quote(str(output.resolve())))
    shell = ["bash", "-euo", "pipefail", "-c", line]
    if spec.container:
        program = next((p for p in ("apptainer", "singularity") if shutil.which(p)), None)
        if program is None:
            raise config.ConfigError(
                f"{config.path_of('methods', method)}: command.container needs apptainer, which is not on the PATH"
            )
        image = spec.container if spec.image is None else str(spec.image.resolve())
        here = str(Path.cwd())
        places = dict.fromkeys((here, str(given.resolve().parent)))
        return [program, "exec", "--nv", *(f"--bind={place}" for place in places), f"--pwd={here}", image, *shell]
    if spec.conda:
        if shutil.which("conda") is None:
            raise config.ConfigError(
                f"{config.path_of('methods', method)}: command.conda needs conda, which is not on the PATH"
            )
        where = "--prefix" if "/" in spec.conda else "--name"
        return ["conda", "run", "--no-capture-output", where, spec.conda, *shell]
    return shell


def _run(words: list[str], method: str, dataset: str) -> None:
    """Run the program; what it prints goes to standard error. Raises CommandError for another exit code than 0."""
    last: list[str] = []
    with subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # so that the processes that the program starts are ended with it
    ) as running:
        try:
            assert running.stdout is not None
            for line in running.stdout:
                say(shown(line.rstrip("\n"), lines=False), error=True)
                last = [*last[-LAST_LINES + 1 :], line.rstrip("\n")]
        except BaseException:
            with contextlib.suppress(OSError):
                os.killpg(running.pid, signal.SIGKILL)
            raise
    if running.returncode:
        ended = f"signal {-running.returncode}" if running.returncode < 0 else f"exit code {running.returncode}"
        raise CommandError(
            f"the program of {method} ended on {dataset} with {ended}, and nothing of what it wrote was kept. It is "
            f"command.run in {config.path_of('methods', method)}. The last it printed:\n"
            + "\n".join(f"  {line}" for line in last or ["(nothing)"])
        )
