"""What generated pages share: their blocks, between `<!-- name -->` and `<!-- /name -->`, and what stands in them."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mperceiver import lineage


def prose(text: str) -> str:
    """A docstring or a help text as Markdown: outside of `code` the < of <name> begins no tag, which a browser would not show."""
    return re.sub(r"`+[^`]*`+|<", lambda part: "&lt;" if part[0] == "<" else part[0], text)


def cell(text: str) -> str:
    """A text as a cell of a table in Markdown."""
    return prose(" ".join(text.split()).replace("|", "\\|"))


def table_lines(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: bool = False) -> list[str]:
    """The lines of a table in Markdown, of cells in Markdown; with ``numbers`` all columns but the first are aligned to the right."""
    rule = "|---" + ("|---:" if numbers else "|---") * (len(heads) - 1) + "|"
    head, *lines = ("|" + "".join(f" {text} |" if text else " |" for text in cells) for cells in (heads, *rows))
    return [head, rule, *lines]


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
