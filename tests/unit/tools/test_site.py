"""The documentation site: every page has its place, links are strict, and nothing comes from elsewhere."""

import os
import re
import subprocess
import sys

import pytest
from support import PROJECT

from tools import site


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the site, built strictly: a page without a place or a link that leads nowhere ends it."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site, "PAGES", folder / "site-pages")
        site.write_pages()
    text = (PROJECT / "mkdocs.yml").read_text(encoding="utf-8").replace("paths: [.]", f"paths: [{PROJECT}]")
    (folder / "mkdocs.yml").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_every_page_is_in_the_menu(built):
    menu = (PROJECT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    for page in (PROJECT / "docs").glob("*.md"):
        assert f"docs/{page.name}\n" in menu
        assert (built / f"docs/{page.stem}.html").is_file()


def test_references_are_generated(built):
    commands = (built / "reference/cli.html").read_text(encoding="utf-8")
    assert "mperceiver restore" in commands and "--skip-existing" in commands and "[TARGET]" in commands
    assert "config/methods/&lt;name&gt;.yaml" in commands  # no tag, which a browser would not show
    python = (built / "reference/python.html").read_text(encoding="utf-8")
    assert "LoadedMethod" in python
    assert "config/methods/.yaml" not in re.sub(r"<[^>]*>", "", python)
    assert "tile_px" in (built / "config/index.html").read_text(encoding="utf-8")


def test_nothing_is_loaded_from_elsewhere(built):
    loaded = re.compile(
        r"<(?:script|img|iframe)[^>]+src=\"?(https?://[^\s\">]+)|<link[^>]+rel=\"?(?:stylesheet|icon|preconnect)[^>]+href=\"?(https?:[^\s\">]+)"
    )
    for page in built.rglob("*.html"):
        assert loaded.findall(page.read_text(encoding="utf-8")) == [], page
    for sheet in built.rglob("*.css"):
        assert not re.findall(r"(?:@import|url\()[\"']?https?:", sheet.read_text(encoding="utf-8")), sheet


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("[bsds500-test](../config/datasets/bsds500-test.yaml)", "`bsds500-test`"),
        ("[config/demo.yaml](../config/demo.yaml)", "`config/demo.yaml`"),
        (
            "[`columns/__init__.py`](../mperceiver/report/columns/__init__.py)",
            "`mperceiver/report/columns/__init__.py`",
        ),
        ("[config/reported/](../config/reported/)", "`config/reported/`"),
        ("[its run](../config/runs/small.yaml)", "its run (`config/runs/small.yaml`)"),
        ("[Rivals](rivals.md)", "[Rivals](rivals.md)"),
    ],
)
def test_a_file_that_the_site_does_not_have_is_named_once(link, shown):
    found = re.fullmatch(r"\[([^\]]+)\]\(([^)\s]+)\)", link)
    assert shown == site._plain(found, PROJECT / "docs/datasets.md")
