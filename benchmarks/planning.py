"""CPU seconds that Snakemake takes to plan experiments of different sizes: how planning grows with the number of jobs.

    uv run python benchmarks/planning.py [--out benchmarks/results/NAME.json]

Each is planned once, all of its jobs (`snakemake -n --forceall`). The largest is the paper's.
"""

import math
import os

import shared
from plan import planned

EXPERIMENTS = ("demo", "cdd-11", "all-weather", "paper")


def main() -> None:
    options = shared.arguments(__doc__).parse_args()
    out = options.out and options.out.resolve()
    os.chdir(shared.ROOT)
    rows = {}
    for name in EXPERIMENTS:
        jobs, seconds = planned(f"config/{name}.yaml")
        rows[name] = {"jobs": len(jobs), "cpu_seconds": seconds}
        print(
            f"{name:12} {len(jobs):5} jobs {seconds:6.2f} s of CPU, {1e3 * seconds / len(jobs):5.1f} ms a job",
            flush=True,
        )
    small, large = (rows[name] for name in (EXPERIMENTS[0], EXPERIMENTS[-1]))
    exponent = math.log(large["cpu_seconds"] / small["cpu_seconds"]) / math.log(large["jobs"] / small["jobs"])
    print(f"seconds grow with the number of jobs to the power of {exponent:.2f}")
    shared.write(out, device=shared.machine("snakemake"), experiments=rows, exponent=exponent)


if __name__ == "__main__":
    main()
