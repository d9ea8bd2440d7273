"""Reading what the report printed."""

import html.parser
from pathlib import Path

from mperceiver import config
from mperceiver.report import site
from mperceiver.report.grid import Cell, FilledTable


def yaml_of(kind: str, name: str) -> dict:
    """The keys that a file in config/ gives."""
    return config.load(kind, name).model_dump(mode="json", by_alias=True, exclude_defaults=True)


def cell(table: FilledTable, method: str, task: str | None, metric: str) -> Cell:
    """The one cell of a method, task and metric; task None: that of an average."""
    (one,) = (
        cell for row, column, cell in table.filled() if (row.method, column.task, column.key) == (method, task, metric)
    )
    return one


class Links(html.parser.HTMLParser):
    """The addresses, anchors, pictures and table headings of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.links, self.ids, self.images, self.heads = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.links += [values[key] for key in ("href", "src") if values.get(key)]
        self.ids += [values["id"]] if "id" in values else []
        self.images += [values] if tag == "img" else []
        self.heads += [values] if tag == "th" else []


def written() -> dict[Path, Links]:
    """Write the site of config/toy.yaml; its pages."""
    site.write("config/toy.yaml")
    return {page: Links(page.read_text(encoding="utf-8")) for page in Path("results/report").rglob("*.html")}
