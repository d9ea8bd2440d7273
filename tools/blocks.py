"""Blocks of a page that are generated: what stands between `<!-- name -->` and `<!-- /name -->`."""

import re


def fill(text: str, name: str, content: str) -> str:
    """Put ``content`` between the two comments of a block. Raises ValueError if the page has no such block."""
    block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not block.search(text):
        raise ValueError(f"the page has no block <!-- {name} --> … <!-- /{name} -->")
    return block.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)
