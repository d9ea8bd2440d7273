"""Figures of every kind."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import reports
from support.printed import yaml_of

from mperceiver import config, images, lineage
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.report import figures
from mperceiver.report.figures import crops


def labels(inputs: list[str]) -> set[str]:
    """Inputs of a rule as cards name them."""
    return {entry.label if isinstance(entry, lineage.Part) else entry for entry in inputs}


@pytest.mark.parametrize("name", ["side-by-side", "bars", "curves"])
def test_figures_are_the_same_bytes_each_time(tree, name):
    files = [Path(f"results/figures/{name}.{suffix}") for suffix in ("png", "svg")]
    card = figures.write(name)
    bytes_ = [file.read_bytes() for file in (*files, card)]
    figures.write(name)
    assert [file.read_bytes() for file in (*files, card)] == bytes_
    assert sorted(lineage.read_card(card)["outputs"]) == sorted(map(str, files))
    assert b"<dc:date>" not in bytes_[-2]


def test_comparison_shows_every_pixel(tree):
    figures.write("side-by-side")
    drawn = images.decode(Path("results/figures/side-by-side.png"))
    restored = crops.cropped(images.decode(Path("results/restored/one/toys/haze-0.png")))
    height, width = restored.shape[:2]
    assert (height, width) == (8 * 24, 8 * 32)
    places = [
        (y, x)
        for y in range(0, drawn.shape[0] - height)
        for x in (44 + crops.CELL_PX + figures.comparison.GAP_PX,)
        if (drawn[y : y + height, x : x + width] == restored).all()
    ]
    assert len(places) == 1


def test_figures_of_what_is_not_there(tree):
    reports.dump(
        "figures",
        "wrong",
        {"title": "", "caption": "", "kind": "comparison", "panels": [{"dataset": "toys", "picture": "no"}]},
    )
    with pytest.raises(figures.FigureError, match=r"toys has no picture no; it has haze-0"):
        figures.write("wrong")
    shutil.rmtree("results/restored/two")
    assert lineage.read_card(figures.write("side-by-side"))["result"]["missing"]  # drawn with a gap
    shutil.rmtree("results/runs")
    with pytest.raises(figures.FigureError, match="no training curve of one, two"):
        figures.write("curves")


@pytest.mark.parametrize("name", ["prompts", "probabilities", "reliability", "tradeoff"])
def test_figures_of_the_method_are_the_same_bytes_each_time(kinds, name):
    card = figures.write(name)
    before = [Path(f"results/figures/{name}.{kind}").read_bytes() for kind in ("png", "svg", "json")]
    figures.write(name)
    assert [Path(f"results/figures/{name}.{kind}").read_bytes() for kind in ("png", "svg", "json")] == before
    inputs = lineage.read_card(card)["inputs"]
    predicted = "results/restored/one/toys.json"
    wanted = {"prompts": "results/runs/prompted/branches.json", "probabilities": predicted, "reliability": predicted}
    assert wanted.get(name, "results/scores/two/toys.json") in inputs
    assert labels(config.figure_inputs(name)) <= {*inputs, "config/reported/cvpr2024.csv"}


def test_what_the_methods_figures_show(kinds):
    result = lineage.read_card(figures.write("probabilities"))["result"]
    assert result == {"Haze": [0.8, 0.2], "Rain": [0.25, 0.75]}
    assert lineage.read_card(figures.write("reliability"))["result"] == {
        "Haze": {"accuracy": 1.0, "calibration_error": 0.2, "bins": [[0.7, 1.0, 1], [0.9, 1.0, 1]]},
        "Rain": {"accuracy": 1.0, "calibration_error": 0.25, "bins": [[0.75, 1.0, 1]]},
    }
    assert lineage.read_card(figures.write("tradeoff"))["result"] == {"steps": {"one": 50, "two": 4}, "timed": True}
    embedded = figures.prompts._embedded(
        figures.prompts._pools(Path("results/runs/prompted/branches.safetensors"))["visual prompts, scale 1"]
    )
    centres = embedded.mean(1)
    spread = max(abs(embedded[i] - centres[i]).max() for i in range(2))
    assert abs(centres[0] - centres[1]).max() > spread  # two clusters stay two
    Path("results/runs/prompted/branches.safetensors").unlink()
    with pytest.raises(figures.FigureError, match="train first"):
        figures.write("prompts")
    Path("results/restored/one/toys/probabilities.csv").unlink()
    with pytest.raises(figures.FigureError, match="restore first"):
        figures.write("probabilities")


@pytest.mark.parametrize("name", ["bars", "tradeoff"])
def test_figures_of_scores_say_that_there_are_none_and_what_makes_them(kinds, name):
    shutil.rmtree("results/scores")
    message = f"config/figures/{name}.yaml: none of its methods has been scored yet; run: snakemake --cores all results/figures/{name}.json"
    with pytest.raises(figures.FigureError, match=f"^{re.escape(message)}$"):
        figures.write(name)


def test_prompts_of_scales_with_widths_of_their_own_are_shown(kinds):
    from safetensors.numpy import save_file

    pools = {f"ir_adapter.vp_pool.{k}": np.random.default_rng(k).normal(size=(2, 8, 4 + k)) for k in range(2)}
    save_file(pools, "results/runs/prompted/branches.safetensors")
    shapes = lineage.read_card(figures.write("prompts"))["result"]["pools"]
    assert shapes == {"visual prompts, scale 1": [2, 8, 4], "visual prompts, scale 2": [2, 8, 5]}


def test_a_comparison_shows_the_part_that_is_asked_for(tree):
    figure = config.load("figures", "side-by-side").model_dump(mode="json", exclude_defaults=True)
    figure["panels"] = [{"dataset": "toys", "picture": "haze-0", "crop": [4, 2, 16]}]
    reports.dump("figures", "part", figure)
    figures.write("part")
    picture = images.decode(Path("results/restored/one/toys/haze-0.png"))
    part = crops.cropped(picture, (4, 2, 16))
    assert part.shape[:2] == (256, 256) and (part[::16, ::16] == picture[2:18, 4:20]).all()
    figure["panels"][0]["crop"] = [20, 2, 16]
    reports.dump("figures", "part", figure)
    with pytest.raises(figures.FigureError, match="fit into a picture of 32x24"):
        figures.write("part")


def test_a_comparison_shows_whole_pictures_and_the_part_where_structure_was_lost(tree):
    lq, target = (np.full((60, 80, 3), 100, np.uint8) for _ in range(2))
    target[:] += 40  # a changed tone alone is no lost structure
    target[31:43:2, 50:62] = 255
    left, top, side = crops.most_varied(lq, target, 16)
    assert side == 16 and left <= 50 and top <= 31 and left + side >= 62 and top + side >= 42
    assert crops.most_varied(target, None, 16) == (
        left,
        top,
        16,
    )  # without a ground truth: where there is most to see
    assert crops.most_varied(lq, target, 500)[1:] == (0, 60)
    framed = crops.framed(lq, (left, top, side))
    assert framed.shape == (192, 256, 3)
    inside = np.zeros(framed.shape[:2], bool)
    inside[round(top * 3.2) : round((top + 16) * 3.2) + 1, round(left * 3.2) : round((left + 16) * 3.2) + 1] = True
    assert (framed[~inside] == 100).all() and not (framed[inside] == 100).all()

    figure = config.load("figures", "side-by-side").model_dump(mode="json", exclude_defaults=True)
    reports.dump("figures", "zoomed", figure | {"zoom_px": 8})
    figures.write("zoomed")
    drawn = images.decode(Path("results/figures/zoomed.png"))
    (pairs, restored) = PreparedDataset("toys"), images.decode(Path("results/restored/one/toys/haze-0.png"))
    part = crops.most_varied(pairs.lq(0), pairs.gt(0), 8)
    x = 44 + crops.CELL_PX + figures.comparison.GAP_PX
    for shown in (crops.framed(restored, part), crops.cropped(restored, part)):
        height, width = shown.shape[:2]
        lines = [y for y in range(drawn.shape[0] - height) if (drawn[y : y + height, x : x + width] == shown).all()]
        assert len(lines) == 1
    reports.dump("figures", "zoomed", figure | {"zoom_px": 24})  # as high as the pictures: there is little to frame
    figures.write("zoomed")
    assert images.decode(Path("results/figures/zoomed.png")).shape[0] < drawn.shape[0]


def test_bars_show_what_the_paper_reports(paper):
    where = {"table": 1, "task": "deraining", "dataset": "Toys"}
    column = {"dataset": "toys", "task": "rain", "label": "Rain", "metrics": ["psnr"], "reported": where}
    figure = {"title": "", "caption": "", "kind": "bars", "methods": ["one", "theirs"], "columns": [column]}
    reports.dump("figures", "reported", figure)
    figures.write("reported")
    assert "theirs" not in str([path for path in config.figure_inputs("reported") if "scores" in path])
    assert config.REPORTED in config.figure_inputs("reported")


def test_figures_of_a_mean_of_runs(seeds):
    figure = yaml_of("figures", "bars") | {"methods": ["input", "both"]}
    reports.dump("figures", "bars", figure)
    inputs = lineage.read_card(figures.write("bars"))["inputs"]
    assert {"results/scores/one/toys.json", "results/scores/three/toys.json"} <= set(inputs)
    assert labels(config.figure_inputs("bars")) <= set(inputs)
    reports.dump("figures", "side-by-side", yaml_of("figures", "side-by-side") | {"methods": ["both"]})
    with pytest.raises(config.ConfigError, match="both is of kind mean; a mean over methods has no pictures"):
        figures.write("side-by-side")


CURVE = """step,loss,pictures_per_s,gib,seconds,gpu_percent,watt_hours
50,1,20,1.5,100,80,10
100,1,10,2.5,300,60,20
"""


def test_what_trainings_used_over_time(tree):
    reports.dump("figures", "used", {"title": "t", "caption": "c", "kind": "usage", "runs": ["one", "two"]})
    curve = Path("results/runs/one/network.csv")
    result = lineage.read_card(figures.write("used"))["result"]
    assert result == {"trainings": 0, "quantities": [], "missing": ["one: network", "two: network"]}, (
        "of an earlier version"
    )
    curve.write_text(CURVE, encoding="utf-8")
    rows = figures.usage.used(curve)
    assert list(rows.index) == [100, 300] and list(rows["gib"]) == [1.5, 2.5] and list(rows["gpu_percent"]) == [80, 60]
    # 10 Wh are 36 kJ: in the first 100 s at 360 W, then in 200 s at 180 W.
    assert list(rows["watts"]) == pytest.approx([360, 180])
    card = figures.write("used")
    result = lineage.read_card(card)["result"]
    assert (result["trainings"], result["missing"]) == (1, ["two: network"])
    assert result["quantities"] == ["gib", "pictures_per_s", "gpu_percent", "watts"]
    before = Path("results/figures/used.svg").read_bytes()
    figures.write("used")
    assert Path("results/figures/used.svg").read_bytes() == before
    curve.write_text("step,loss,pictures_per_s,gib,seconds\n50,1,20,1.5,100\n", encoding="utf-8")  # a CPU's
    assert lineage.read_card(figures.write("used"))["result"]["quantities"] == ["gib", "pictures_per_s"]
    shutil.rmtree("results/runs")
    with pytest.raises(figures.FigureError, match="no training curve of one, two"):
        figures.write("used")
