"""docs/datasets.md: all datasets, from config/datasets/; `make docs` writes it."""

from mperceiver import config
from tools.blocks import cell, table_lines

# How a downloaded dataset arrives, by its key `access`.
ACCESS = {
    "unattended": "by itself",
    "drive": "by itself, from Google Drive",
    "manual": "**by you**",
    None: "from a mirror folder",
}
INTRO = """\
# The datasets

<!-- Generated from config/datasets/ by tools/datasets_page.py: change those, then run `make docs`. -->

Pictures are downloaded from the servers of their authors or of others. No picture is part of this project. Each dataset's file has the terms under
`licence`: read them before you use a dataset. Known errors of a dataset are under `defects`.

`mperceiver download NAME` downloads a dataset of the first table. `mperceiver prepare NAME` makes the pairs of a dataset of the second table.
`snakemake` does both for all that a table needs. `mperceiver doctor` checks, without downloading, which sources still offer the files.

- A dataset marked **by you** is behind a form or a login. The download stops with the address of the page, the terms, and the folder where the
  files belong: `data/manual/NAME/`.
- A copy in one of the folders of `MPERCEIVER_MIRROR` is taken before anything is downloaded.
- Google Drive refuses a popular file for about a day at a time. Run the command again; it continues where it stopped.
- `.rar` and `.7z` archives need `unar`, `unrar` or 7-Zip on the machine.

`mperceiver show NAME` draws a contact sheet of a prepared dataset; `mperceiver export NAME FOLDER` writes it as plain folders `lq/` and `gt/`.
"""


def page() -> str:
    """The whole of docs/datasets.md."""
    datasets = {name: config.load("datasets", name) for name in config.names("datasets")}
    downloaded = {name: dataset for name, dataset in datasets.items() if dataset.access}
    pairs = {name: dataset for name, dataset in datasets.items() if dataset.pairs}
    lines, rows = [INTRO, "## What is downloaded", ""], []
    for name, dataset in downloaded.items():
        web_page = f" ([page]({dataset.page}))" if dataset.page else ""
        rows.append([link(name), f"{cell(dataset.title)}{web_page}", ACCESS[dataset.access]])
    lines += [*table_lines(["name", "what it is", "how it arrives"], rows), "", "## What is made of it", ""]
    rows = []
    for name, dataset in pairs.items():
        count = f"{dataset.expected:,}" if dataset.expected else "not published"
        tasks, origins = ", ".join(dataset.tasks), ", ".join(dataset.from_)
        rows.append([link(name), cell(dataset.title), count, tasks, origins, dataset.protocol])
    lines += table_lines(["name", "what it is", "pairs", "task", "made of", "protocol"], rows)
    return "\n".join(lines) + "\n"


def link(name: str) -> str:
    return f"[{name}](../config/datasets/{name}.yaml)"
