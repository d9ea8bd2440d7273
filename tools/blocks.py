"""What generated pages share: their blocks, between `<!-- name -->` and `<!-- /name -->`, and what stands in them."""

import re
from pathlib import Path

from mperceiver import lineage


def cell(text: str) -> str:
    """A text as a cell of a table in Markdown."""
    return " ".join(text.split()).replace("|", "\\|")


def commit_of(card: Path) -> str:
    """The commit that a card names, in Markdown."""
    content = lineage.read_card(card)
    return f"`{content['commit'][:12]}`" + (" with changes" if content["dirty"] else "")


def fill(text: str, name: str, content: str) -> str:
    """Put ``content`` between the two comments of a block. Raises ValueError if the page has no such block."""
    block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not block.search(text):
        raise ValueError(f"the page has no block <!-- {name} --> … <!-- /{name} -->")
    return block.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)
