"""docs/datasets.md: all datasets, from config/datasets/; `make docs` writes it."""

from mperceiver import config

HOW = {
    "unattended": "by itself",
    "drive": "by itself, from Google Drive",
    "manual": "**by you**",
    None: "from a mirror folder",
}
INTRO = """\
# The datasets

<!-- Generated from config/datasets/ by tools/datasets_page.py: change those, then run `make docs`. -->

Pictures are fetched from where their authors, or others, put them; none is part of this project. Terms stand in each file under
`licence`: read them before you use a set. What is known to be wrong with one stands there under `defects`.

`mperceiver download NAME` brings what is in the first table, `mperceiver prepare NAME` makes what is in the second out of it, and
`snakemake` does both for what a table needs. `mperceiver doctor` tells without downloading which sources are still there. A set marked
**by you** stops with the page where it is, the terms, and the folder to put it in: `data/manual/NAME/`. A lab's copy in one of the
folders of `MPERCEIVER_MIRROR` is taken before anything is fetched, where the file says how. Google Drive refuses popular files for a
day at a time: run the command again, it goes on where it stopped. `.rar` archives need `unrar` or `7z` installed.

`mperceiver show NAME` draws a contact sheet of a prepared set, `mperceiver export NAME FOLDER` writes it as plain `lq/` and `gt/`.
"""


def page() -> str:
    """The whole of docs/datasets.md."""
    known = {name: config.load("datasets", name) for name in config.names("datasets")}
    raw = {name: d for name, d in known.items() if d.access}
    pairs = {name: d for name, d in known.items() if d.pairs}
    lines = [INTRO, "## What is downloaded", "", "| name | what it is | how it comes |", "|---|---|---|"]
    for name, dataset in raw.items():
        page = f" ([page]({dataset.page}))" if dataset.page else ""
        lines.append(f"| {link(name)} | {cell(dataset.title)}{page} | {HOW[dataset.access]} |")
    lines += ["", "## What is made of it", ""]
    lines += ["| name | what it is | pairs | task | out of | protocol |", "|---|---|---|---|---|---|"]
    for name, dataset in pairs.items():
        count = f"{dataset.expected:,}" if dataset.expected else "not published"
        tasks, origins = ", ".join(dataset.tasks), ", ".join(dataset.from_)
        lines.append(f"| {link(name)} | {cell(dataset.title)} | {count} | {tasks} | {origins} | {dataset.protocol} |")
    return "\n".join(lines) + "\n"


def link(name: str) -> str:
    return f"[{name}](../config/datasets/{name}.yaml)"


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
