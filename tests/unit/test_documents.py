"""The documents: their links lead somewhere, what they tell to type or to open exists, and generated ones are up to date."""

import ast
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import typer
import yaml
from support import PROJECT

from mperceiver import __version__, cli
from tools import docs

PAGES = [*sorted(PROJECT.glob("*.md")), PROJECT / "config/README.md", *sorted((PROJECT / "docs").glob("*.md"))]
TARGETS = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
TEXTS = {page.relative_to(PROJECT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    heads = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    page = PROJECT / name
    for target in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", TEXTS[name]):
        path, _, anchor = "".join(target).partition("#")
        if "://" in path:
            continue
        there = (page.parent / path).resolve() if path else page.resolve()
        assert there.exists(), f"{name}: there is no {path}"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there.read_text(encoding="utf-8")), f"{name}: {path} has no heading #{anchor}"


def test_commands_exist():
    """A command that is shown must parse; one that is only mentioned must be a verb with the options named."""
    commands, shown = typer.main.get_command(cli.app).commands, 0
    for name, text in TEXTS.items():
        for before, line in re.findall(r"(uv run|^|`) *mperceiver ([a-z][^#`\n]+)", text, re.MULTILINE):
            verb, *arguments = shlex.split(line)
            assert verb in commands, f"{name}: mperceiver {line}"
            if before == "`":
                options = {option for parameter in commands[verb].params for option in parameter.opts}
                assert options >= {word for word in arguments if word.startswith("-")}, f"{name}: mperceiver {line}"
            else:
                commands[verb].make_context(verb, arguments)  # parses, and runs nothing
                shown += 1
        for target in re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE):
            assert target in TARGETS, f"{name}: make {target}"
    assert shown > 15


def test_the_readme_links_every_page():
    for page in (PROJECT / "docs").glob("*.md"):
        assert f"(docs/{page.name})" in TEXTS["README.md"], f"README.md does not lead to docs/{page.name}"


@cache
def defined(module: Path) -> set[str]:
    """The names that a module defines or hands on."""
    names = set()
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            names |= {ast.unparse(target) for target in getattr(node, "targets", None) or [node.target]}
    return names


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_files_and_names_exist(name):
    """`folder/file.py` from the root or from the package; `folder/file.py:name` is defined there."""
    mentioned = re.findall(r"`([\w./-]+\.(?:py|smk|yaml|toml|csv|md|sh))(?::(\w+))?`", TEXTS[name])
    assert mentioned
    missing = []
    for path, definition in mentioned:
        places = [place / path for place in (PROJECT, PROJECT / "mperceiver") if (place / path).is_file()]
        if not places and not path.startswith("results/"):
            missing.append(path)
        elif definition and definition not in defined(places[0]):
            missing.append(f"{path}:{definition}")
    assert not missing, f"{name} names what is not there"


@pytest.mark.parametrize("name", docs.PAGES)
def test_a_generated_page_is_up_to_date(name, monkeypatch):
    monkeypatch.chdir(PROJECT)
    try:
        text = docs.PAGES[name]()
    except (KeyError, FileNotFoundError) as error:
        pytest.fail(
            f"{name} cannot be made again: what it is made from lacks {error}; mend that, run `make docs`, commit both"
        )
    assert (PROJECT / name).read_text(encoding="utf-8") == text, f"{name} has grown old: run `make docs` and commit it"


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    heads = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", TEXTS["CHANGELOG.md"], re.MULTILINE)
    assert heads[0] == ("Unreleased", "")
    assert heads[1] == (citation["version"], citation["date-released"])
    assert citation["version"] == __version__.partition(".dev")[0]
