"""The jinja2 environment of all pages."""

from pathlib import Path

from mperceiver import paths
from mperceiver.report.columns.score import MEASURES
from mperceiver.report.grid import printed, signed

TEMPLATES = Path(__file__).parent / "templates"


def environment():
    """The environment: it escapes by default, and an undefined name is an error."""
    import jinja2

    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals["MEASURES"] = MEASURES
    env.globals["paths"] = paths
    env.filters["printed"] = printed
    env.filters["signed"] = signed
    env.filters["sentence"] = lambda words: words if words.endswith((".", "!", "?")) else f"{words}."
    return env
