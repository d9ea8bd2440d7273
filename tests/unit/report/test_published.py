"""Published numbers in tables: rows of whole files, averages that are not means, and doubts; the benchmarks that ship with the project."""

import csv
import io
from pathlib import Path

import pytest
from support import reports
from support.shipped import copy_shipped

from mperceiver import config
from mperceiver.config import ConfigError
from mperceiver.config.experiments import Experiment
from mperceiver.report import tables

BENCHMARKS = ("aio-3", "aio-5", "all-weather", "cdd-11")
HEAD = "table,task,dataset,method_type,method,metric,value,higher_is_better,source,doubt\n"


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy_shipped("config")


def survey() -> list[dict[str, str]]:
    with open("config/reported/survey2026.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def wrong_averages() -> set[tuple[str, str, str]]:
    """(table, method, metric) of the survey's averages that no rounding explains, in whole units of the last printed decimal."""
    cells: dict[tuple[str, str, str], list[int]] = {}
    averages: dict[tuple[str, str, str], int] = {}
    for line in survey():
        whole, decimals = line["value"].split(".")
        assert len(decimals) == {"PSNR": 2, "SSIM": 3}[line["metric"]]
        key, units = (line["table"], line["method"], line["metric"]), int(whole + decimals)
        if line["task"] == "average":
            averages[key] = units
        else:
            cells.setdefault(key, []).append(units)
    return {
        key
        for key, average in averages.items()
        if key in cells and abs(sum(cells[key]) - len(cells[key]) * average) > len(cells[key])
    }


def test_averages_that_are_no_means_are_marked_in_print(shipped):
    """Each mark that the tables show is one of a plain count over the file, and there are the 14 that are known."""
    wrong, marked = wrong_averages(), set()
    assert len(wrong) == 14
    for name in BENCHMARKS:
        built = tables.build(name)
        html, tex = tables.to_html(built), tables.to_tex(built)
        lines = [line for line in csv.DictReader(io.StringIO(tables.to_csv(built))) if line["reported_mean"]]
        assert {line["dataset"] for line in lines} <= {"average"}
        of_table = {key for key in wrong if key[0] == name}
        assert len(lines) == html.count("<sup>¶</sup>") == len(of_table)
        assert tex.count(r"\,\P\,") == len(of_table) and (r"\P: a published average" in tex) == bool(of_table)
        for row in built.rows if name == "cdd-11" else ():  # the table has several pieces
            assert tex.count("\n" + rf"{row.title} ({row.source}) $\dagger$".replace("_", r"\_")) == (
                1 if row.file else 0
            )
        names = {row.method: set(row.names) for row in built.rows}
        marked |= {
            (name, method, line["metric"].upper())
            for line in lines
            for method in names[line["method"]]
            if (name, method, line["metric"].upper()) in wrong
        }
    assert marked == wrong
    # Restormer on three tasks: (27.78 + 33.78 + 33.72 + 30.67 + 27.63) / 5 = 30.716, printed as 30.75
    text = tables.to_html(tables.build("aio-3"))
    assert (
        '30.75<sup>¶</sup> <span class="recomputed" title="the mean of the row\'s published numbers">30.72</span>'
        in text
    )


def test_every_published_method_is_in_its_table_once(shipped):
    methods: dict[str, set[str]] = {}
    for line in survey():
        methods.setdefault(line["table"], set()).add(line["method"])
    assert {name: len(of) for name, of in methods.items()} == {
        "aio-3": 49,
        "aio-5": 45,
        "all-weather": 22,
        "cdd-11": 23,
    }
    for name in BENCHMARKS:
        built = tables.build(name)
        rows = [row for row in built.rows if row.file]
        beside = {one for row in built.rows if not row.file for one in row.names}
        assert {row.title for row in rows} == methods[name] - beside and len(rows) == len(methods[name] - beside)
        assert all(row.source for row in rows) and not any(row.measured for row in rows)
        shown = {(row, column.key) for row, column, cell in built.filled() if row.file and cell.reported is not None}
        assert len(shown) == 2 * len(rows)  # PSNR and SSIM
        assert built.progress == (0, built.progress[1])  # nothing was run here, and no published row is to be run


def test_a_doubtful_number_says_why(shipped):
    built = tables.build("aio-5")
    assert built.doubts() == [
        "InstructIR-5D, SOTS-outdoor, Rain100L: dehazing and deraining look exchanged in the survey"
    ]
    assert tables.to_html(built).count(">*</sup>") == 4 and "36.84<sup" in tables.to_html(built)
    assert r"36.84\,$\ast$" in tables.to_tex(built) and r"$\ast$: doubtful (InstructIR-5D" in tables.to_tex(built)
    assert r"InstructIR-5D (ECCV'24) $\dagger$" in tables.to_tex(built)


def write_reported(*lines: str, name: str = "more") -> None:
    Path("config/reported").mkdir(exist_ok=True)
    Path(f"config/reported/{name}.csv").write_text(HEAD + "".join(f"{line}\n" for line in lines), encoding="utf-8")


def haze_and_rain(**keys) -> None:
    """A table of the tree's two tasks and their mean, with all that is published in `more`."""
    columns = [
        {"dataset": "toys", "task": task, "label": task, "metrics": ["psnr"], "reported": place(task)}
        for task in ("haze", "rain")
    ]
    rows = [{"title": "Here", "methods": ["one"]}, {"title": "Published", "reported": "more"}]
    table = {"title": "t", "caption": "c", "rows": rows, "columns": columns, "average": True}
    reports.dump("tables", "more", table | {"average_reported": place("mean")} | keys)


def place(task: str) -> dict[str, str]:
    return {"file": "more", "table": "two-tasks", "task": task, "dataset": "toys"}


def line(method: str, task: str, value: str, doubt: str = "") -> str:
    return f"two-tasks,{task},toys,any,{method},PSNR,{value},true,ICCV'25,{doubt}"


@pytest.mark.parametrize(
    ("haze", "rain", "mean", "recomputed"),
    [
        ("20.00", "21.01", "20.50", None),  # 20.505, cut
        ("20.00", "21.00", "20.51", None),  # the parts can be 20.005 and 21.005 before rounding, the mean 20.505
        ("20.00", "21.00", "20.52", 20.5),
        ("20.00", "21.00", "20.5", None),
        ("20.0", "21.0", "20.6", None),
        ("20.0", "21.0", "20.61", 20.5),
    ],
)
def test_rounding_explains_a_unit_of_the_last_decimal(tree, haze, rain, mean, recomputed):
    write_reported(line("Theirs", "haze", haze), line("Theirs", "rain", rain), line("Theirs", "mean", mean))
    haze_and_rain()
    built = tables.build("more")
    (row,) = (row for row in built.rows if row.file)
    shown = built.cells[row, built.columns[-1]]
    assert shown.reported == float(mean) and shown.reported_mean == recomputed


def test_an_average_without_all_of_its_parts_is_not_judged(tree):
    write_reported(line("Theirs", "haze", "20.00"), line("Theirs", "mean", "99.00"))
    write_reported(line("Theirs", "haze", "20.00"), line("Other", "rain", "9.00"), line("Theirs", "mean", "99.00"))
    haze_and_rain()
    built = tables.build("more")
    assert [cell.reported_mean for cell in built.cells.values() if cell.reported_mean is not None] == []
    assert [row.title for row in built.rows if row.file] == ["Theirs", "Other"]


def test_a_method_that_stands_beside_a_measured_one_has_no_second_row(tree):
    write_reported(*(line(method, task, "20.00") for method in ("Ours", "Theirs") for task in ("haze", "rain", "mean")))
    reports.dump("methods", "one", reports.METHODS["one"] | {"reported": "Ours"})
    haze_and_rain()
    built = tables.build("more")
    assert [(row.group, row.title, row.source) for row in built.rows] == [
        ("Here", reports.METHODS["one"]["title"], ""),
        ("Published", "Theirs", "ICCV'25"),
    ]
    assert built.cells[built.rows[0], built.columns[0]].reported == 20.0
    assert "config/reported/more.csv" in config.table_inputs("more")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([line("A", "haze", "2O.00")], r"more.csv, line 2: value: '2O.00' is no number"),
        ([line("A", "haze", "nan")], r"more.csv, line 2: value: 'nan' is no number"),
        ([line("A", "haze", "20.00"), line("A", "haze", "21.00")], r"line 3: A has a second PSNR at two-tasks / haze / toys"),
        (["two-tasks,haze,toys,any,A,PSNR"], r"line 2: not as many fields as the first line has"),
        ([line("A", "haze", "20.00") + ",more"], r"line 2: not as many fields"),
        ([line("A", "haze", "20.00")], r"columns, rain: reported.task: table two-tasks in .*more.csv has no rain"),
    ],
)  # fmt: skip
def test_a_file_with_a_fault_is_refused_when_the_work_is_planned(tree, lines, words):
    write_reported(*lines)
    haze_and_rain()
    with pytest.raises(ConfigError, match=words):
        config.check(Experiment(title="t", tables=["more"]))


def test_a_group_of_rows_that_would_be_empty_is_refused(tree):
    write_reported(*(line("A", task, "20.00") for task in ("haze", "rain", "mean")))
    haze_and_rain(rows=[{"title": "Published", "reported": "mor"}])
    with pytest.raises(ConfigError, match=r"rows, Published: reported: no column has .*did you mean more"):
        config.check(Experiment(title="t", tables=["more"]))
    haze_and_rain(rows=[{"title": "Nothing"}])
    with pytest.raises(ConfigError, match="give `methods`, `reported`, or both"):
        config.load("tables", "more")


def test_one_file_puts_a_method_into_a_table(shipped):
    """docs/benchmarks.md: a folder of restored pictures, named under `tables`, stands with the measured rows."""
    before = config.table_inputs("aio-3")[0].digest
    Path("config/methods/mine.yaml").write_text(
        "title: Mine\nkind: results\nresults: {folder: restored}\ntables: [aio-3, cdd-11]\n", encoding="utf-8"
    )
    for name in BENCHMARKS:
        groups = [group for group, _ in tables.build(name).blocks[0].groups()]
        assert ("Further methods" in groups) == (name in ("aio-3", "cdd-11"))
        assert groups[-1] == "As published"
    after = config.table_inputs("aio-3")
    assert "results/scores/mine/rain100l-test.json" in after and after[0].digest != before
    assert ("mine", "sots-outdoor") in config.cells(config.load("tables", "aio-3"))
    Path("config/methods/yours.yaml").write_text("title: t\nkind: identity\ntables: [aio-33]\n", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"methods/yours.yaml: tables: there is no .*aio-33.yaml \(did you mean aio-3\?\)"
    ):
        config.load("tables", "table-1")
