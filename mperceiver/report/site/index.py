"""What the index shows of each table and figure."""

from mperceiver import config, images, lineage, paths
from mperceiver.config.figures import Figure
from mperceiver.report import figures, tables
from mperceiver.report.grid import Column, FilledTable, Row
from mperceiver.report.pending import pending
from mperceiver.report.site.cell_pages import page_of
from mperceiver.report.site.folder import SiteFolder

WIDE = 18  # a table of more columns opens on its first metric


def table_entry(site: SiteFolder, table: FilledTable, comparisons: list[tuple[str, str]]) -> dict:
    """A table with the links of its cells, its files, its metric switch, and what has not been run.

    ``comparisons``: (label of its columns, path) of each page that compares two of its methods.
    """
    metrics = {column.key: column.measure.label for column in table.columns}
    # Printed from this very table: results/tables/ may hold one from before other scores.
    downloads = [
        (suffix, site.add_text(paths.table_file(table.name, suffix), text))
        for suffix, text in tables.texts(table).items()
    ]

    def href(row: Row, column: Column) -> str | None:
        has_page = column.has_pictures and table.cells[row, column].n
        return page_of(table, row.method, column) if has_page else None

    return {
        "table": table,
        "pending": pending(table),
        "href": href,
        "metrics": metrics | {"all": "All"},
        "first": next(iter(metrics)) if len(table.columns) > WIDE else "all",
        "comparisons": comparisons,
        "downloads": downloads,
        "pictures": sorted({cell.n for _, column, cell in table.filled() if cell.n and column.has_pictures}),
    }


def figure_entry(site: SiteFolder, name: str) -> dict:
    """A figure with its file (a plot's SVG, or the picture), its size in the page in px, and a text for those who cannot see it."""
    figure = config.load("figures", name)
    kind = figures.kind_of(figure)
    file = _shown(site, name, kind.OF_PICTURES) if _is_drawn(name, figure) else None
    return {
        "name": name,
        "spec": figure,
        "file": file,
        "size": _size(name, kind.OF_PICTURES) if file else None,
        "alt": f"{figure.title}. {kind.describe(figure)}",
    }


def _is_drawn(name: str, figure: Figure) -> bool:
    """Whether the files of a figure are there, drawn while it had its present kind. Raises LineageError for a broken card."""
    files = [paths.figure_file(name, suffix) for suffix in (*figures.SUFFIXES, "json")]
    return all(file.is_file() for file in files) and lineage.read_card(files[-1])["spec"]["kind"] == figure.kind


def _shown(site: SiteFolder, name: str, of_pictures: bool) -> str:
    """Put the file that the page shows of a figure into the site; return its path."""
    drawn = paths.figure_file(name, "png" if of_pictures else "svg")
    if not of_pictures:
        return site.copy(drawn)
    return site.add_picture(f"files/{drawn.with_suffix('.webp')}", images.decode(drawn))


def _size(name: str, of_pictures: bool) -> list[int]:
    """Width and height in CSS px, so that the page does not move when the figure loads.

    A pixel of a figure that is made of pictures is a CSS px. Plots have figures.DPI pixels an inch, an inch being 96 CSS px.
    """
    path = paths.figure_file(name, "png")
    with path.open("rb") as file:
        height, width = images.size(file, str(path))
    scale = 1 if of_pictures else 96 / figures.DPI
    return [round(width * scale), round(height * scale)]
