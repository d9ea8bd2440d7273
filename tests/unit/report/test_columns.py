"""Kinds of table columns: how another one than scores is asked for, filled, printed and ranked."""

import csv
import importlib.util
import io
import re
import textwrap
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from support import PROJECT, reports

from mperceiver import config, lineage
from mperceiver.config import checks
from mperceiver.report import columns, grid, site, tables, trace
from mperceiver.report.grid import Measure, Value
from mperceiver.report.tables import latex

SIZES = {"one": 3.25, "two": 1.5}
SIZE_FILE = Path("sizes.txt")


def value(method, dataset, column):
    return Value(SIZES[method]) if method in SIZES else Value(why="no weights")


@pytest.fixture
def sized(tree, monkeypatch):
    """The table `toys` with a last column of another kind: a number a method, lower is better, of no pictures."""
    kind = SimpleNamespace(
        HAS_PICTURES=False,
        measures=lambda group: {"size": Measure("Size (MB)", 1, higher_is_better=False)},
        value=value,
        inputs=lambda method, dataset: [SIZE_FILE],
    )
    monkeypatch.setitem(columns.KINDS, "size", kind)
    monkeypatch.setattr(checks, "_kinds_of_column", lambda: sorted(columns.KINDS))
    SIZE_FILE.write_text("3.25 and 1.5", encoding="utf-8")
    extra = {"dataset": "toys", "label": "Weights", "kind": "size"}
    reports.dump("tables", "toys", reports.TABLE | {"columns": [*reports.TABLE["columns"], extra]})


def test_a_column_of_another_kind_is_filled_ranked_and_printed(sized):
    tables.write("toys")
    built = tables.build("toys")
    (size,) = (column for column in built.columns if column.key == "size")
    cells = {row.method: built.cells[row, size] for row in built.rows}
    assert [(method, cell.text, cell.rank, cell.why) for method, cell in cells.items()] == [
        ("input", "", None, "no weights"),
        ("ceiling", "", None, "no weights"),
        ("one", "3.2", 2, ""),
        ("two", "1.5", 1, ""),
    ]
    lines = list(csv.DictReader(io.StringIO(Path("results/tables/toys.csv").read_text(encoding="utf-8"))))
    (line,) = (line for line in lines if (line["method"], line["metric"]) == ("two", "size"))
    assert (line["mean"], line["rank"], line["protocol"], line["n"]) == ("1.5", "1", "", "")
    text = latex.to_tex(built)
    assert r"Size (MB) $\downarrow$" in text and r"\textcolor{red}{1.5}" in text
    assert 'data-metric="size"' in Path("results/tables/toys.html").read_text(encoding="utf-8")
    assert str(SIZE_FILE) in lineage.read_card("results/tables/toys.json")["inputs"]


def test_a_column_of_another_kind_has_no_average_protocol_progress_or_page(sized):
    built = tables.build("toys")
    (size,) = (column for column in built.columns if column.key == "size")
    assert [column.key for column in built.columns if column.average] == ["psnr", "ssim", "lpips"]
    assert built.protocol(size) == "" and built.progress == (8, 8)
    site.write("config/toy.yaml")
    index = Path("results/report/toy/index.html").read_text(encoding="utf-8")
    assert 'data-value="3.25"' in index and "Size (MB)" in index and "cells/toys/one/toys.html" not in index
    assert "Size (MB) 3.2" in "\n".join(trace.trace("toys", "one", "toys").chain.lines())


def test_an_unknown_kind_is_refused_by_name(tree):
    column = reports.TABLE["columns"][0] | {"kind": "sizes"}
    del column["metrics"]
    reports.dump("tables", "toys", reports.TABLE | {"columns": [column]})
    with pytest.raises(
        grid.TableError, match=r"table toys, column Haze: .*`sizes`. Known kinds .*: cost, predictor, score"
    ):
        tables.build("toys")


def test_metrics_are_of_scores_alone(tree):
    reports.dump("tables", "toys", reports.TABLE | {"columns": [reports.TABLE["columns"][0] | {"kind": "size"}]})
    with pytest.raises(config.ConfigError, match="`metrics` is for columns of kind score"):
        config.load("tables", "toys")


def test_every_table_of_the_project_asks_for_known_kinds(monkeypatch):
    monkeypatch.chdir(PROJECT)
    asked = {
        g.kind for name in config.names("tables") for block in config.load("tables", name).parts for g in block.columns
    }
    assert asked <= set(columns.KINDS)


def test_the_kind_that_the_documents_add_works(tree, tmp_path, monkeypatch):
    """docs/add-a-table.md, word for word: its module, its entry in KINDS, its test."""
    page = (PROJECT / "docs/add-a-table.md").read_text(encoding="utf-8")
    blocks = [textwrap.dedent(block) for block in re.findall(r"(?s) *```python\n(.*?) *```", page)]
    kind, test = (
        _module(tmp_path / f"{name}.py", block) for name, block in zip(("kind", "its_test"), blocks, strict=True)
    )
    monkeypatch.setitem(columns.KINDS, "parameters", kind)
    test.test_parameters_are_counted_and_the_fewest_are_best(tree)


def _module(path: Path, source: str) -> ModuleType:
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
