"""Test pictures that a method was also trained on."""

import csv
import os
from pathlib import Path

from support import reports
from support.printed import cell

from mperceiver import config, lineage
from mperceiver.report import site, tables, trace
from mperceiver.report.tables import latex


def _sources(dataset: str, sources: list[str]) -> None:
    """Write the prepared pairs of `toys`, their card and configuration as a dataset of that name, made of files with these digests."""
    import pyarrow as pa

    with pa.memory_map("data/prepared/toys.arrow") as file:
        table = pa.ipc.open_file(file).read_all()
        renamed = table.set_column(table.schema.get_field_index("source"), "source", pa.array(sources))
        path = Path(f"data/prepared/{dataset}.arrow")
        with pa.OSFile(f"{path}.new", "wb") as out, pa.ipc.new_file(out, renamed.schema) as writer:
            writer.write_table(renamed)
    Path(f"{path}.new").replace(path)
    if dataset != "toys":
        spec = config.load("datasets", "toys").model_dump(mode="json", by_alias=True, exclude_defaults=True)
        reports.dump("datasets", dataset, spec)
        reports.card(f"data/prepared/{dataset}.json", "prepare", ["data/raw/clean.json"], [path])


def test_a_mean_of_runs_counts_a_picture_once(seeds):
    """Both runs of `both` have seen the same two of the test set's pictures."""
    a, b, c, d = (letter * 64 for letter in "abcd")
    _sources("toys", [a, b, c, d])
    _sources("others", [a, b, "", ""])
    spec = config.load("runs", "one").model_dump(mode="json", exclude_defaults=True)
    reports.dump("runs", "one", spec | {"train": ["others"]})
    found = cell(tables.build("toys"), "both", "haze", "psnr")
    assert (found.n, found.trained_on) == (2, 2)


def test_pictures_that_were_trained_on_are_renamed(tree):
    """Of the test set's four pictures the run `one` has one's degraded and another's clean file in its training sets."""
    a, b, c, d, e = (letter * 64 for letter in "abcde")
    _sources("toys", [f"{a} {b}", c, d, ""])  # haze-0, haze-1, rain-0, rain-1
    _sources("more", [e, e, e, f"{c} {e}"])
    _sources("others", [f"{e} {b}", e, "", ""])
    for run, train in (("one", ["others", "more", "gone"]), ("two", ["others"])):
        yaml_run = config.load("runs", run).model_dump(mode="json", exclude_defaults=True)
        reports.dump("runs", run, yaml_run | {"train": train})
    assert "trained on 2 of these pictures, too" in trace.trace("toys", "one", "toys", "haze").chain.facts
    built = tables.build("toys")
    assert [cell(built, m, "haze", "psnr").trained_on for m in ("input", "ceiling", "one", "two")] == [0, 0, 2, 1]
    assert [cell(built, m, "rain", "psnr").trained_on for m in ("one", "two")] == [0, 0]
    assert cell(built, "one", None, "psnr").trained_on == 2  # the average stands on it
    assert built.trained_on == ["One & <only> on toys: 1 in others, 1 in more", "Two_50% on toys: 1 in others"]
    assert tables.to_csv(built).count(",2,gone\n") == 3 + 3 and tables.to_csv(built).count(",1,\n") == 3 + 3
    assert r"\,\S" in latex.to_tex(built) and r"\S: also trained on some of these test pictures" in latex.to_tex(built)
    assert (
        "The method was also trained on some of these test pictures: One &amp; &lt;only&gt; on toys: 1 in others, 1 in more"
        in (tables.to_html(built))
    )
    site.write("config/toy.yaml")
    page = Path("results/report/toy/cells/toys/one/toys--haze.html").read_text(encoding="utf-8")
    assert "§ The method was also trained on 2 of these pictures" in page
    assert "Not compared, since not prepared on this machine: gone." in page
    page = Path("results/report/toy/cells/toys/two/toys--rain.html").read_text(encoding="utf-8")
    assert "none of these pictures. Compared by SHA-256 of the files with the training sets others." in page
    assert "trained on" not in Path("results/report/toy/cells/toys/input/toys--rain.html").read_text(encoding="utf-8")


def test_what_started_a_run_was_learned_from_too(tree):
    network = config.load("runs", "two").model_dump(mode="json", exclude_defaults=True)
    reports.dump("runs", "two", network | {"train": ["more"], "start_from": "one"})
    assert config.learned_from("two") == ["more", "toys"]
    assert config.learned_from("input") == [] and config.learned_from("ceiling") == []


# ---------------------------------------------------------------- datasets that are not prepared here


def _trained_on(run: str, *datasets: str) -> None:
    spec = config.load("runs", run).model_dump(mode="json", exclude_defaults=True)
    reports.dump("runs", run, spec | {"train": list(datasets)})


def _written() -> tuple[str, list[dict[str, str]], dict[str, str]]:
    """(HTML, lines of the CSV, inputs of the card) of the table as it was written."""
    card = lineage.read_card(tables.write("toys"))
    with Path("results/tables/toys.csv").open(newline="", encoding="utf-8") as file:
        return Path("results/tables/toys.html").read_text(encoding="utf-8"), list(csv.DictReader(file)), card["inputs"]


def test_a_table_says_what_could_not_be_compared_and_is_made_again_when_it_can(tree):
    """The weights of `one` and `two` are here, as after `dvc pull` of some folders or with weights that ship; a training set is not."""
    a, b, c, d = (letter * 64 for letter in "abcd")
    _sources("toys", [a, b, c, d])
    _trained_on("one", "others", "gone")
    _trained_on("two", "others")
    page, lines, inputs = _written()
    told = "A § may be missing, since datasets are not prepared on this machine and could not be compared ("
    assert f"{told}One &amp; &lt;only&gt;: others, gone; Two_50%: others)." in page
    assert r"could not be compared (One \& \textless{}only\textgreater{}: others, gone; Two\_50\%: others)." in (
        Path("results/tables/toys.tex").read_text(encoding="utf-8")
    )
    assert {(line["method"], line["seen_in_training"], line["not_compared"]) for line in lines} == {
        ("input", "", ""), ("ceiling", "", ""), ("one", "", "others; gone"), ("two", "", "others"),
    }  # fmt: skip
    facts = trace.trace("toys", "one", "toys", "haze").chain.facts
    assert "not compared, since not prepared here: others; gone" in facts
    assert "data/prepared/others.json" not in config.table_inputs("toys"), "nobody is made to prepare it"
    assert config.changes("results/tables/toys.json", config.table_inputs("toys")) == []

    _sources("others", [a, "", "", ""])
    (change,) = config.changes("results/tables/toys.json", config.table_inputs("toys"))
    assert change.name == "data/prepared/others.json" and change.recorded is None
    page, lines, inputs = _written()
    assert (
        "data/prepared/others.json" in inputs
        and "on toys: 1 in others" in page
        and f"{told}One &amp; &lt;only&gt;: gone)." in page
    )
    assert config.changes("results/tables/toys.json", config.table_inputs("toys")) == []

    _sources("others", [a, b, "", ""])  # prepared from other pictures
    reports.card("data/prepared/others.json", "prepare", ["data/raw/clean.json"], ["data/prepared/others.arrow"])
    assert [change.name for change in config.changes("results/tables/toys.json", config.table_inputs("toys"))] == [
        "data/prepared/others.json"
    ]


def test_scores_without_the_test_set_are_not_called_unseen(tree):
    """Scores may be here without the pairs that they are of."""
    os.remove("data/prepared/toys.arrow")
    built = tables.build("toys")
    assert built.not_compared() == ["One & <only>, Two_50%: toys"]
    assert cell(built, "one", None, "psnr").not_compared == "toys"  # the average stands on it
    assert cell(built, "input", "haze", "psnr").not_compared == ""


def test_which_training_sets_a_run_names_is_an_input(tree):
    """The scores of weights that ship do not change when their run's file does."""
    tables.write("toys")
    _trained_on("one", "others")
    (change,) = config.changes("results/tables/toys.json", config.table_inputs("toys"))
    assert change.name == "config/runs/one.yaml#table"
