"""Write the sources of the documentation site, and build it: `make docs-site`.

The pages stand in the repository where they are looked for: README.md at the root, how-tos in docs/, the configuration's reference in
config/. The site shows them as they are, but a link to a file that is no page becomes the name of that file. The references of the
command line and of Python are generated here.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import typer

from mperceiver import cli
from tools.blocks import cell, prose, table_lines

PROJECT = Path(__file__).resolve().parents[1]
PAGES = PROJECT / "site-pages"
LINK = re.compile(r"(\]\(|src=\")([^)\"\s#]*)(#[^)\"\s]*)?([)\"])")
PICTURES = (".png", ".svg", ".jpg")
# Modules whose public functions and classes a program may use; the rest may change without notice.
API = (
    "mperceiver.library",
    "mperceiver.images",
    "mperceiver.metrics",
    "mperceiver.degradations.mix",
    "mperceiver.data.read.loader",
    "mperceiver.restoring.photographs",
    "mperceiver.restoring.restorers",
    "mperceiver.models.restorer",
)
CSS = """.md-typeset table:not([class]) { font-size: .7rem; }
.md-typeset h1 { font-weight: 650; }
.md-typeset :is(p, li) code { overflow-wrap: anywhere; }
/* Names and numbers in a table are not broken; a table that is too wide is scrolled. */
.md-typeset td code { word-break: normal; }
.md-typeset td[style*="right"] { white-space: nowrap; }
.md-typeset table:not([class]) :is(th, td) { min-width: 4rem; padding: .5em .8em; }
@media (max-width: 44.9rem) {
  .md-typeset table:not([class]) :is(th, td) { min-width: 2.5rem; padding: .4em .5em; }
  .md-typeset table:not([class]) :is(th, td):first-child { min-width: 6rem; }
  .md-typeset .headerlink { display: none; } /* it would take a line of its own */
}
.md-typeset .doc-heading code { font-size: .85em; }
/* Wide enough for a command and its comment. */
.md-grid { max-width: 74rem; }
.md-typeset pre > code { font-size: .65rem; }
"""


def main() -> None:
    """Write the pages, and build the site strictly: a link that leads nowhere ends it."""
    write_pages()
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"], cwd=PROJECT, env=environment, check=True
    )
    # From disk (file://) the theme's search asks a server for a script; over http on this machine nothing is asked elsewhere.
    print(
        "The documentation is in site/. To read it: python3 -m http.server -d site --bind 127.0.0.1, at http://127.0.0.1:8000"
    )


def write_pages() -> None:
    """Write site-pages/ anew."""
    shutil.rmtree(PAGES, ignore_errors=True)
    sources = [*PROJECT.glob("*.md"), PROJECT / "config/README.md", *PROJECT.glob("docs/*.md")]
    names = {source: _name(source) for source in sources}
    for source, name in names.items():
        page = PAGES / name
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(_with_links(source, names), encoding="utf-8")
    for picture in (p for p in PROJECT.glob("docs/*") if p.suffix in PICTURES):
        shutil.copy(picture, PAGES / "docs" / picture.name)
    (PAGES / "extra.css").write_text(CSS, encoding="utf-8")
    (PAGES / "reference").mkdir()
    (PAGES / "reference/cli.md").write_text(command_line(), encoding="utf-8")
    python = "# Python\n\n`mperceiver.load` is the short way in; the other modules are what the command line itself is made of.\n\n"
    (PAGES / "reference/python.md").write_text(
        python + "".join(f"::: {module}\n\n" for module in API), encoding="utf-8"
    )


def _name(source: Path) -> str:
    name = source.relative_to(PROJECT).as_posix()
    return "index.md" if name == "README.md" else name


def _with_links(source: Path, names: dict[Path, str]) -> str:
    """A page's text with its links as they are on the site; a file that is no page is named instead of linked."""

    def link(match: re.Match[str]) -> str:
        before, path, anchor, after = match.groups()
        if not path or "://" in path or path.startswith("mailto:"):
            return match[0]
        there = (source.parent / path).resolve()
        if there in names:
            up = "../" * names[source].count("/")
            return f"{before}{up}{names[there]}{anchor or ''}{after}"
        return match[0]

    text = LINK.sub(link, source.read_text(encoding="utf-8"))
    # [config/](config/): a file of the repository, which the site does not have
    return re.sub(r"\[([^\]]+)\]\(([^)\s]+)\)", lambda match: _plain(match, source), text)


def _plain(match: re.Match[str], source: Path) -> str:
    """A link to a file that the site does not have, as the file's name; the link's words stand before it where they say more."""
    words, target = match.groups()
    path = target.partition("#")[0]
    if not path or "://" in path or path.endswith((".md", *PICTURES)):
        return match[0]
    there = (source.parent / path).resolve()
    named = words.strip("`")
    if not there.exists() or named == there.stem:
        return f"`{named}`"
    file = there.relative_to(PROJECT).as_posix() + ("/" if there.is_dir() else "")
    return f"`{file}`" if file.endswith(named) else f"{words} (`{file}`)"


def command_line() -> str:
    """The reference of the command line, from the parsers themselves."""
    group: Any = typer.main.get_command(cli.app)
    panels: dict[str, list[tuple[str, Any]]] = {}
    for name, command in group.commands.items():
        panels.setdefault(command.rich_help_panel, []).append((name, command))
    lines = ["# Command line", "", "`uv run mperceiver VERB --help` prints the same.", ""]
    for panel, commands in panels.items():
        lines += [f"## {panel}", ""]
        for name, command in commands:
            lines += [
                f"### mperceiver {name}",
                "",
                prose((command.help or "").strip()),
                "",
                "```text",
                _usage(name, command),
                "```",
                "",
            ]
            rows = [row for parameter in command.params if (row := _row(parameter))]
            if rows:
                lines += [*table_lines(["argument or option", "meaning", "default"], rows), ""]
    return "\n".join(lines)


def _usage(name: str, command: Any) -> str:
    arguments = [p.name.upper() for p in command.params if p.param_type_name == "argument"]
    required = [p.required for p in command.params if p.param_type_name == "argument"]
    shown = [word if needed else f"[{word}]" for word, needed in zip(arguments, required, strict=True)]
    return " ".join(["mperceiver", name, "[OPTIONS]", *shown])


def _row(parameter: Any) -> list[str]:
    if "--help" in parameter.opts:
        return []
    is_argument = parameter.param_type_name == "argument"
    name = parameter.name.upper() if is_argument else ", ".join(parameter.opts)
    told = parameter.show_default if isinstance(parameter.show_default, str) else parameter.default
    default = "" if parameter.required or told is None or told is False or callable(told) else str(told)
    return [f"`{name}`", cell(parameter.help or ""), default]


if __name__ == "__main__":
    main()
