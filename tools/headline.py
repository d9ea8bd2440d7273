"""Fill the README's table and picture with what the demo gave (make demo first): uv run python tools/headline.py"""

import csv
import re
import shutil
from pathlib import Path

from mperceiver import config, files, lineage

TABLES = {"demo-tasks": "Nine degradations", "demo-mid6": "Six mixes, none trained on"}
METRICS = {"psnr": ("PSNR ↑", 2), "ssim": ("SSIM ↑", 3), "lpips": ("LPIPS ↓", 3)}
FIGURE = "demo-comparison"


def averages(table: str) -> dict[tuple[str, str], dict]:
    """(method, metric) -> the row of the table's CSV with the mean over its columns."""
    with Path(f"results/tables/{table}.csv").open() as file:
        return {(row["method"], row["metric"]): row for row in csv.DictReader(file) if row["dataset"] == "average"}


def printed(row: dict | None, decimals: int) -> str:
    if row is None or not row["mean"]:
        return "–"
    text = f"{float(row['mean']):.{decimals}f}"
    return f"**{text}**" if row["rank"] == "1" else text


def made_at(card: str) -> str:
    told = lineage.read_card(card)
    return f"`{told['commit'][:12]}`" + (" with changes" if told["dirty"] else "")


def table() -> str:
    found = {name: averages(name) for name in TABLES}
    methods = dict.fromkeys(m for name in TABLES for rows in config.load("tables", name).rows for m in rows.methods)
    heads = [
        f"{title}: {METRICS[m][0]}" if m == "psnr" else METRICS[m][0] for title in TABLES.values() for m in METRICS
    ]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for method in methods:
        cells = [printed(found[name].get((method, m)), METRICS[m][1]) for name in TABLES for m in METRICS]
        lines.append(f"| {config.load('methods', method).title} | " + " | ".join(cells) + " |")
    commits = " and ".join(dict.fromkeys(made_at(f"results/tables/{name}.json") for name in TABLES))
    tell = f"Means over the tasks, on pictures never trained on; best in bold. Made by `make demo` at commit {commits}."
    return "\n".join(
        [
            *lines,
            "",
            f"{tell} Where a number comes from: `mperceiver trace demo-tasks --method demo --dataset demo-tasks`.",
        ]
    )


def picture() -> str:
    shutil.copyfile(f"results/figures/{FIGURE}.png", "docs/demo.png")
    return f"![{config.load('figures', FIGURE).title}](docs/demo.png)"


def fill(text: str, place: str, content: str) -> str:
    between = re.compile(rf"(<!-- {place} -->\n).*?(<!-- /{place} -->)", re.DOTALL)
    if not between.search(text):
        raise SystemExit(f"README.md has no <!-- {place} --> … <!-- /{place} -->")
    return between.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


if __name__ == "__main__":
    readme = Path("README.md")
    files.write_text(readme, fill(fill(readme.read_text(), "demo table", table()), "demo picture", picture()))
