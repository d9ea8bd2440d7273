"""What lineage costs: a store of many small pictures beside one Arrow file, the trace of a cell, and a crate.

python benchmarks/lineage.py [--pictures 2000] measures `dvc add`, `push`, `pull` and the hashing of `trace --verify` of one store of
small pictures, as many files and as this project keeps them, one Arrow file a dataset, in a temporary folder on this disk. The ratio is
of pictures a second. DVC's own start, measured as `dvc add` of a file of one byte, is in the times; the ratio without it is printed
too. With --folder, a working directory whose experiment is finished, it also measures `trace` of the experiment's first
cell and `crate` there: CPU seconds of the whole commands, medians.
"""

import contextlib
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import shared

from mperceiver import config, files
from mperceiver.config.experiments import Experiment
from mperceiver.report import tables, verify

STEPS = ("add", "push", "pull", "verify")


def timed(name: str, work: Callable[[], object]) -> float:
    """Seconds of a call, which are printed: a store of many files takes long."""
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    print(f"{name:>18}: {seconds:8.2f} s", flush=True)
    return seconds


def dvc(folder: Path, *words: str) -> Callable[[], object]:
    """A call of DVC in a folder."""
    environment = os.environ | {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder / ".site")}
    return lambda: subprocess.run(["dvc", *words, "-q"], cwd=folder, env=environment, check=True)


def measured(folder: Path, store: str) -> dict[str, float]:
    """Seconds of each step for the store ``store`` in ``folder``, a fresh repository without git."""
    dvc(folder, "init", "--no-scm")()
    dvc(folder, "remote", "add", "-d", "lab", str(folder / "remote"))()
    (folder / "byte").write_bytes(b"0")
    dvc(folder, "add", "byte")()  # the first command of a repository makes its folders
    (folder / "byte").write_bytes(b"1")
    seconds = {
        "start": timed("start of DVC", dvc(folder, "add", "byte")),
        "add": timed(f"add {store}", dvc(folder, "add", store)),
        "push": timed(f"push {store}", dvc(folder, "push")),
    }
    path = folder / store
    shutil.rmtree(folder / ".dvc/cache")
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    seconds["pull"] = timed(f"pull {store}", dvc(folder, "pull"))
    names = [str(path / member) for member in files.members(path)] if path.is_dir() else [str(path)]
    seconds["verify"] = timed(f"verify {store}", lambda: verify.hashed(names, False))
    return seconds


def commands(folder: Path, experiment: str) -> dict[str, list[str]]:
    """The commands that trace the first cell of an experiment that has pictures, and write its crate."""
    with contextlib.chdir(folder):
        for name in config.parse(Path(experiment), Experiment).tables:
            for row, column, cell in tables.build(name).filled():
                if cell.n and len(row.members) == 1 and row.ranked:
                    of = ["--method", row.method, "--dataset", column.datasets[0]]
                    task = ["--task", column.task] if column.task else []
                    return {
                        "trace": ["mperceiver", "trace", name, *of, *task],
                        "crate": ["mperceiver", "crate", experiment],
                    }
    raise SystemExit(
        f"{folder}: no cell of {experiment} has been run; run: snakemake --cores all --configfile {experiment}"
    )


def main() -> None:
    parser = shared.arguments(__doc__, repeats=3)
    parser.add_argument(
        "--folder", type=Path, help="working directory of a finished experiment, to trace and to export"
    )
    parser.add_argument("--experiment", default="config/demo.yaml", help="its file there (default: %(default)s)")
    parser.add_argument(
        "--pictures", type=int, default=2_000, help="number of pictures (default: %(default)s, about a minute)"
    )
    parser.add_argument("--bytes", type=int, default=2_000, help="bytes of a picture (default: %(default)s)")
    options = parser.parse_args()
    told: dict[str, float] = {}
    if options.folder:
        for name, words in commands(options.folder, options.experiment).items():
            told[name] = statistics.median(shared.cpu_seconds(options.folder, *words) for _ in range(options.repeats))
            print(f"{name:>7}: {told[name]:8.2f} s of CPU ({' '.join(words)})")
    pictures = np.random.default_rng(0).integers(0, 256, (options.pictures, options.bytes), dtype=np.uint8)
    seconds = {}
    with tempfile.TemporaryDirectory() as temporary:
        for form in ("files", "arrow"):
            folder = Path(temporary) / form
            (folder / "store").mkdir(parents=True)
            if form == "files":
                for i, picture in enumerate(pictures):
                    (folder / "store" / f"{i}.png").write_bytes(picture.tobytes())
            else:
                table = pa.table({"lq": pa.array([picture.tobytes() for picture in pictures], pa.binary())})
                with (
                    pa.OSFile(str(folder / "store.arrow"), "wb") as file,
                    pa.ipc.new_file(file, table.schema) as writer,
                ):
                    writer.write_table(table)
            seconds[form] = measured(folder, "store" if form == "files" else "store.arrow")
    ratios = {step: seconds["files"][step] / seconds["arrow"][step] for step in STEPS}
    for step, ratio in ratios.items():
        print(
            f"{step:>7}: {seconds['files'][step]:8.2f} s as files, {seconds['arrow'][step]:6.2f} s as one file, {ratio:6.1f} times"
        )
    files_s, arrow_s = (sum(seconds[form][step] for step in STEPS) for form in ("files", "arrow"))
    ratios["together"] = files_s / arrow_s
    started = {form: seconds[form]["add"] - seconds[form]["start"] for form in seconds}
    ratios["add_started"] = started["files"] / max(started["arrow"], 0.01)
    print(f"together {ratios['together']:.1f} times; `dvc add` without DVC's start {ratios['add_started']:.1f} times")
    results = {
        "pictures": options.pictures,
        "bytes": options.bytes,
        "seconds": seconds,
        "ratios": ratios,
        "cpu_seconds": told,
    }
    shared.write(options.out, machine=shared.machine("dvc"), **results)


if __name__ == "__main__":
    main()
