"""A table as an HTML page of its own."""

from mperceiver.report.grid import FilledTable
from mperceiver.report.rendering import environment


def to_html(table: FilledTable) -> str:
    """The page's text, with nothing to load from elsewhere."""
    return environment().get_template("table.html.j2").render(table=table)
