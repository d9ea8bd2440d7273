"""docs/performance.md: what was measured beside public code, from benchmarks/results/; `make docs` writes it."""

from benchmarks.shared import SCORING_RATES, STARTUP_LIMITS_S, recorded

INTRO = """\
# Performance

<!-- Generated from benchmarks/results/ by tools/performance_page.py: record a result there, then run `make docs`. -->

Times are CPU milliseconds, medians of repeated calls on one thread of one machine. Ours and the peer ran in one process. A ratio below 1 means
that ours is faster. The numbers hold for the commit that recorded them: measure again with the command before you rely on one.
"""
REMARKS = {  # why the peer is faster
    "snow": "another law: see `mperceiver degradations snow`",
    "rain": "another law: see `mperceiver degradations rain`",
    "gaussian-blur": "float32 values here, bytes there",
    "motion-blur": "any path here, by Fourier transform; a small kernel there",
    "defocus": "float32 values by Fourier transform here, bytes there",
}
STARTUP_REMARKS = {  # what takes the time where a limit is exceeded
    "mperceiver score": "`import torch` is most of it",
    "load": "`import torch`; torch._dynamo, which diffusers and torchvision import, and the lists of installed packages and of models "
    "that diffusers makes",
    "mperceiver restore": "its start, as above, is half of it",
    "mperceiver restore, 1 MP": "its start, as above, takes 3.1 s, the VAE's decoder with the DRM 3.4 and sampling 2.8",
}


def table(head: str, rows: list[list[str]]) -> list[str]:
    """A Markdown table; its first column is text, the others are numbers, but for the last."""
    columns = [cell.strip() for cell in head.split("|")]
    rule = ["---", *["---:"] * (len(columns) - 2), "---"]
    return ["", *(f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows)), ""]


def degradations() -> list[str]:
    """Each family beside albumentations' transform of the same name."""
    sizes = recorded("degradations-xeon-1-thread")["milliseconds"]
    rows = []
    for size, times in sizes.items():
        for name, peer in times["albumentations"].items():
            ours = times["families"][name]
            remark = REMARKS.get(name, "") if ours > peer else ""
            rows.append([f"{name}, {size}", f"{ours:.1f}", f"{peer:.1f}", f"{ours / peer:.2f}", remark])
    return [
        "## Degradations",
        "",
        "`benchmarks/degradations.py`; the peer is albumentations 1.4.24.",
        *table("measure | ours, ms | peer, ms | ratio | remark", rows),
    ]


def prompt_mixing() -> list[str]:
    """The mixing of visual prompts beside the loop over prompts of the authors' release."""
    cases = recorded("prompt_mixing-xeon-1-thread")["cases"]
    rows = [
        [name, f"{case['fused_ms']:.1f}", f"{case['loop_ms']:.1f}", f"{case['fused_ms'] / case['loop_ms']:.2f}", ""]
        for name, case in cases.items()
    ]
    return [
        "## Visual prompts",
        "",
        "`benchmarks/prompt_mixing.py`; the peer is a loop over the prompts, as in the authors' release.",
        *table("measure | ours, ms | peer, ms | ratio | remark", rows),
    ]


def static_caching() -> list[str]:
    """A sampler's step with what does not depend on t computed once, beside computing it at each step."""
    cases = recorded("static_caching-xeon-1-thread")["cases"]
    rows = [
        [
            name,
            f"{case['static']['step_ms']:.1f}",
            f"{case['anew']['step_ms']:.1f}",
            f"{case['static']['step_ms'] / case['anew']['step_ms']:.2f}",
            "",
        ]
        for name, case in cases.items()
    ]
    return [
        "## A step of the sampler",
        "",
        "`benchmarks/static_caching.py`; the peer is the same step without caches.",
        *table("measure | ours, ms | peer, ms | ratio | remark", rows),
    ]


def store() -> list[str]:
    """A store of many small pictures as files, beside the one Arrow file that this project makes of a dataset."""
    results = recorded("lineage-epyc")
    seconds, ratios, count = results["seconds"], results["ratios"], results["pictures"]
    words = {"add": "`dvc add`", "push": "`dvc push`", "pull": "`dvc pull`", "verify": "hashing of `trace --verify`"}
    rows = [
        [word, f"{seconds['arrow'][step]:.1f}", f"{seconds['files'][step]:.1f}", f"{1 / ratios[step]:.3f}", ""]
        for step, word in words.items()
    ]
    start = seconds["arrow"]["start"]
    rows[0][-1] = f"DVC's start, {start:.1f} s; without it the ratio is {1 / ratios['add_started']:.3f}"
    sums = (sum(seconds[form][step] for step in words) for form in ("arrow", "files"))
    rows.append(["together", *(f"{total:.1f}" for total in sums), f"{1 / ratios['together']:.3f}", ""])
    return [
        "## A store of many pictures",
        "",
        f"`benchmarks/lineage.py --pictures {count}`: {count:,} pictures of {results['bytes']:,} bytes as one Arrow file, and as files",
        "of their own. Here the times are seconds of wall-clock time, and DVC's own start is in each of its three. A ratio of 0.050 is to be reached.",
        *table("measure | one file, s | a file each, s | ratio | remark", rows),
        f"Of the finished demo, `mperceiver trace` of a cell took {results['cpu_seconds']['trace']:.1f} s of processor time and `mperceiver crate` "
        f"{results['cpu_seconds']['crate']:.1f} s.",
        "",
    ]


def prepare() -> list[str]:
    """`prepare` beside a plain loop."""
    results = recorded("prepare-epyc")
    cpu, count = results["cpu_seconds"], results["pictures"]
    kinds = {
        "clean": "kept as they are: decoded, checked, hashed",
        "cut": "cut to a multiple of 500 px: decoded, hashed, written anew",
    }
    rows = [
        [
            words,
            f"{1e3 * cpu[kind] / count:.1f}",
            f"{1e3 * cpu['loop'] / count:.1f}",
            f"{cpu[kind] / cpu['loop']:.2f}",
            "",
        ]
        for kind, words in kinds.items()
    ]
    clock = ", ".join(f"{kind} {times['1'] / times['2']:.1f}" for kind, times in results["clock_seconds"].items())
    return [
        "## Preparing pictures",
        "",
        f"`benchmarks/prepare.py`; the peer is a loop that decodes each of {count} pictures of 512x512 px with Pillow and writes it as PNG.",
        *table("measure | ours, ms | peer, ms | ratio | remark", rows),
        f"Pictures per second of the clock with two workers, as a multiple of one worker's: {clock} (the machine's load at the",
        f"start: {results['device']['load']:.0f}). 1.7 is to be reached; where all is done in seconds, starting a process costs more than it saves.",
        "",
    ]


def scoring() -> list[str]:
    """Metrics beside scikit-image, lpips and pyiqa."""
    results = recorded("scoring-epyc-1-thread")
    rows = []
    for name, times in results["cpu_seconds"].items():
        count = 1 if "distance" in name else results["pictures"]
        ours, peer = (1e3 * times[side] / count for side in ("ours", "peer"))
        label = {
            "first method": "PSNR, SSIM and LPIPS of the first method",
            "next method": "the same of the next method",
        }
        rate = f"{1e3 / ours:.1f}, {SCORING_RATES[name]} wanted" if name in SCORING_RATES else ""
        rows.append([label.get(name, name), f"{ours:.1f}", f"{peer:.1f}", f"{ours / peer:.2f}", rate])
    return [
        "## Scoring",
        "",
        "`benchmarks/scoring.py`, for each picture of 500x500 px; the peers are scikit-image with the package lpips, and pyiqa.",
        "NIQE and BRISQUE are pyiqa's own functions on both sides; ours also checks and rounds the pictures.",
        *table("measure | ours, ms | peer, ms | ratio | pictures a CPU second", rows),
    ]


def startup() -> list[str]:
    """What commands take before their work begins."""
    seconds = recorded("startup-epyc")["seconds"]
    rows = []
    for name, value in seconds.items():
        limit, remark = STARTUP_LIMITS_S.get(name, 0.0), STARTUP_REMARKS.get(name, "")
        cells = f"{value:.2f}", f"{limit:.1f}" if limit else "", f"{value / seconds['import torch']:.2f}"
        labels = {
            "load": "loading the shipped weights",
            "mperceiver restore": "`mperceiver restore small`, 768x511 px",
            "mperceiver restore, 1 MP": "`mperceiver restore small`, 1152x868 px",
        }
        label = labels.get(name, f"`{name}`")
        rows.append([label, *cells, remark if value > limit else ""])
    return [
        "## Start-up",
        "",
        "`benchmarks/startup.py`: CPU seconds of whole commands whose work is small. Compare them",
        "with `import torch` of the same run.",
        *table("command | CPU seconds | to stay below | as a multiple of `import torch` | remark", rows),
    ]


def planning() -> list[str]:
    """How planning grows with the number of jobs."""
    experiments = recorded("planning-xeon")["experiments"]
    rows = [
        [
            f"made up, of {name}" if name.endswith("methods") else f"`config/{name}.yaml`",
            f"{row['jobs']}",
            f"{row['cpu_seconds']:.2f}",
            f"{1e3 * row['cpu_seconds'] / row['jobs']:.1f}",
        ]
        for name, row in experiments.items()
    ]
    small, *_, large = sorted(experiments.values(), key=lambda row: row["jobs"])
    slope = (large["cpu_seconds"] - small["cpu_seconds"]) / (large["jobs"] - small["jobs"])
    return [
        "## Planning",
        "",
        "`benchmarks/planning.py`: CPU seconds of `snakemake -n --forceall`.",
        *table("experiment | jobs | CPU seconds | ms a job | ", [[*row, ""] for row in rows]),
        f"A start takes about {small['cpu_seconds'] - slope * small['jobs']:.1f} s, and each further job {1e3 * slope:.1f} ms: planning grows in",
        "proportion to the number of jobs. An experiment for each table plans only what one table needs.",
        "",
    ]


def page() -> str:
    """The whole text of docs/performance.md."""
    parts = [
        INTRO,
        *startup(),
        *degradations(),
        *prepare(),
        *scoring(),
        *prompt_mixing(),
        *static_caching(),
        *store(),
        *planning(),
    ]
    return (
        "\n".join(parts).rstrip()
        + """

## On a GPU

Nothing has been measured on a GPU yet. `benchmarks/gpu.sh` does it; see [CONTRIBUTING.md](../CONTRIBUTING.md#the-six-kinds-of-test).
"""
    )
