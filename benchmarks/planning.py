"""CPU seconds that Snakemake takes to plan experiments of different sizes: how planning grows with the number of jobs.

    uv run python benchmarks/planning.py [--methods 150 1500 15000] [--out benchmarks/results/NAME.json]

Each is planned once, all of its jobs (`snakemake -n --forceall`): experiments of this project, of which the paper's is the largest, and a made-up
one for each number in ``--methods``: so many methods, which differ in their seed, on two datasets, four jobs each. 15,000 methods take some
minutes.
"""

import math
import os
import shutil
import tempfile
from pathlib import Path

import shared
from plan import planned

EXPERIMENTS = ("demo", "cdd-11", "all-weather", "paper")
COLUMNS = "".join(f"  - {{dataset: {name}, label: {name}, metrics: [psnr]}}\n" for name in ("demo-tasks", "demo-mid6"))


def made_up(folder: Path, methods: int) -> Path:
    """A checkout in ``folder`` whose experiment `grown` has so many methods; return the experiment's file."""
    for name in ("Snakefile", "workflow", "profiles", "assets"):
        (folder / name).symlink_to(shared.ROOT / name)
    shutil.copytree(shared.ROOT / "config", folder / "config")
    names = [f"grown-{number}" for number in range(methods)]
    for number, name in enumerate(names):
        text = f"title: Seed {number}\nlike: demo\nsampler: {{steps: 1, spacing: trailing, seed: {number}}}\n"
        (folder / f"config/methods/{name}.yaml").write_text(text, encoding="utf-8")
    rows = f"rows:\n  - title: Seeds\n    methods: [{', '.join(names)}]\n"
    table = f"title: Grown\ncaption: Methods that differ in their seed.\n{rows}columns:\n{COLUMNS}"
    (folder / "config/tables/grown.yaml").write_text(table, encoding="utf-8")
    experiment = folder / "config/grown.yaml"
    experiment.write_text("title: Grown\ntables: [grown]\nfigures: []\n", encoding="utf-8")
    return experiment


def main() -> None:
    parser = shared.arguments(__doc__)
    parser.add_argument("--methods", type=int, nargs="*", default=[150, 1500], help="(default: 150 1500)")
    options = parser.parse_args()
    out = options.out and options.out.resolve()
    os.chdir(shared.ROOT)
    rows = {}

    def plan(name: str, experiment: Path, folder: Path) -> None:
        jobs, seconds = planned(str(experiment.relative_to(folder)), folder)
        rows[name] = {"jobs": len(jobs), "cpu_seconds": seconds}
        line = f"{name:16} {len(jobs):5} jobs {seconds:7.2f} s of CPU, {1e3 * seconds / len(jobs):5.1f} ms a job"
        print(line, flush=True)

    for name in EXPERIMENTS:
        plan(name, shared.ROOT / f"config/{name}.yaml", shared.ROOT)
    for methods in options.methods:
        with tempfile.TemporaryDirectory() as folder:
            plan(f"{methods} methods", made_up(Path(folder), methods), Path(folder))
    small, *_, large = sorted(rows.values(), key=lambda row: row["jobs"])
    exponent = math.log(large["cpu_seconds"] / small["cpu_seconds"]) / math.log(large["jobs"] / small["jobs"])
    print(f"seconds grow with the number of jobs to the power of {exponent:.2f}")
    shared.write(out, device=shared.machine("snakemake"), experiments=rows, exponent=exponent)


if __name__ == "__main__":
    main()
