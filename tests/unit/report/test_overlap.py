"""Test pictures that a method was also trained on."""

from pathlib import Path

from support import reports
from support.printed import cell

from mperceiver import config
from mperceiver.report import site, tables, trace
from mperceiver.report.tables import latex


def _sources(dataset: str, sources: list[str]) -> None:
    """Write the prepared pairs of `toys` as a dataset of that name, made of files with these digests."""
    import pyarrow as pa

    with pa.memory_map("data/prepared/toys.arrow") as file:
        table = pa.ipc.open_file(file).read_all()
        renamed = table.set_column(table.schema.get_field_index("source"), "source", pa.array(sources))
        path = Path(f"data/prepared/{dataset}.arrow")
        with pa.OSFile(f"{path}.new", "wb") as out, pa.ipc.new_file(out, renamed.schema) as writer:
            writer.write_table(renamed)
    Path(f"{path}.new").replace(path)


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
    assert tables.to_csv(built).count(",2\n") == 3 + 3 and tables.to_csv(built).count(",1\n") == 3 + 3
    assert r"\,\S" in latex.to_tex(built) and r"\S: also trained on some of these test pictures" in latex.to_tex(built)
    assert (
        "The method was also trained on some of these test pictures: One &amp; &lt;only&gt; on toys: 1 in others, 1 in more"
        in (tables.to_html(built))
    )
    site.write("config/toy.yaml")
    page = Path("results/report/toy/cells/toys/one/toys--haze.html").read_text(encoding="utf-8")
    assert "§ The method was also trained on 2 of these pictures" in page
    assert "Not compared, since not on this machine: gone." in page
    page = Path("results/report/toy/cells/toys/two/toys--rain.html").read_text(encoding="utf-8")
    assert "none of these pictures. Compared by SHA-256 of the files with the training sets others." in page
    assert "trained on" not in Path("results/report/toy/cells/toys/input/toys--rain.html").read_text(encoding="utf-8")


def test_what_started_a_run_was_learned_from_too(tree):
    network = config.load("runs", "two").model_dump(mode="json", exclude_defaults=True)
    reports.dump("runs", "two", network | {"train": ["more"], "start_from": "one"})
    assert config.learned_from("two") == ["more", "toys"]
    assert config.learned_from("input") == [] and config.learned_from("ceiling") == []
