"""The site: its index, and the pages of cells."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import PROJECT, reports
from support.printed import Links, cell, written, yaml_of

from mperceiver import config, images, lineage
from mperceiver.config.figures import NEEDS
from mperceiver.report import figures, site, tables, trace
from mperceiver.report.site import comparisons
from mperceiver.report.site.index import figure_entry
from mperceiver.report.site.pictures import FULL_255, error_colours


def test_pages_hold_together_offline(tree):
    tables.write("toys")
    for name in ("side-by-side", "bars", "curves"):
        figures.write(name)
    pages = written()
    assert len([page for page in pages if "cells" in page.parts]) == 8
    root = Path("results/report/toy").resolve()
    for page, parsed in pages.items():
        assert len(parsed.ids) == len(set(parsed.ids)), page
        assert all(image.get("alt") and image.get("loading") == "lazy" for image in parsed.images), page
        assert all(head.get("scope") for head in parsed.heads) or "files" in page.parts, page
        for link in parsed.links:
            if link == "data:,":
                continue
            assert not re.match(r"[a-z]+:|//", link), f"{page}: {link} leaves the page"
            file, _, anchor = link.partition("#")
            target = (page.parent / file).resolve() if file else page.resolve()
            assert target.is_file() and target.is_relative_to(root), f"{page}: {link}"
            if anchor:
                assert anchor in Links(target.read_text(encoding="utf-8")).ids, f"{page}: {link}"
    drawn = sorted(file.name for file in (root / "files/results/figures").iterdir())
    assert drawn == ["bars.svg", "curves.svg", "side-by-side.webp"]  # each figure once
    shown, plotted = images.decode(root / "files/results/figures/side-by-side.webp"), "results/figures/side-by-side.png"
    assert np.array_equal(shown, images.decode(plotted))
    index = Path("results/report/toy/index.html")
    assert index.stat().st_size < 1_000_000
    text = index.read_text(encoding="utf-8")
    assert "An &lt;experiment&gt; &amp; more" in text and "<only>" not in text
    assert "PSNR over RGB." in text and reports.COMMIT[0][:12] in text
    script = (root / "site.js").read_text(encoding="utf-8")
    assert len(script.splitlines()) <= 300 and "http" not in script


def test_cell_pages_tell_where_numbers_come_from(tree):
    tables.write("toys")
    site.write("config/toy.yaml")
    text = Path("results/report/toy/cells/toys/one/toys--haze.html").read_text(encoding="utf-8")
    assert "mperceiver trace toys --method one --dataset toys --task haze" in text
    for name in (
        "results/restored/one/toys.json",
        "results/runs/one/network.json",
        "data/raw/clean.json",
        "package:skimage/data/a.png",
    ):
        assert name in text
    assert "2 of 2 pictures have a higher PSNR than their input" in text
    assert text.count('type="range"') == 2 and "rain-0" not in text
    assert "Worst by PSNR" in text and "Best by PSNR" in text and reports.COMMIT[0][:12] in text
    reference = Path("results/report/toy/cells/toys/input/toys--haze.html").read_text(encoding="utf-8")
    assert "Pictures of the comparison" in reference and "Worst by" not in reference
    assert reference.count('type="range"') == 2
    chain = Path("results/report/toy/chains/one/toys.html").read_text(encoding="utf-8")
    assert (
        "config/methods/one.yaml" in chain and "config/methods/one.yaml" not in text
    )  # the cards' inputs stand there alone
    assert "../../../chains/one/toys.html#card-2" in text


def test_pictures_are_webp_without_loss(tree):
    """Each shows the pixels of the picture that it is of, in fewer bytes; pages share it."""
    tables.write("toys")
    written()
    root = Path("results/report/toy")
    restored = sorted(root.glob("files/results/restored/*/toys/*"))
    assert not (root / "files/difference").exists()  # the page draws it
    assert (
        restored
        and not list(root.glob("files/**/*-input.png"))
        and not list(root.glob("files/results/restored/**/*.png"))
    )
    for page in restored:
        assert page.suffix == ".webp" and page.read_bytes()[8:16] == b"WEBPVP8L"
        original = page.relative_to(root / "files").with_suffix(".png")
        assert np.array_equal(images.decode(page), images.decode(original))
    pages = [page.read_text(encoding="utf-8") for page in root.glob("cells/**/*.html")]
    assert sum("haze-0-input.webp" in page for page in pages) > 1
    pictures = [images.decode(file) for file in sorted(root.glob("files/**/*.webp"))]
    assert (
        len({(picture.shape, picture.tobytes()) for picture in pictures}) == len(pictures) > 4
    )  # none lies there twice


def test_two_methods_are_compared_picture_by_picture(tree):
    tables.write("toys")
    pages = written()
    page = Path("results/report/toy/compare/toys/toys--haze.html")
    text = page.read_text(encoding="utf-8")
    data = json.loads(text.partition('id="scores">')[2].partition("</script>")[0])
    assert [method["name"] for method in data["methods"]] == list(reports.METHODS)
    assert [metric["label"] for metric in data["metrics"]] == ["PSNR", "SSIM", "LPIPS"]
    # One 19 and 21.008, two 19.5 and 20.492: they differ more on the second; the ceiling and the input are references.
    assert [picture["id"] for picture in data["pictures"]] == ["haze-1", "haze-0"]
    at = {method["name"]: i for i, method in enumerate(data["methods"])}
    assert data["pictures"][0]["scores"][at["one"]] == [21.008, 0.82, 0.22]
    assert data["pictures"][1]["scores"][at["two"]] == [19.5, 0.7, 0.2]
    row = text.partition('<tr data-picture="0">')[2].partition("</tr>")[0]
    assert re.findall(r"<td[^>]*>([^<]*)", row)[:3] == ["21.01", "20.49", "+0.52"]
    for picture in data["pictures"]:
        panes = picture["panes"]
        names = [*panes["restored"], panes["input"], panes["target"]]
        assert all((page.parents[2] / name).is_file() for name in names if name) and panes["restored"][at["one"]]
        assert panes["comparable"][at["one"]]
    index = Path("results/report/toy/index.html")
    assert "compare/toys/toys--haze.html" in pages[index].links and "compare/toys/toys--rain.html" in pages[index].links
    assert (
        "../../../compare/toys/toys--haze.html#a-one"
        in pages[Path("results/report/toy/cells/toys/one/toys--haze.html")].links
    )


def test_pictures_of_a_comparison_are_those_where_methods_differ():
    keys = [("d", name) for name in "pqrs"]
    values = pd.DataFrame(
        {"one": [1.0, 5.0, math.inf, math.nan], "two": [3.0, 5.0, math.inf, 1.0], "three": [1.0, 9.0, 30.0, 2.0]},
        index=pd.MultiIndex.from_tuples(keys),
    )
    p, q, r, s = keys
    assert comparisons.by_difference(values, "one", "two") == [p, q, r, s]  # 2, 0; both perfect; and no value
    assert comparisons.by_difference(values, "two", "three") == [r, q, p, s]  # infinite, 4, 2, 1
    assert comparisons.most_different(values, 2, {}) == [p, r]
    assert set(comparisons.most_different(values, 9, {})) == set(keys)
    assert comparisons.most_different(values, 3, {s: 2, r: 1, q: 1}) == [s, r, q]  # those that lie in the site first


def test_a_comparison_opens_on_the_two_best_methods():
    def compared(name, psnr, ranked=True):
        return comparisons.Compared(name, name, ranked, pd.DataFrame({"psnr": psnr, "lpips": [x / 100 for x in psnr]}))

    methods = [
        compared("ceiling", [40.0], False),
        compared("a", [20.0, 22.0]),
        compared("b", [30.0]),
        compared("c", [25.0]),
    ]
    assert [one.name for one in comparisons.opening(methods, "psnr")] == ["b", "c"]
    assert [one.name for one in comparisons.opening(methods, "lpips")] == ["a", "c"]  # lower is better
    assert [one.name for one in comparisons.opening(methods[:2], "psnr")] == ["a", "ceiling"]


def test_two_runs_of_a_mean_are_compared(seeds):
    tables.write("toys")
    written()
    text = Path("results/report/toy/compare/toys/toys--haze.html").read_text(encoding="utf-8")
    assert 'id="a-one"' in text and 'id="b-three"' in text and 'id="a-both"' not in text


def test_pages_show_progress_and_are_the_same_bytes_each_time(tree):
    for file in Path("results/scores").rglob("two/*"):
        file.unlink()
    first = lineage.read_card(site.write("config/toy.yaml"))
    text = Path("results/report/toy/index.html").read_text(encoding="utf-8")
    assert "6 of 8 cells" in text and "Not drawn yet" in text and "not run" in text
    assert first["result"] == {"cells": 8, "run": 6}
    assert lineage.read_card(site.write("config/toy.yaml")) == first
    shutil.rmtree("data/prepared")
    site.write("config/toy.yaml")
    assert "The restored pictures are not on this machine" in Path(
        "results/report/toy/cells/toys/one/toys--haze.html"
    ).read_text(encoding="utf-8")


def test_pages_speak_of_a_toy_only_where_there_is_one(tree):
    for name in ("mini", "mini-lite"):  # the second is made of the first, and has no `build` of its own
        shutil.copy(PROJECT / f"config/foundations/{name}.yaml", "config/foundations/toy.yaml")
        site.write("config/toy.yaml")
        assert "A toy." in Path("results/report/toy/index.html").read_text(encoding="utf-8")
    reports.dump("foundations", "toy", {"title": "Stable Diffusion", "licence": "none"})
    site.write("config/toy.yaml")
    assert "A toy." not in Path("results/report/toy/index.html").read_text(encoding="utf-8")


def test_colours_of_errors_are_black_for_none_white_for_the_most_and_lighter_with_every_step():
    colours = error_colours()
    assert colours.shape == (256, 3) and FULL_255 == 64
    assert colours[0].max() < 0.02 and (colours[-1] == 1).all()
    lightness = colours @ (0.3, 0.59, 0.11)
    assert list(lightness) == sorted(lightness)


def test_cell_pages_name_the_input_and_the_ceiling(tree):
    site.write("config/toy.yaml")
    page = Path("results/report/toy/cells/toys/one/toys--haze.html")
    line = page.read_text(encoding="utf-8").partition('class="references"')[2].partition("</table>")[0]
    assert "Degraded input" in line and "12.50" in line
    assert "Ground truth through the VAE" in line and "30.50" in line
    assert {"results/scores/input/toys.json", "results/scores/ceiling/toys.json"} <= set(
        lineage.read_card("results/report/toy.json")["inputs"]
    )
    own = (
        Path("results/report/toy/cells/toys/input/toys--haze.html")
        .read_text(encoding="utf-8")
        .partition('class="references"')[2]
    )
    assert "Degraded input" not in own.partition("</table>")[0]
    reports.dump("protocols", "rgb", {"title": "PSNR over RGB, border of 4", "border_px": 4})
    reports.score("ceiling")
    reports.dump("tables", "toys", reports.TABLE | {"rows": [{"title": "", "methods": ["one"]}]})
    site.write("config/toy.yaml")
    line = page.read_text(encoding="utf-8").partition('class="references"')[2].partition("</table>")[0]
    assert "Degraded input" in line and "VAE" not in line  # scored under another protocol


def test_the_ceiling_of_another_runs_detail_refinement_is_no_reference(tree):
    stage = {"steps": 4, "phases": [{"batch": 1, "crop_px": 8}]}
    run = {"title": "r", "foundation": "toy", "train": ["toys"], "latents": {}}
    for name in ("mine", "other"):
        reports.dump("runs", name, run | {stage_: stage for stage_ in config.STAGES if stage_ != "network"})
        reports.dump("methods", f"drm-{name}", {"title": f"DRM of {name}", "kind": "vae", "run": name})
        reports.score(f"drm-{name}", scores=reports.SCORES["ceiling"])
    reports.dump("methods", "one", {"title": "One", "kind": "mperceiver", "run": "mine"})
    site.write("config/toy.yaml")
    for method, named in (("one", ["VAE", "DRM of mine"]), ("input", ["VAE"]), ("two", ["VAE"])):
        page = Path(f"results/report/toy/cells/toys/{method}/toys--haze.html").read_text(encoding="utf-8")
        line = page.partition('class="references"')[2].partition("</table>")[0]
        assert all(name in line for name in named) and "DRM of other" not in line


def test_pages_and_traces_of_a_mean_of_runs(seeds):
    tables.write("toys")
    pages = written()
    page = Path("results/report/toy/cells/toys/both/toys--haze.html")
    assert {"../one/toys--haze.html", "../three/toys--haze.html"} <= set(pages[page].links)
    text = page.read_text(encoding="utf-8")
    assert "± 1.41" in text and "20.00" in text and "22.00" in text and "Degraded input" in text
    run = page.parent.parent / "three/toys--haze.html"
    assert "../both/toys--haze.html" in pages[run].links and "results/restored/one/toys.json" not in run.read_text(
        encoding="utf-8"
    )
    lines = trace.trace("toys", "both", "toys", "haze").chain.lines()
    for run in ("one", "three"):
        assert any(f"results/scores/{run}/toys.json" in line for line in lines)
    alone = trace.trace("toys", "three", "toys", "haze", verify=True)
    assert "PSNR 22.00" in alone.chain.lines()[0] and alone.problems == []
    Path("results/scores/three/toys.csv").write_text("changed", encoding="utf-8")
    assert trace.trace("toys", "both", "toys", "haze", verify=True).problems


def test_every_kind_of_figure_has_its_place_on_the_index(kinds):
    names = ["side-by-side", "bars", "curves", "prompts", "usage", "probabilities", "reliability", "tradeoff"]
    reports.dump("figures", "usage", {"title": "Usage", "caption": "Caption.", "kind": "usage", "runs": ["one", "two"]})
    reports.dump(".", "toy", {"title": "Figures", "tables": ["toys"], "figures": names})
    assert {config.load("figures", name).kind for name in names} == set(figures.KINDS)
    for name in names[:-1]:
        figures.write(name)
    written()
    text = Path("results/report/toy/index.html").read_text(encoding="utf-8")
    assert text.count('<section class="figure"') == len(names) and text.count("Not drawn yet") == 1


def test_a_figure_that_becomes_one_of_another_kind_shows_no_file_of_the_kind_before(tree):
    figure = {name: yaml_of("figures", name) for name in ("bars", "side-by-side")}
    shown = Path("results/report/toy/files/results/figures")
    reports.dump(".", "toy", {"title": "Figures", "tables": ["toys"], "figures": ["bars"]})
    figures.write("bars")
    reports.dump("figures", "bars", figure["side-by-side"])
    figures.write("bars")
    site.write("config/toy.yaml")
    assert [file.name for file in shown.iterdir()] == ["bars.webp"]
    reports.dump("figures", "bars", figure["bars"])  # a plot again, not drawn yet: the comparison is none
    site.write("config/toy.yaml")
    assert not shown.exists() and "Not drawn yet" in Path("results/report/toy/index.html").read_text(encoding="utf-8")


def test_what_the_site_prints_beside_tables_and_figures_is_an_input_too(tree):
    """Titles of foundations, and references with their numbers where no table has them as rows."""
    rows = [{"title": "All", "methods": ["ceiling", "one"]}]
    reports.dump("tables", "toys", reports.TABLE | {"rows": rows})
    reports.dump(".", "toy", {"title": "Toys", "tables": ["toys"]})
    tables.write("toys")
    card = site.write("config/toy.yaml")
    page = Path("results/report/toy/cells/toys/one/toys--haze.html").read_text(encoding="utf-8")
    assert "Degraded input" in page

    def changed() -> list[str]:
        return [change.name for change in config.changes(card, config.report_inputs("config/toy.yaml"))]

    assert changed() == []
    foundation = yaml_of("foundations", "toy")
    reports.dump("foundations", "toy", foundation | {"citation": "somebody"})
    assert changed() == []
    reports.dump("foundations", "toy", foundation | {"title": "Another toy"})
    reports.dump("methods", "input", reports.METHODS["input"] | {"title": "Nothing done"})
    reports.score("input", scores={"haze": [(1.0, 0.5, 0.4)] * 2, "rain": [(2.0, 0.7, 0.3)] * 2})
    assert changed() == [
        "config/foundations/toy.yaml#report", "config/methods/input.yaml#report", "results/scores/input/toys.json",
    ]  # fmt: skip
    shutil.rmtree("results/scores/input")
    assert "results/scores/input/toys.json" not in config.report_inputs("config/toy.yaml"), "the site asks for no more"


def test_the_files_of_a_table_have_the_numbers_of_the_page(tree):
    tables.write("toys")
    printed = Path("results/tables/toys.csv").read_text(encoding="utf-8")
    reports.score("one", scores={"haze": [(43.21, 0.8, 0.2)] * 2, "rain": [(24.0, 0.7, 0.1)] * 2})
    site.write("config/toy.yaml")
    texts = tables.texts(tables.build("toys"))
    for suffix, text in texts.items():
        file = Path(f"results/report/toy/files/results/tables/toys.{suffix}")
        assert file.read_text(encoding="utf-8") == text and "43.21" in text
    assert Path("results/tables/toys.csv").read_text(encoding="utf-8") == printed != texts["csv"]


def test_an_index_of_nothing_yet(tree):
    shutil.rmtree("results")
    pages = written()
    assert [page.name for page in pages if "files" not in page.parts] == ["index.html"]
    text = Path("results/report/toy/index.html").read_text(encoding="utf-8")
    assert (
        "0 of 8 cells" in text
        and text.count("<li><b>") == 4
        and "snakemake --cores all results/tables/toys.json" in text
    )


@pytest.mark.parametrize("kind", figures.KINDS)
def test_every_kind_of_figure_stands_on_the_page(tree, kind):
    """Also one that is not drawn yet."""
    values = {
        "methods": ["one"],
        "runs": ["one"],
        "panels": [{"dataset": "toys", "picture": "haze-0"}],
        "columns": [{"dataset": "toys", "label": "Toys"}],
    }
    needed = {key: values[key] for key in NEEDS[kind]}
    reports.dump("figures", "other", {"title": "Other", "caption": "Another.", "kind": kind} | needed)
    entry = figure_entry(None, "other")
    assert entry["file"] is None and entry["alt"].startswith("Other. ") and len(entry["alt"]) > 20


def test_every_number_has_its_page_also_where_the_first_metric_is_missing(tree):
    reports.dump("datasets", "more", yaml_of("datasets", "toys"))
    reports.score("one", dataset="more", scores={"haze": [(10.0, 0.5, 0.4)]})
    reports.score("one", scores={"haze": [(None, 0.8, 0.2)]})
    column = {"dataset": ["toys", "more"], "task": "haze", "label": "Both", "metrics": ["psnr", "ssim"]}
    reports.dump("tables", "toys", reports.TABLE | {"columns": [column], "average": False})
    built = tables.build("toys")
    assert cell(built, "one", "haze", "psnr").why == "1 of 2 datasets" and cell(built, "one", "haze", "ssim").n == 2
    pages = written()
    page = Path("results/report/toy/cells/toys/one/toys+more--haze.html")
    assert "cells/toys/one/toys+more--haze.html" in pages[Path("results/report/toy/index.html")].links
    assert "1 of 2 datasets" in page.read_text(encoding="utf-8") and "0.650" in page.read_text(encoding="utf-8")


def test_scores_of_pictures_stand_in_the_order_of_the_heading(tree):
    columns = [column | {"metrics": ["lpips", "psnr"]} for column in reports.TABLE["columns"]]
    reports.dump("tables", "toys", reports.TABLE | {"columns": columns})
    site.write("config/toy.yaml")
    text = Path("results/report/toy/cells/toys/one/toys--haze.html").read_text(encoding="utf-8")
    heading = re.findall(r"<dt>(\w+)", text)
    scores = re.findall(r'<button type="button">(\w+)<', text)
    assert heading == ["LPIPS", "PSNR"] and scores[:3] == ["LPIPS", "PSNR", "SSIM"]
    under = re.findall(r'class="pairvalue">(\w+) ', text)
    assert under[:3] == ["LPIPS", "PSNR", "SSIM"]


def test_each_experiment_has_a_site_of_its_own(tree):
    site.write("config/toy.yaml")
    before = Path("results/report/toy/index.html").read_bytes()
    Path("config/other.yaml").write_text("title: Another\ntables: [toys]\n", encoding="utf-8")
    assert site.write("config/other.yaml") == Path("results/report/other.json")
    assert Path("results/report/toy/index.html").read_bytes() == before
    assert "Another" in Path("results/report/other/index.html").read_text(encoding="utf-8")
    assert lineage.read_card("results/report/other.json")["outputs"].keys() == {
        "results/report/other",
        "results/metrics/other",
    }
    assert not [
        line
        for line in lineage.verify("results/report/toy.json")
        if "results/report" in line or "results/metrics" in line
    ]
