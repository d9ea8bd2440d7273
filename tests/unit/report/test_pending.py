"""What has not been run yet, and what it waits for."""

import shutil
from pathlib import Path

import pytest
from support import PROJECT, reports
from support.printed import cell, yaml_of

from mperceiver import config
from mperceiver.report import site, tables
from mperceiver.report.pending import pending


def test_what_is_not_here_yet_says_what_it_waits_for(tree):
    shutil.rmtree("results/scores/two")
    (one,) = pending(tables.build("toys"))
    assert (one.title, one.columns, one.waits_for) == ("Two_50%", ["Haze", "Rain"], ("scoring",))
    assert one.commands == ["snakemake --cores all results/scores/two/toys.json"]
    Path("results/restored/two/toys.json").unlink()
    assert pending(tables.build("toys"))[0].waits_for == ("restoring",)
    Path("results/runs/two/network.json").unlink()
    assert pending(tables.build("toys"))[0].waits_for == ("the training of two",)
    Path("data/prepared/toys.json").unlink()
    assert pending(tables.build("toys"))[0].waits_for == ("the pictures of toys", "the training of two")
    clean = yaml_of("datasets", "clean")
    reports.dump("datasets", "clean", clean | {"access": "manual"})
    Path("data/raw/clean.json").unlink()
    (one,) = pending(tables.build("toys"))
    assert one.waits_for[0] == "the pictures of toys, to be downloaded by hand"
    assert one.commands == ["mperceiver doctor clean", "snakemake --cores all results/scores/two/toys.json"]
    assert cell(tables.build("toys"), "two", "haze", "psnr").why == "manual download"
    site.write("config/toy.yaml")
    text = Path("results/report/toy/index.html").read_text(encoding="utf-8")
    assert (
        "<b>Two_50%</b> on Haze; Rain. Waiting for the pictures of toys, to be downloaded by hand, the training" in text
    )


@pytest.mark.parametrize("name", sorted(path.stem for path in (PROJECT / "config/tables").glob("*.yaml")))
def test_every_table_of_the_project_says_what_it_waits_for(name, tmp_path, monkeypatch):
    """Also rows of published numbers, which wait for nothing."""
    monkeypatch.chdir(tmp_path)
    Path("config").symlink_to(PROJECT / "config")
    waiting = {one.title for one in pending(tables.build(name))}
    table = config.load("tables", name)
    titles = {
        config.load("methods", method).title for part in table.parts for group in part.rows for method in group.methods
    }
    assert waiting <= titles
