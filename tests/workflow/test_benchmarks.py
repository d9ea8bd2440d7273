"""The field's four benchmarks in miniature: their committed datasets, runs, tables and published numbers, over a few small pictures.

Every row that is trained here is measured in every column: MPerceiver and all its rivals, at toy width and four steps each.
"""

from html import unescape
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from support import paper
from support.once import built_once
from support.workflow import run

from mperceiver.data.read.loader import PreparedDataset
from mperceiver.report import tables

RIVALS = ("airnet", "transweather", "wgws-net", "wgws-net-given", "promptir", "da-clip", "restormer", "nafnet")
COLUMNS = {"aio-3": 5, "aio-5": 5, "all-weather": 3, "cdd-11": 11}  # of each table, without the average

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("commands")]


@pytest.fixture(scope="module")
def world(commands, tmp_path_factory) -> Path:
    """One working directory for all four, since they share datasets; each table made by a call of Snakemake for its experiment."""

    def build(world: Path) -> None:
        paper.build(world, *COLUMNS)
        for name in COLUMNS:
            run(world, f"results/tables/{name}.csv", "--configfile", f"config/{name}.yaml", "--quiet", "all")

    return built_once(tmp_path_factory, "benchmarks", build)


@pytest.mark.parametrize("name", COLUMNS)
def test_every_row_is_measured_beside_published_numbers(world, name, monkeypatch):
    monkeypatch.chdir(world)
    built = tables.build(name)
    measured = [row for row in built.rows if row.measured]
    ours = {f"{name}-{method}" for method in (*RIVALS, "mperceiver")}
    assert {row.method for row in measured} == {"input", "vae-ceiling-sd21", *ours}
    assert built.progress == (len(measured) * COLUMNS[name],) * 2
    for row in measured:
        cells = [built.cells[row, column] for column in built.columns]
        assert all(cell.mean is not None and np.isfinite(cell.mean) for cell in cells), row.title
        for cell in cells:
            assert cell.reported is None or cell.difference == cell.mean - cell.reported
    assert len(built.rows) > len(measured) + 10
    page = unescape(Path(f"results/tables/{name}.html").read_text(encoding="utf-8"))
    assert all(row.title in page for row in built.rows)


@pytest.mark.parametrize("dataset", ["sots-outdoor", "rain100l-test", "lol-v1-test", "cdd-11-test"])
def test_the_inputs_scores_are_those_of_scikit_image(world, dataset, monkeypatch):
    """Of the degraded pictures themselves, in RGB with the flat window, as the line of AirNet and PromptIR scores."""
    monkeypatch.chdir(world)
    table = "aio-5" if "cdd" not in dataset else "cdd-11"
    pairs, built = PreparedDataset(dataset), tables.build(table)
    (row,) = (row for row in built.rows if row.method == "input")
    columns = [column for column in built.columns if dataset in column.datasets and not column.average]
    assert columns
    for column in columns:
        rows = [i for i, task in enumerate(pairs.tasks) if column.task in (None, task)]
        by_metric = {
            "psnr": [peak_signal_noise_ratio(pairs.gt(i), pairs.lq(i)) for i in rows],
            "ssim": [structural_similarity(pairs.gt(i), pairs.lq(i), channel_axis=2) for i in rows],
        }
        assert built.cells[row, column].mean == pytest.approx(np.mean(by_metric[column.key]), abs=1e-6)


def test_a_published_average_that_is_no_mean_is_told(world, monkeypatch):
    monkeypatch.chdir(world)
    built = tables.build("aio-3")
    (row,) = (row for row in built.rows if row.method == "aio-3-nafnet")
    average = next(column for column in built.columns if column.average and column.key == "psnr")
    assert built.cells[row, average].reported_mean == pytest.approx(
        29.704
    )  # 29.67 is not the mean of NAFNet's five numbers
    assert "29.67<sup>¶</sup>" in Path("results/tables/aio-3.html").read_text(encoding="utf-8")
