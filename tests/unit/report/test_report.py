"""Tables, figures, pages and traces on a small but complete tree (tests/support/reports.py)."""

import csv
import html.parser
import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import PROJECT, reports

from mperceiver import config, images, lineage
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.files import sha256
from mperceiver.report import figures, grid, site, tables, trace
from mperceiver.report.columns.score import MEASURES
from mperceiver.report.figures import crops
from mperceiver.report.pending import pending
from mperceiver.report.site.index import figure_entry
from mperceiver.report.site.pictures import error_map
from mperceiver.report.tables import latex
from mperceiver.report.tables.ranks import places

GOLDEN_CSV = """\
block,group,method,dataset,task,metric,mean,sd,low,high,n,rank,protocol,reported,seen_in_training
,Reference,input,toys,haze,psnr,12.5,,12.0,13.0,2,2,rgb,,
,Reference,input,toys,haze,ssim,0.55,,0.5,0.6,2,3,rgb,,
,Reference,input,toys,haze,lpips,0.45,,0.4,0.5,2,2,rgb,,
,Reference,input,toys,rain,psnr,25.25,,25.0,25.5,2,1,rgb,,
,Reference,input,toys,rain,ssim,0.71,,0.7,0.72,2,3,rgb,,
,Reference,input,toys,rain,lpips,0.305,,0.3,0.31,2,3,rgb,,
,Reference,input,average,,psnr,18.875,,,,4,3,rgb,,
,Reference,input,average,,ssim,0.63,,,,4,3,rgb,,
,Reference,input,average,,lpips,0.3775,,,,4,3,rgb,,
"""
GOLDEN_TEX = r"""
One \& \textless{}only\textgreater{} & \textcolor{red}{20.00} & \textcolor{red}{0.810} & \textcolor{red}{0.210}
 & \textcolor{blue}{24.25} & \textcolor{blue}{0.720} & \textcolor{red}{0.110}
 & \textcolor{red}{22.13} & \textcolor{red}{0.765} & \textcolor{red}{0.160} \\
Two\_50\% & \textcolor{red}{20.00} & \textcolor{blue}{0.710} & \textcolor{red}{0.210}
 & 23.25 & \textcolor{red}{0.755} & \textcolor{blue}{0.205}
 & \textcolor{blue}{21.62} & \textcolor{blue}{0.732} & \textcolor{blue}{0.208} \\
\bottomrule
""".replace("\n &", " &")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lineage, "commit", lambda: reports.COMMIT)
    reports.build_world()
    return tmp_path


def cell(built: grid.FilledTable, method: str, task: str, metric: str) -> grid.Cell:
    (found,) = (
        cell for row, column, cell in built.filled() if (row.method, column.task, column.key) == (method, task, metric)
    )
    return found


# ---------------------------------------------------------------- tables


def test_csv_is_golden(tree):
    tables.write("toys")
    text = Path("results/tables/toys.csv").read_text()
    assert text.startswith(GOLDEN_CSV)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 4 * 9
    assert [r["rank"] for r in rows if r["method"] == "ceiling"] == [""] * 9  # it sees the ground truth


def test_tex_is_golden(tree):
    text = latex.to_tex(tables.build("toys"))
    assert GOLDEN_TEX.strip() in text
    assert text.startswith("% needs \\usepackage{booktabs,graphicx,xcolor}\n")
    assert r"\cmidrule(lr){2-4}\cmidrule(lr){5-7}\cmidrule(lr){8-10}" in text


def test_tables_are_the_same_bytes_each_time(tree):
    first = tables.write("toys").read_bytes()
    assert tables.write("toys").read_bytes() == first


def test_a_tie_is_what_prints_alike(tree):
    built = tables.build("toys")
    one, two, none = (cell(built, m, "haze", "psnr") for m in ("one", "two", "input"))
    assert one.mean != two.mean and one.text == two.text == "20.00"
    assert (one.rank, two.rank, none.rank) == (1, 1, 2)


@pytest.mark.parametrize(
    ("metric", "values", "ranks"),
    [
        ("psnr", [20.0, 30.0, 25.0], [3, 1, 2]),
        ("ssim", [0.7004, 0.6996, 0.71, None], [2, 2, 1, None]),
        ("lpips", [0.3, 0.1, 0.2, 0.1004], [3, 1, 2, 1]),
        ("niqe", [5.0, 4.0], [2, 1]),
        ("psnr", [float("inf"), 99.0], [1, 2]),
        ("psnr", [9.99, 10.0], [2, 1]),  # by value, not by spelling
        ("psnr", [None, None], [None, None]),
    ],
)
def test_ranks(metric, values, ranks):
    ranked = places(pd.Series(values, dtype=float), MEASURES[metric])
    assert [None if pd.isna(rank) else rank for rank in ranked] == ranks


def test_average_is_of_columns_not_pictures_and_needs_all(tree):
    built = tables.build("toys")
    assert cell(built, "input", None, "psnr").mean == pytest.approx((12.5 + 25.25) / 2)
    reports.score("one", scores={"haze": [(19.0, 0.8, None)], "rain": [(24.0, 0.71, 0.1)] * 5})
    built = tables.build("toys")
    assert cell(built, "one", None, "psnr").mean == pytest.approx(21.5)  # 1 picture and 5 weigh alike
    missing = cell(built, "one", None, "lpips")
    assert (missing.mean, missing.rank, missing.why) == (None, None, "1 of 2 columns")
    assert cell(built, "one", "haze", "lpips").why == "no LPIPS under rgb"


def test_missing_scores_say_why_and_are_not_ranked(tree):
    Path("results/scores/one/toys.json").unlink()
    built = tables.build("toys")
    gone = cell(built, "one", "haze", "psnr")
    assert (gone.mean, gone.rank, gone.why) == (None, None, "not run")
    assert cell(built, "two", "haze", "psnr").rank == 1
    assert built.progress == (6, 8)
    assert r"\textit{not run}" in latex.to_tex(built)
    assert "not run" in tables.to_html(built)
    line = next(r for r in csv.DictReader(io.StringIO(tables.to_csv(built))) if r["method"] == "one")
    assert (line["mean"], line["n"], line["rank"], line["protocol"]) == ("", "", "", "")


def test_a_task_the_dataset_does_not_have(tree):
    reports.score("two", scores={"haze": [(19.0, 0.8, 0.1)]})
    assert cell(tables.build("toys"), "two", "rain", "psnr").why == "no pictures of rain"


def test_nothing_run_yet_still_prints(tree):
    shutil.rmtree("results/scores")
    built = tables.build("toys")
    assert built.progress == (0, 8)
    assert built.protocols == {"rgb": "PSNR over RGB"}
    tables.write("toys")


def test_two_protocols_in_a_column_are_refused_by_name(tree):
    reports.score("two", protocol="y")
    with pytest.raises(tables.TableError, match=r"column Haze.*one.*rgb|column Haze.*rgb.*y") as error:
        tables.build("toys")
    assert "rgb (" in str(error.value) and "y (" in str(error.value) and "two" in str(error.value)


def test_one_protocol_edited_in_between_is_refused(tree):
    reports.dump("protocols", "rgb", {"title": "PSNR over RGB, border of 4", "border_px": 4})
    reports.score("two")
    with pytest.raises(tables.TableError, match="two protocols"):
        tables.build("toys")


def test_an_average_over_two_protocols_is_refused(tree):
    reports.dump("datasets", "toys-y", yaml_of("datasets", "toys") | {"protocol": "y"})
    for method in reports.METHODS:
        reports.score(method, dataset="toys-y", protocol="y")
    table = dict(reports.TABLE)
    table["columns"] = [table["columns"][0], {"dataset": "toys-y", "label": "Other", "metrics": ["psnr"]}]
    reports.dump("tables", "both", table)
    with pytest.raises(tables.TableError, match="column Average"):
        tables.build("both")
    reports.dump("tables", "both", table | {"average": "mixed"})
    built = tables.build("both")
    average = next(column for column in built.columns if column.average and column.key == "psnr")
    assert average.label == "Average (over protocols)" and built.cells[built.rows[0], average].protocol == "rgb + y"
    assert set(built.protocols) == {"rgb", "y"}
    reports.dump("tables", "both", table | {"average": False})
    built = tables.build("both")
    assert set(built.protocols) == {"rgb", "y"}
    both_tasks = built.cells[built.rows[0], built.columns[3]]
    assert (both_tasks.low, both_tasks.n) == (None, 4)  # the card has no interval of a mean over several tasks


def yaml_of(kind: str, name: str) -> dict:
    return config.load(kind, name).model_dump(mode="json", by_alias=True, exclude_defaults=True)


def test_hostile_titles_are_escaped(tree):
    text = tables.to_html(tables.build("toys"))
    assert "<only>" not in text and "One &amp; &lt;only&gt;" in text and "&lt;b&gt;tasks&lt;/b&gt;" in text
    tex = latex.tex("\\input{/etc/passwd} 100% $x_1^2$ #1 & ~ <a> \n [x] é 語 ≤ \x00")
    assert tex == (
        r"\textbackslash{}input\{/etc/passwd\} 100\% \$x\_1\textasciicircum{}2\$ \#1 \& \textasciitilde{} "
        r"\textless{}a\textgreater{} {[}x{]} é ? $\le$ ?"
    )


def test_tex_braces_balance_and_it_compiles(tree):
    text = latex.to_tex(tables.build("toys"))
    bare = re.sub(r"\\[{}\\]", "", text)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    for line in text.splitlines():  # all lines of a tabular have the same number of cells
        if line.endswith(r"\\") and "multicolumn" not in line:
            assert len(re.findall(r"(?<!\\)&", line)) == 9
    _compiles(text)


def _compiles(text: str) -> None:
    if not shutil.which("pdflatex"):  # CI has it
        return
    packages = re.search(r"\\usepackage\{[^}]*\}", text)[0]
    Path("t.tex").write_text(rf"\documentclass{{article}}{packages}\begin{{document}}{text}\end{{document}}")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_blocks_stand_side_by_side_in_latex(tree):
    table = dict(reports.TABLE) | {"average": False}
    part = {"rows": table.pop("rows"), "columns": table.pop("columns")[:1]}
    for count, lines in ((1, [1]), (2, [2]), (3, [3]), (4, [2, 2]), (5, [3, 2]), (9, [3, 3, 3])):
        reports.dump("tables", "blocks", table | {"blocks": [part | {"title": f"Part {i}"} for i in range(count)]})
        text = latex.to_tex(tables.build("blocks"))
        assert [line.count(r"\toprule") for line in text.split(latex.NO_WIDER)[1:]] == lines
    _compiles(text)


def test_a_long_name_takes_two_lines_in_latex(tree):
    title = "Ground truth through the VAE & back, of a foundation"
    reports.dump("methods", "ceiling", reports.METHODS["ceiling"] | {"title": title})
    text = latex.to_tex(tables.build("toys"))
    assert (
        r"\begin{tabular}[t]{@{}l@{}}Ground truth through the VAE \&\\back, of a foundation $\ddagger$\end{tabular} & "
        in text
    )
    _compiles(text)


def test_wide_tables_break_into_blocks(tree):
    table = dict(reports.TABLE)
    table["columns"] = [{**table["columns"][0], "label": f"Haze {i}"} for i in range(7)]
    reports.dump("tables", "wide", table)
    text = latex.to_tex(tables.build("wide"))
    assert text.count(r"\begin{tabular}") == 2 and text.count(r"\midrule") == 4


PAPER = """\
table,task,dataset,method_type,method,metric,value,higher_is_better
1,dehazing,Average,all-in-one,Ours,PSNR,21.00,true
1,dehazing,Average,task-specific,Theirs,PSNR,99.00,true
1,dehazing,Average,task-specific,Theirs,SSIM,,true
1,deraining,Toys,task-specific,Theirs,PSNR,31.5,true
"""


@pytest.fixture
def paper(tree):
    """A table of two blocks with the paper's numbers: the first over two datasets, the second over one task."""
    Path("config/reported").mkdir()
    Path(config.REPORTED).write_text(PAPER)
    reports.dump("methods", "one", reports.METHODS["one"] | {"reported": "Ours"})
    reports.dump("methods", "theirs", {"title": "Theirs", "kind": "reported", "reported": "Theirs"})
    reports.dump("datasets", "more", yaml_of("datasets", "toys"))
    reports.score("one", dataset="more", scores={"haze": [(10.0, 0.5, 0.4)], "rain": [(12.0, 0.6, 0.5)]})
    rows = [{"title": "Task-specific", "methods": ["theirs"]}, {"title": "All-in-one", "methods": ["two", "one"]}]
    where = {"table": 1, "task": "dehazing", "dataset": "Average"}
    first = {
        "dataset": ["toys", "more"],
        "task": "haze",
        "label": "Both",
        "metrics": ["psnr", "ssim"],
        "reported": where,
    }
    second = {"dataset": "toys", "task": "rain", "label": "Rain", "metrics": ["psnr"]}
    second["reported"] = {"table": 1, "task": "deraining", "dataset": "Toys"}
    blocks = [{"title": "(a)", "rows": rows, "columns": [first]}, {"title": "(b)", "rows": rows, "columns": [second]}]
    reports.dump("tables", "paper", {"title": "Paper", "caption": "Caption.", "blocks": blocks})
    Path("config/toy.yaml").write_text("title: Of the paper\ntables: [paper]\n")
    return tree


def test_a_column_over_datasets_is_the_mean_of_their_means(paper):
    built = tables.build("paper")
    assert cell(built, "one", "haze", "psnr").mean == pytest.approx((20.004 + 10) / 2)
    assert cell(built, "one", "haze", "psnr").n == 3
    assert (cell(built, "two", "haze", "psnr").mean, cell(built, "two", "haze", "psnr").why) == (
        None,
        "1 of 2 datasets",
    )
    wanted = {(method, dataset) for method in ("two", "one") for dataset in ("toys", "more")}
    assert set(config.cells(config.load("tables", "paper"))) == wanted


def test_the_papers_numbers_stand_beside_and_are_never_ranked(paper):
    built = tables.build("paper")
    ours, theirs = cell(built, "one", "haze", "psnr"), cell(built, "theirs", "haze", "psnr")
    assert ours.reported == 21.0 and ours.difference == pytest.approx(15.002 - 21) and ours.rank == 1
    assert (theirs.mean, theirs.reported, theirs.rank, theirs.n) == (None, 99.0, None, 0)
    assert cell(built, "theirs", "haze", "ssim").why == "not reported"
    assert cell(built, "two", "haze", "psnr").reported is None
    assert built.progress == (3, 4)  # a reported row is nothing to run


def test_the_papers_number_of_an_average(paper):
    table = yaml_of("tables", "paper")
    columns = [table["blocks"][1]["columns"][0]]
    reports.dump("methods", "one", reports.METHODS["one"] | {"reported": ["Other", "Ours"]})
    where = {"table": 1, "task": "dehazing", "dataset": "Average"}
    rows = [{"title": "All", "methods": ["one", "theirs"]}]
    reports.dump(
        "tables",
        "mean",
        {"title": "", "caption": "", "rows": rows, "columns": columns, "average": True, "average_reported": where},
    )
    built = tables.build("mean")
    mean = cell(built, "one", None, "psnr")
    assert (mean.mean, mean.reported) == (24.25, 21.0)
    assert (cell(built, "theirs", None, "psnr").reported, cell(built, "theirs", None, "psnr").why) == (99.0, "")


def test_blocks_and_the_papers_numbers_in_print(paper):
    tables.write("paper")
    rows = list(csv.DictReader(io.StringIO(Path("results/tables/paper.csv").read_text())))
    assert [r["block"] for r in rows] == ["(a)"] * 6 + ["(b)"] * 3
    assert next(r for r in rows if r["method"] == "one")["reported"] == "21.0"
    text = Path("results/tables/paper.tex").read_text()
    assert text.count(r"\begin{tabular}") == 2 and r"\textcolor{red}{15.00} (21.00)" in text
    assert "Theirs $\\dagger$ & 99.00 & -- \\\\" in text
    page = Path("results/tables/paper.html").read_text()
    assert page.count("<table") == 2 and "−6.00" in page and "<caption>(a)</caption>" in page
    assert "as the paper reports it" in page
    assert "config/reported/cvpr2024.csv" in lineage.read_card("results/tables/paper.json")["inputs"]
    written()
    assert "the mean of their means" in Path("results/report/cells/paper/one/toys+more--haze.html").read_text()
    lines = trace.trace("paper", "one", "more", "haze").chain.lines()
    assert "PSNR 15.00" in lines[0] and any("results/scores/one/more.json" in line for line in lines)


# ---------------------------------------------------------------- figures


@pytest.mark.parametrize(
    ("name", "kinds"), [("side-by-side", ["png"]), ("bars", ["png", "svg"]), ("curves", ["png", "svg"])]
)
def test_figures_are_the_same_bytes_each_time(tree, name, kinds):
    files = [Path(f"results/figures/{name}.{kind}") for kind in kinds]
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
    found = [
        (y, x)
        for y in range(0, drawn.shape[0] - height)
        for x in (44 + crops.CELL_PX + figures.comparison.GAP_PX,)
        if (drawn[y : y + height, x : x + width] == restored).all()
    ]
    assert len(found) == 1


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


@pytest.fixture
def kinds(tree):
    """What the kinds of figures need that are of MPerceiver alone: prompt pools, probabilities, samplers of several steps."""
    import numpy as np
    from safetensors.numpy import save_file

    phases = [{"batch": 1, "crop_px": 8}]
    stage = {"steps": 4, "phases": phases}
    run = {"title": "p", "foundation": "toy", "train": ["toys"], "tasks": ["haze", "rain"], "branches": stage}
    reports.dump("runs", "prompted", run)
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 5, (2, 2, 1, 6))
    pools = {
        "ir_adapter.vp_pool": centres + rng.normal(size=(2, 2, 8, 6)),
        "textual.tp_pool": rng.normal(size=(2, 4, 6)),
    }
    Path("results/runs/prompted").mkdir(parents=True)
    save_file(pools, "results/runs/prompted/branches.safetensors")
    reports.card("results/runs/prompted/branches.json", "train_branches")
    lines = ["id,task,haze,rain", "haze-0,haze,0.9,0.1", "haze-1,haze,0.7,0.3", "rain-0,rain,0.25,0.75"]
    Path("results/restored/one/toys/probabilities.csv").write_text("\n".join(lines) + "\n")
    for method, steps in (("one", 50), ("two", 4)):
        reports.dump("methods", method, reports.METHODS[method] | {"sampler": {"steps": steps}})
        Path(f"results/benchmarks/restore/{method}").mkdir(parents=True)
        Path(f"results/benchmarks/restore/{method}/toys.tsv").write_text(f"s\th:m:s\n{steps}\t0\n")
    figure = {"title": "Figure", "caption": "Caption."}
    columns = [{**column, "metrics": ["psnr"]} for column in reports.TABLE["columns"]]
    reports.dump("figures", "prompts", figure | {"kind": "prompts", "runs": ["prompted"]})
    reports.dump("figures", "probabilities", figure | {"kind": "probabilities", "methods": ["one"], "columns": columns})
    reports.dump("figures", "tradeoff", figure | {"kind": "tradeoff", "methods": ["one", "two"], "columns": columns})
    return tree


@pytest.mark.parametrize("name", ["prompts", "probabilities", "tradeoff"])
def test_figures_of_the_method_are_the_same_bytes_each_time(kinds, name):
    card = figures.write(name)
    before = [Path(f"results/figures/{name}.{kind}").read_bytes() for kind in ("png", "svg", "json")]
    figures.write(name)
    assert [Path(f"results/figures/{name}.{kind}").read_bytes() for kind in ("png", "svg", "json")] == before
    told = lineage.read_card(card)
    wanted = {"prompts": "results/runs/prompted/branches.json", "probabilities": "results/restored/one/toys.json"}
    assert wanted.get(name, "results/scores/two/toys.json") in told["inputs"]
    assert set(config.figure_inputs(name)) <= {*told["inputs"], "config/reported/cvpr2024.csv"}


def test_what_the_methods_figures_show(kinds):
    result = lineage.read_card(figures.write("probabilities"))["result"]
    assert result == {"Haze": [0.8, 0.2], "Rain": [0.25, 0.75]}
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
    with pytest.raises(figures.FigureError, match="out of a picture of 32x24"):
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


# ---------------------------------------------------------------- trace


def test_trace_of_a_cell_names_every_level(tree):
    tables.write("toys")
    lines = trace.trace("toys", "one", "toys", "haze").chain.lines()
    text = "\n".join(lines)
    assert "PSNR 20.00 [19.00, 21.01]" in lines[0] and "n 2" in lines[0] and "protocol rgb" in lines[0]
    levels = {
        "table": "results/tables/toys.json",
        "score": "results/scores/one/toys.json",
        "restore": "results/restored/one/toys.json",
        "train_network": "results/runs/one/network.json",
        "prepare": "data/prepared/toys.json",
        "download": "data/raw/clean.json",
        "source": "package:skimage/data/a.png",
    }
    depth = 0
    for kind, name in levels.items():
        (line,) = [
            x for x in lines if f"{kind} " in x and name in x and "told above" not in x and " made " + name not in x
        ]
        deeper = len(re.match(r"[│├└─ ]*", line)[0])
        assert deeper > depth
        depth = deeper
        digest = "abababababab" if kind == "source" else sha256(name)[:12]
        assert digest in line
        assert kind == "source" or f"commit {reports.COMMIT[0][:12]}" in line
    assert "/two" not in text  # of the table only this cell's part


def test_trace_of_files_and_cards(tree):
    tables.write("toys")
    for target in (
        "results/restored/one/toys/haze-0.png",
        "results/restored/one/toys",
        "results/restored/one/toys.json",
    ):
        assert trace.trace(target).chain.name == "results/restored/one/toys.json"
    assert trace.trace("toys").chain.kind == "table"
    assert trace.trace("results/tables/toys.tex").chain.name == "results/tables/toys.json"
    many = trace.trace("toys", "one", "toys").chain
    assert [c.name for c in many.children if c.kind == "value"] == ["haze", "rain"]
    with pytest.raises(lineage.LineageError, match="nothing: neither"):
        trace.trace("nothing")
    with pytest.raises(tables.TableError, match=r"no cell for method one, dataset other.*toys --task haze"):
        trace.trace("toys", "one", "other")


def test_trace_of_a_cell_that_has_not_been_run(tree):
    shutil.rmtree("results/scores")
    text = "\n".join(trace.trace("toys", "one", "toys", "haze").chain.lines())
    assert "PSNR not run" in text and "next: snakemake results/scores/one/toys.json" in text


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("results/scores/one/toys.csv", "output results/scores/one/toys.csv was"),
        ("results/restored/one/toys/rain-1.png", "output results/restored/one/toys/rain-1.png was"),
        ("results/runs/one/network.safetensors", "output results/runs/one/network.safetensors was"),
        ("data/raw/clean/a.png", "output data/raw/clean was"),
        ("results/tables/toys.tex", "results/tables/toys.tex"),
    ],
)
def test_verify_finds_a_changed_byte(tree, path, problem):
    tables.write("toys")
    assert trace.trace("toys", "one", "toys", "haze", verify=True).problems == []
    data = bytearray(Path(path).read_bytes())
    data[len(data) // 2] ^= 1
    Path(path).write_bytes(data)
    problems = trace.trace("toys", "one", "toys", "haze", verify=True).problems
    assert len(problems) == 1 and problem in problems[0]
    assert trace.trace("toys", "one", "toys", "haze").problems == []


def test_a_chain_is_plain_text_without_a_terminal(tree, capsys):
    from rich.console import Console

    tables.write("toys")
    chain = trace.trace("toys", "one", "toys", "haze").chain
    Console(soft_wrap=True).print(chain)
    plain = capsys.readouterr().out
    assert plain.splitlines() == chain.lines()  # not wrapped: a path stays in one piece
    Console(soft_wrap=True, force_terminal=True, width=60).print(chain)
    shown = capsys.readouterr().out
    assert "\x1b" in shown and "\x1b" not in plain
    bare = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert max(map(len, bare.splitlines())) <= 60
    assert "abababababab" in bare  # nothing is cut off


# ---------------------------------------------------------------- pages


class Links(html.parser.HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.links, self.ids, self.images, self.heads = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.links += [values[key] for key in ("href", "src") if values.get(key)]
        self.ids += [values["id"]] if "id" in values else []
        self.images += [values] if tag == "img" else []
        self.heads += [values] if tag == "th" else []


def written() -> dict[Path, Links]:
    site.write("config/toy.yaml")
    return {page: Links(page.read_text()) for page in Path("results/report").rglob("*.html")}


def test_pages_hold_together_offline(tree):
    tables.write("toys")
    for name in ("side-by-side", "bars", "curves"):
        figures.write(name)
    pages = written()
    assert len([page for page in pages if "cells" in page.parts]) == 8
    root = Path("results/report").resolve()
    for page, found in pages.items():
        assert len(found.ids) == len(set(found.ids)), page
        assert all(image.get("alt") and image.get("loading") == "lazy" for image in found.images), page
        assert all(head.get("scope") for head in found.heads) or "files" in page.parts, page
        for link in found.links:
            if link == "data:,":
                continue
            assert not re.match(r"[a-z]+:|//", link), f"{page}: {link} leaves the page"
            file, _, anchor = link.partition("#")
            target = (page.parent / file).resolve() if file else page.resolve()
            assert target.is_file() and target.is_relative_to(root), f"{page}: {link}"
            if anchor:
                assert anchor in Links(target.read_text()).ids, f"{page}: {link}"
    index = Path("results/report/index.html")
    assert index.stat().st_size < 1_000_000
    text = index.read_text()
    assert "An &lt;experiment&gt; &amp; more" in text and "<only>" not in text
    assert "PSNR over RGB." in text and reports.COMMIT[0][:12] in text
    script = (root / "site.js").read_text()
    assert len(script.splitlines()) <= 300 and "http" not in script


def test_cell_pages_tell_where_numbers_come_from(tree):
    tables.write("toys")
    site.write("config/toy.yaml")
    text = Path("results/report/cells/toys/one/toys--haze.html").read_text()
    assert "mperceiver trace toys --method one --dataset toys --task haze" in text
    for name in (
        "results/restored/one/toys.json",
        "results/runs/one/network.json",
        "data/raw/clean.json",
        "package:skimage/data/a.png",
    ):
        assert name in text
    assert "2 of 2 pictures have a higher PSNR than their input" in text
    assert text.count('type="range"') == 2 and "rain-0" not in re.sub(r"(?s)<details>.*?</details>", "", text)


def test_pages_show_progress_and_are_the_same_bytes_each_time(tree):
    for file in Path("results/scores").rglob("two/*"):
        file.unlink()
    first = lineage.read_card(site.write("config/toy.yaml"))
    text = Path("results/report/index.html").read_text()
    assert "6 of 8 cells" in text and "Not drawn yet" in text and "not run" in text
    assert first["result"] == {"cells": 8, "run": 6}
    assert lineage.read_card(site.write("config/toy.yaml")) == first
    shutil.rmtree("data/prepared")
    site.write("config/toy.yaml")
    assert "The pictures are not here" in Path("results/report/cells/toys/one/toys--haze.html").read_text()


def test_pages_speak_of_a_toy_only_where_there_is_one(tree):
    shutil.copy(PROJECT / "config/foundations/mini.yaml", "config/foundations/toy.yaml")
    site.write("config/toy.yaml")
    assert "A toy." in Path("results/report/index.html").read_text()
    reports.dump("foundations", "toy", {"title": "Stable Diffusion", "licence": "none"})
    site.write("config/toy.yaml")
    assert "A toy." not in Path("results/report/index.html").read_text()


# ---------------------------------------------------------------- weight


def test_tables_do_not_import_torch():
    code = "import sys, mperceiver.report.tables; from mperceiver.report.rendering import environment; environment(); sys.exit('torch' in sys.modules)"
    import sys

    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT).returncode == 0


def test_a_difference_map_is_black_where_nothing_differs_and_white_from_its_scale_on():
    import numpy as np

    target = np.full((1, 4, 3), 100, np.uint8)
    restored = target.copy()
    restored[0, 1] = (104, 96, 108)
    restored[0, 2] = 36
    restored[0, 3] = 255
    found = error_map(restored, target)
    assert found[0, 0].max() < 5 and (found[0, 2] == 255).all() and (found[0, 3] == 255).all()
    assert (error_map(target, restored) == found).all()  # no wrap-around of 8 bit, either way
    steps = [error_map(target + np.uint8(error), target)[0, 0].astype(float) @ (0.3, 0.59, 0.11) for error in range(65)]
    assert steps == sorted(steps)  # and lighter with every step between


def test_cell_pages_name_the_input_and_the_ceiling(tree):
    site.write("config/toy.yaml")
    page = Path("results/report/cells/toys/one/toys--haze.html")
    line = page.read_text().partition('class="references"')[2].partition("</table>")[0]
    assert "Degraded input" in line and "12.50" in line
    assert "Ground truth through the VAE" in line and "30.50" in line
    assert {"results/scores/input/toys.json", "results/scores/ceiling/toys.json"} <= set(
        lineage.read_card("results/report.json")["inputs"]
    )
    own = Path("results/report/cells/toys/input/toys--haze.html").read_text().partition('class="references"')[2]
    assert "Degraded input" not in own.partition("</table>")[0]
    reports.dump("protocols", "rgb", {"title": "PSNR over RGB, border of 4", "border_px": 4})
    reports.score("ceiling")
    reports.dump("tables", "toys", reports.TABLE | {"rows": [{"title": "", "methods": ["one"]}]})
    site.write("config/toy.yaml")
    line = page.read_text().partition('class="references"')[2].partition("</table>")[0]
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
        page = Path(f"results/report/cells/toys/{method}/toys--haze.html").read_text()
        line = page.partition('class="references"')[2].partition("</table>")[0]
        assert all(name in line for name in named) and "DRM of other" not in line


@pytest.fixture
def seeds(tree):
    """`both`, the mean of the runs `one` and `three`, in a table; `three` is no row of it."""
    reports.build_blocks()
    rows = [{"title": "Runs", "methods": ["input", "two", "both"]}]
    reports.dump("tables", "toys", reports.TABLE | {"rows": rows})
    return tree


def test_a_mean_of_runs_has_their_standard_deviation(seeds):
    built = tables.build("toys")
    haze, average = cell(built, "both", "haze", "psnr"), cell(built, "both", None, "psnr")
    assert (haze.mean, haze.sd, haze.n) == (pytest.approx((20.004 + 22) / 2), pytest.approx(1.996 / 2**0.5), 2)
    assert (haze.low, haze.high, haze.rank) == (None, None, 1)
    means = (20.004 + 24.25) / 2, (22 + 20.25) / 2  # each run's own average over the columns
    assert average.sd == pytest.approx(abs(means[0] - means[1]) / 2**0.5)
    assert set(config.cells(config.load("tables", "toys"))) == {(m, "toys") for m in ("input", "two", "one", "three")}
    assert {f"config/methods/{m}.yaml" for m in ("both", "one", "three")} <= set(config.table_inputs("toys"))
    row = next(r for r in csv.DictReader(io.StringIO(tables.to_csv(built))) if r["method"] == "both")
    assert float(row["sd"]) == haze.sd and row["low"] == ""
    assert r"\textcolor{red}{21.00}\,$\pm$\,1.41" in latex.to_tex(built)
    assert "± 1.41" in tables.to_html(built) and "standard deviation over several runs" in tables.to_html(built)
    Path("results/scores/three/toys.json").unlink()
    built = tables.build("toys")
    assert cell(built, "both", "haze", "psnr").why == cell(built, "both", None, "psnr").why == "1 of 2 runs"
    assert built.progress == (4, 6)


def test_pages_and_traces_of_a_mean_of_runs(seeds):
    tables.write("toys")
    pages = written()
    page = Path("results/report/cells/toys/both/toys--haze.html")
    assert {"../one/toys--haze.html", "../three/toys--haze.html"} <= set(pages[page].links)
    text = page.read_text()
    assert "± 1.41" in text and "20.00" in text and "22.00" in text and "Degraded input" in text
    run = page.parent.parent / "three/toys--haze.html"
    assert "../both/toys--haze.html" in pages[run].links and "results/restored/one/toys.json" not in run.read_text()
    lines = trace.trace("toys", "both", "toys", "haze").chain.lines()
    for run in ("one", "three"):
        assert any(f"results/scores/{run}/toys.json" in line for line in lines)
    alone = trace.trace("toys", "three", "toys", "haze", verify=True)
    assert "PSNR 22.00" in alone.chain.lines()[0] and alone.problems == []
    Path("results/scores/three/toys.csv").write_text("changed")
    assert trace.trace("toys", "both", "toys", "haze", verify=True).problems


@pytest.mark.parametrize(
    ("methods", "message"),
    [(["one"], "two or more"), (["one", "one"], "each named once"), (["one", "both"], "kind mean"), ([], "kind mean")],
)
def test_a_mean_is_over_methods_with_scores(seeds, methods, message):
    reports.dump("methods", "both", {"title": "Both", "kind": "mean", "methods": methods})
    with pytest.raises(config.ConfigError, match=message):
        tables.build("toys")


def test_a_mean_restores_nothing_itself(seeds):
    with pytest.raises(config.ConfigError, match="both.yaml: a method of kind mean restores nothing itself"):
        config.restore_inputs("both", "toys")


def test_figures_of_a_mean_of_runs(seeds):
    figure = yaml_of("figures", "bars") | {"methods": ["input", "both"]}
    reports.dump("figures", "bars", figure)
    told = lineage.read_card(figures.write("bars"))["inputs"]
    assert {"results/scores/one/toys.json", "results/scores/three/toys.json"} <= set(told)
    assert set(config.figure_inputs("bars")) <= set(told)
    reports.dump("figures", "side-by-side", yaml_of("figures", "side-by-side") | {"methods": ["both"]})
    with pytest.raises(figures.FigureError, match="both is a mean over methods"):
        figures.write("side-by-side")


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
    assert one.waits_for[0] == "the pictures of toys, which a person has to bring"
    assert one.commands == ["mperceiver doctor clean", "snakemake --cores all results/scores/two/toys.json"]
    assert cell(tables.build("toys"), "two", "haze", "psnr").why == "data by hand"
    site.write("config/toy.yaml")
    text = Path("results/report/index.html").read_text()
    assert (
        "<b>Two_50%</b> on Haze; Rain. Waits for the pictures of toys, which a person has to bring, the training"
        in text
    )


def test_every_kind_of_figure_has_its_place_on_the_index(kinds):
    names = ["side-by-side", "bars", "curves", "prompts", "probabilities", "tradeoff"]
    reports.dump(".", "toy", {"title": "Figures", "tables": ["toys"], "figures": names})
    assert {config.load("figures", name).kind for name in names} == set(figures.KINDS)
    for name in names[:-1]:
        figures.write(name)
    written()
    text = Path("results/report/index.html").read_text()
    assert text.count('<section class="figure"') == 6 and text.count("Not drawn yet") == 1


def test_an_index_of_nothing_yet(tree):
    shutil.rmtree("results")
    pages = written()
    assert len(pages) == 1  # the index alone
    text = Path("results/report/index.html").read_text()
    assert (
        "0 of 8 cells" in text
        and text.count("<li><b>") == 4
        and "snakemake --cores all results/tables/toys.json" in text
    )


@pytest.mark.parametrize("kind", figures.KINDS)
def test_every_kind_of_figure_stands_on_the_page(tree, kind):
    """Also one that is not drawn yet."""
    reports.dump("figures", "other", {"title": "Other", "caption": "Another.", "kind": kind})
    entry = figure_entry(None, "other")
    assert entry["files"] == [] and entry["alt"].startswith("Other. ") and len(entry["alt"]) > 20


# ---------------------------------------------------------------- what was trained on


def _sources(dataset: str, sources: list[str]) -> None:
    """Write the prepared pairs of `toys` as a dataset of that name, made of files with these digests."""
    import pyarrow as pa

    with pa.memory_map("data/prepared/toys.arrow") as file:
        table = pa.ipc.open_file(file).read_all()
        told = table.set_column(table.schema.get_field_index("source"), "source", pa.array(sources))
        path = Path(f"data/prepared/{dataset}.arrow")
        with pa.OSFile(f"{path}.new", "wb") as out, pa.ipc.new_file(out, told.schema) as writer:
            writer.write_table(told)
    Path(f"{path}.new").replace(path)


def test_pictures_that_were_trained_on_are_told(tree):
    """Of the test set's four pictures the run `one` has one's degraded and another's clean file in its training sets."""
    a, b, c, d, e = (letter * 64 for letter in "abcde")
    _sources("toys", [f"{a} {b}", c, d, ""])  # haze-0, haze-1, rain-0, rain-1
    _sources("more", [e, e, e, f"{c} {e}"])
    _sources("others", [f"{e} {b}", e, "", ""])
    for run, train in (("one", ["others", "more", "gone"]), ("two", ["others"])):
        yaml_run = config.load("runs", run).model_dump(mode="json", exclude_defaults=True)
        reports.dump("runs", run, yaml_run | {"train": train})
    built = tables.build("toys")
    assert [cell(built, m, "haze", "psnr").trained_on for m in ("input", "ceiling", "one", "two")] == [0, 0, 2, 1]
    assert [cell(built, m, "rain", "psnr").trained_on for m in ("one", "two")] == [0, 0]
    assert cell(built, "one", None, "psnr").trained_on == 2  # the average stands on it
    assert built.trained_on == ["One & <only> on toys: 1 in others, 1 in more", "Two_50% on toys: 1 in others"]
    assert tables.to_csv(built).count(",2\n") == 3 + 3 and tables.to_csv(built).count(",1\n") == 3 + 3
    assert r"\,\S" in latex.to_tex(built) and r"\S: some of its pictures were trained on" in latex.to_tex(built)
    assert "some of its pictures were trained on: One &amp; &lt;only&gt; on toys: 1 in others, 1 in more" in (
        tables.to_html(built)
    )
    site.write("config/toy.yaml")
    page = Path("results/report/cells/toys/one/toys--haze.html").read_text()
    assert "§ 2 pictures were trained on" in page and "Not here to be compared: gone." in page
    page = Path("results/report/cells/toys/two/toys--rain.html").read_text()
    assert "No picture was trained on: compared with others by the hashes" in page
    assert "trained on" not in Path("results/report/cells/toys/input/toys--rain.html").read_text()


def test_what_started_a_run_was_learned_from_too(tree):
    network = config.load("runs", "two").model_dump(mode="json", exclude_defaults=True)
    reports.dump("runs", "two", network | {"train": ["more"], "start_from": "one"})
    assert config.learned_from("two") == ["more", "toys"]
    assert config.learned_from("input") == [] and config.learned_from("ceiling") == []


# ---------------------------------------------------------------- protocols beside columns


def test_columns_say_how_they_are_scored_and_how_sure_that_is(tree):
    assert 'class="by"' not in tables.to_html(tables.build("toys"))  # one protocol: told once, under the table
    reports.dump("datasets", "lumas", yaml_of("datasets", "toys") | {"protocol": "y"})
    reports.score("one", dataset="lumas", protocol="y")
    columns = [
        {
            "dataset": "toys",
            "task": "haze",
            "label": "Colours",
            "metrics": ["psnr", "ssim"],
            "scored": "high: it was told",
        },
        {"dataset": "lumas", "task": "haze", "label": "Luma", "metrics": ["psnr"], "scored": "low: by ear & <eye>"},
        {"dataset": "toys", "task": "rain", "label": "Rain", "metrics": ["psnr"], "scored": "high: it was told"},
    ]
    rows = [{"title": "All", "methods": ["one", "two"]}]
    reports.dump("tables", "both", {"title": "Both", "caption": "Caption.", "rows": rows, "columns": columns})
    built = tables.build("both")
    assert [(name, of) for name, _, of in built.scored_by()] == [("rgb", ["Colours", "Rain"]), ("y", ["Luma"])]
    assert built.certainty() == [("Colours, Rain", "high: it was told"), ("Luma", "low: by ear & <eye>")]
    page = tables.to_html(built)
    assert re.findall(r'class="by"[^>]*>(\w+)<', page) == ["rgb", "y", "rgb"]
    assert "<b>Protocol y</b> for Luma. PSNR on Y." in page and "<b>Luma</b>: low: by ear &amp; &lt;eye&gt;." in page
    text = latex.to_tex(built)
    assert "rgb: Colours, Rain; y: Luma" in text


def test_an_average_has_no_protocol_of_its_own_in_its_heading(tree):
    built = tables.build("toys")
    assert [built.protocol(column) for column in built.columns] == ["rgb"] * 6 + [""] * 3
