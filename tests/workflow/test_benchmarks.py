"""The three-task benchmark in miniature: its committed datasets, runs, table and published numbers, over a few small pictures."""

from pathlib import Path

import pytest
from support import paper
from support.workflow import run

from mperceiver import config
from mperceiver.report import tables

MEASURED = "aio-3-nafnet"  # every row would take minutes

pytestmark = pytest.mark.usefixtures("commands")


@pytest.mark.slow
def test_three_tasks_are_measured_beside_published_numbers(tmp_path, monkeypatch):
    world = tmp_path / "world"
    paper.build(world, "aio-3")
    monkeypatch.chdir(world)
    datasets = [dataset for column in config.load("tables", "aio-3").columns for dataset in column.datasets]
    assert len(datasets) == 5
    scores = [f"results/scores/{MEASURED}/{dataset}.json" for dataset in datasets]
    run(world, *scores, "--configfile", "config/aio-3.yaml")
    tables.write("aio-3")
    built = tables.build("aio-3")
    assert set(built.protocols) == {"rgb-uniform"}
    (row,) = (row for row in built.rows if row.method == MEASURED)
    cells = [built.cells[row, column] for column in built.columns]
    assert len(cells) == 12 and built.progress[0] == 5
    for cell in cells:
        assert cell.mean is not None and cell.difference == cell.mean - cell.reported
    assert cells[-2].reported_mean == pytest.approx(29.704)  # 29.67 is not the mean of NAFNet's five numbers
    page = Path("results/tables/aio-3.html").read_text(encoding="utf-8")
    assert "PromptIR" in page and "AdaIR" in page and "29.67<sup>¶</sup>" in page
