"""Tables: means, ranks, reasons, protocols, the paper's numbers, and the CSV."""

import csv
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from support import PROJECT, reports
from support.printed import cell, written, yaml_of

from mperceiver import config, files, lineage
from mperceiver.report import grid, scores, tables, trace
from mperceiver.report.columns.score import MEASURES
from mperceiver.report.tables import latex
from mperceiver.report.tables.ranks import places
from mperceiver.report.terminal import terminal_tables

GOLDEN_CSV = """\
block,group,method,dataset,task,metric,mean,sd,low,high,n,rank,protocol,reported,reported_mean,doubt,source,seen_in_training,not_compared
,Reference,input,toys,haze,psnr,12.5,,12.0,13.0,2,,rgb,,,,,,
,Reference,input,toys,haze,ssim,0.55,,0.5,0.6,2,,rgb,,,,,,
,Reference,input,toys,haze,lpips,0.45,,0.4,0.5,2,,rgb,,,,,,
,Reference,input,toys,rain,psnr,25.25,,25.0,25.5,2,,rgb,,,,,,
,Reference,input,toys,rain,ssim,0.71,,0.7,0.72,2,,rgb,,,,,,
,Reference,input,toys,rain,lpips,0.305,,0.3,0.31,2,,rgb,,,,,,
,Reference,input,average,,psnr,18.875,,,,4,,rgb,,,,,,
,Reference,input,average,,ssim,0.63,,,,4,,rgb,,,,,,
,Reference,input,average,,lpips,0.3775,,,,4,,rgb,,,,,,
"""


def test_csv_is_golden(tree):
    tables.write("toys")
    text = Path("results/tables/toys.csv").read_text(encoding="utf-8")
    assert text.startswith(GOLDEN_CSV)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 4 * 9
    assert [r["rank"] for r in rows if r["method"] == "ceiling"] == [""] * 9  # it sees the ground truth
    assert [r["rank"] for r in rows if r["method"] == "input"] == [""] * 9  # it is no method


def test_the_card_of_scores_is_read_once(tree, monkeypatch):
    read, read_card = [], lineage.read_card
    monkeypatch.setattr(lineage, "read_card", lambda path: read.append(str(path)) or read_card(path))
    tables.build("toys")
    assert sorted(read) == [f"results/scores/{method}/toys.json" for method in ("ceiling", "input", "one", "two")]


def test_tables_are_the_same_bytes_each_time(tree):
    first = tables.write("toys").read_bytes()
    assert tables.write("toys").read_bytes() == first


def test_on_a_terminal_the_first_metric_of_each_column_and_all_averages(tree):
    (drawn,) = terminal_tables("toys", 200)
    text = io.StringIO()
    Console(file=text, width=200).print(drawn)
    lines = [line.split() for line in text.getvalue().splitlines()]
    assert ["PSNR", "↑", "PSNR", "↑", "PSNR", "↑", "SSIM", "↑", "LPIPS", "↓"] in lines
    assert any(line[-5:] == ["12.50", "25.25", "18.88", "0.630", "0.378"] for line in lines), text.getvalue()
    (narrow,) = terminal_tables("toys", 72)
    assert len(narrow.columns) == 4  # the titles and the three averages


def test_a_tie_is_what_prints_alike(tree):
    built = tables.build("toys")
    one, two, none = (cell(built, m, "haze", "psnr") for m in ("one", "two", "input"))
    assert one.mean != two.mean and one.text == two.text == "20.00"
    assert (one.rank, two.rank, none.rank) == (1, 1, None)


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
    assert cell(built, "one", "haze", "lpips").why == "not computable"  # the protocol asks for it


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
    with pytest.raises(grid.TableError, match=r"column Haze.*one.*rgb|column Haze.*rgb.*y") as error:
        tables.build("toys")
    assert "rgb (" in str(error.value) and "y (" in str(error.value) and "two" in str(error.value)


def test_one_protocol_edited_in_between_is_refused(tree):
    reports.dump("protocols", "rgb", {"title": "PSNR over RGB, border of 4", "border_px": 4})
    reports.score("two")
    with pytest.raises(grid.TableError, match="two protocols"):
        tables.build("toys")


def test_two_states_of_a_dataset_in_a_column_are_refused_by_name(tree):
    reports.card("data/prepared/toys.json", "prepare", outputs=["data/prepared/toys.arrow"], result={"seed": 2})
    reports.score("two")
    with pytest.raises(grid.TableError, match=r"table toys, column Haze .*two states of toys") as error:
        tables.build("toys")
    words = ("results/scores/input/toys.json", "results/scores/two/toys.json", "mperceiver score two toys")
    assert all(word in str(error.value) for word in words)
    for method in reports.METHODS:
        reports.score(method)
    tables.build("toys")


def test_runs_of_a_mean_on_two_states_of_a_dataset_are_refused(seeds):
    reports.card("data/prepared/toys.json", "prepare", outputs=["data/prepared/toys.arrow"], result={"seed": 2})
    for method in ("input", "two", "one"):
        reports.score(method)
    with pytest.raises(grid.TableError, match=r"results/scores/three/toys\.json"):
        tables.build("toys")


@pytest.mark.parametrize("told", [True, False])
def test_a_mean_over_tasks_says_how_many_pictures_it_is_over(tree, told):
    """LPIPS is None of pictures that are too small; a card from before `counts` tells it of each task."""
    path = Path("results/scores/one/toys.json")
    card = lineage.read_card(path)
    for task, n in (("haze", 1), ("rain", 2)):
        card["result"]["tasks"][task]["lpips"] |= {"n": n}
    if told:
        card["result"]["counts"] = {"psnr": 4, "ssim": 4, "lpips": 3}
    files.write_json(path, card)
    column = {"dataset": "toys", "label": "All", "metrics": ["psnr", "lpips"]}
    reports.dump("tables", "toys", reports.TABLE | {"columns": [column], "average": False})
    built = tables.build("toys")
    assert (cell(built, "one", None, "psnr").n, cell(built, "one", None, "lpips").n) == (4, 3)


def test_an_average_over_two_protocols_is_refused(tree):
    reports.dump("datasets", "toys-y", yaml_of("datasets", "toys") | {"protocol": "y"})
    for method in reports.METHODS:
        reports.score(method, dataset="toys-y", protocol="y")
    table = dict(reports.TABLE)
    table["columns"] = [table["columns"][0], {"dataset": "toys-y", "label": "Other", "metrics": ["psnr"]}]
    reports.dump("tables", "both", table)
    with pytest.raises(grid.TableError, match="column Average"):
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
    rows = list(csv.DictReader(io.StringIO(Path("results/tables/paper.csv").read_text(encoding="utf-8"))))
    assert [r["block"] for r in rows] == ["(a)"] * 6 + ["(b)"] * 3
    assert next(r for r in rows if r["method"] == "one")["reported"] == "21.0"
    text = Path("results/tables/paper.tex").read_text(encoding="utf-8")
    assert text.count(r"\begin{tabular}") == 2 and r"\textcolor{red}{15.00} (21.00)" in text
    assert "Theirs $\\dagger$ & 99.00 & -- \\\\" in text
    page = Path("results/tables/paper.html").read_text(encoding="utf-8")
    assert page.count("<table") == 2 and "−6.00" in page and "<caption>(a)</caption>" in page
    assert "† As published (<code>config/reported/cvpr2024</code>)" in page
    assert "config/reported/cvpr2024.csv" in lineage.read_card("results/tables/paper.json")["inputs"]
    written()
    assert "mean of the datasets’ means" in Path("results/report/toy/cells/paper/one/toys+more--haze.html").read_text(
        encoding="utf-8"
    )
    lines = trace.trace("paper", "one", "more", "haze").chain.lines()
    assert "PSNR 15.00" in lines[0] and any("results/scores/one/more.json" in line for line in lines)


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
    assert "± 1.41" in tables.to_html(built) and "standard deviation over runs" in tables.to_html(built)
    Path("results/scores/three/toys.json").unlink()
    built = tables.build("toys")
    assert cell(built, "both", "haze", "psnr").why == cell(built, "both", None, "psnr").why == "1 of 2 runs"
    assert built.progress == (4, 6)


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


def test_columns_say_how_they_are_scored_and_how_sure_that_is(tree):
    assert 'class="by"' not in tables.to_html(tables.build("toys"))  # one protocol: named once, under the table
    reports.dump("datasets", "lumas", yaml_of("datasets", "toys") | {"protocol": "y"})
    reports.score("one", dataset="lumas", protocol="y")
    columns = [
        {
            "dataset": "toys",
            "task": "haze",
            "label": "Colours",
            "metrics": ["psnr", "ssim"],
            "scored": "high: the paper says so",
        },
        {"dataset": "lumas", "task": "haze", "label": "Luma", "metrics": ["psnr"], "scored": "low: by ear & <eye>"},
        {"dataset": "toys", "task": "rain", "label": "Rain", "metrics": ["psnr"], "scored": "high: the paper says so"},
    ]
    rows = [{"title": "All", "methods": ["one", "two"]}]
    reports.dump("tables", "both", {"title": "Both", "caption": "Caption.", "rows": rows, "columns": columns})
    built = tables.build("both")
    assert [(name, of) for name, _, of in built.scored_by()] == [("rgb", ["Colours", "Rain"]), ("y", ["Luma"])]
    assert built.certainty() == [("Colours, Rain", "high: the paper says so"), ("Luma", "low: by ear & <eye>")]
    page = tables.to_html(built)
    assert re.findall(r'class="by"[^>]*>(\w+)<', page) == ["rgb", "y", "rgb"]
    assert "<b>Protocol y</b> for Luma. PSNR on Y." in page and "<b>Luma</b>: low: by ear &amp; &lt;eye&gt;." in page
    text = latex.to_tex(built)
    assert "rgb: Colours, Rain; y: Luma" in text


def test_an_average_has_no_protocol_of_its_own_in_its_heading(tree):
    built = tables.build("toys")
    assert [built.protocol(column) for column in built.columns] == ["rgb"] * 6 + [""] * 3


def test_tables_do_not_import_torch():
    code = "import sys, mperceiver.report.tables; from mperceiver.report.rendering import environment; environment(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT).returncode == 0


def test_headings_are_no_formulas(tree):
    """A heading from a file stands in the CSV so that a spreadsheet computes nothing, and in HTML and LaTeX as it is."""
    path = Path("config/tables/toys.yaml")
    path.write_text(path.read_text(encoding="utf-8").replace("Reference", "=cmd|'/C calc'!A0", 1), encoding="utf-8")
    text = tables.to_csv(tables.build("toys"))
    groups = {row["group"] for row in csv.DictReader(io.StringIO(text))}
    assert "'=cmd|'/C calc'!A0" in groups and not any(group.startswith(("=", "+", "-", "@")) for group in groups)


def test_a_picture_named_like_a_formula_has_its_scores(tree):
    path = Path("results/scores/one/toys.csv")
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([lines[0], "'=1+1" + lines[1][lines[1].index(",") :], *lines[2:], ""]), encoding="utf-8")
    assert scores.per_picture("one", "toys").index[0] == "=1+1"
