"""Files of config/ in the working directory of a test."""

from mperceiver import config

STAGE = "{steps: 1, phases: [{batch: 1, crop_px: 16}]}"
SOURCES = "title: t\nlicence: l\nsources: [{source: generated, generator: dead-leaves, count: 1, size_px: 16}]\n"


def describe(kind: str, name: str, text: str) -> None:
    """Write config/<kind>/<name>.yaml."""
    path = config.path_of(kind, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
