"""What grows with what, and what breaks first at a hundred times the size: a section of docs/costs.md, which plan.py writes."""

import shared

GROWTH = {
    "pictures of a dataset": "prepare, encode, restore and score, in proportion: each picture is worked on by itself. Their memory does not grow: "
    "pairs stand in one memory-mapped file, and a few pictures are open at a time. FID keeps 2,048 numbers a picture",
    "methods, datasets": "jobs: one restore and one score for each pair of them. Trainings grow with runs, not with methods",
    "degradations N": "the predictor's last layer, the prompt pools, and the attention to their N · M tokens. U-Net, VAE and DRM stay as they are",
    "megapixels": "restoring, in proportion once a picture is larger than a tile; inside a tile, attention grows with the square of its area",
    "GPUs": "speed of a training, up to eight GPUs. The chain of one run's stages stays: see the table above",
    "jobs": "planning, in proportion: {planning} of one core (`benchmarks/planning.py`)",
    "cells of a table": "the report: a page with two pictures for each cell, and three pictures of each method for each column; 9.7 MB for the "
    "demo's 93 pages, whose pictures have 128 px. `trace` of one cell reads the cards of that cell alone",
}
FIRST = (
    "At a hundred times this experiment ({jobs:,} jobs), **the number of restored files breaks first**: {restored:,.0f} PNGs now, "
    "{millions:,.0f} million then.",
    "Clusters and DVC both mind many small files: DVC pulls {pictures:,} of them in {files:.0f} s, and one Arrow file with the same pictures",
    "in {arrow:.0f} s (`benchmarks/lineage.py`). Restored pictures would then be kept as prepared pairs are, in one file for each method and dataset.",
    "Planning comes second: {minutes:.0f} minutes at each start. An experiment for each table would plan only what one table needs.",
)


def section(jobs: int, restored: float) -> list[str]:
    """Markdown lines. ``jobs``: of the experiment; ``restored``: pictures that its restore jobs write, a file each."""
    planning = sorted(shared.recorded("planning-xeon")["experiments"].values(), key=lambda row: row["jobs"])
    lineage = shared.recorded("lineage-epyc")
    times = ", ".join(f"{row['jobs']:,} jobs {row['cpu_seconds']:.0f} s" for row in planning[-3:])
    numbers = {
        "jobs": 100 * jobs,
        "restored": restored,
        "millions": 100 * restored / 1e6,
        "pictures": lineage["pictures"],
        **{stored: lineage["seconds"][stored]["pull"] for stored in ("files", "arrow")},
        "minutes": 100 * jobs * planning[-1]["cpu_seconds"] / planning[-1]["jobs"] / 60,
    }
    rows = [f"| {what} | {grows.format(planning=times)} |" for what, grows in GROWTH.items()]
    first = [line.format_map(numbers) for line in FIRST]
    return ["## What grows with what", "", "| with | grows |", "|---|---|", *rows, "", *first, ""]
