"""The chain of cards below a cell, a table, or a file."""

import re
import shutil
from pathlib import Path

import pytest
from support import reports

from mperceiver import commits, lineage
from mperceiver.files import sha256
from mperceiver.report import grid, tables, trace


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
            x for x in lines if f"{kind} " in x and name in x and "listed above" not in x and " made " + name not in x
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
    for nameless in (".", "", "/", "..", "results/.."):
        with pytest.raises(lineage.LineageError, match="neither a table, nor a card"):
            trace.trace(nameless)


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (("onne", "toys", "haze"), "no row of method onne (did you mean one?). Its methods: input, ceiling, one, two"),
        (("one", "toy", "haze"), "method one has no cell of dataset toy (did you mean toys?). Its datasets: toys (tasks haze, rain)"),
        (("one", "toys", "hase"), "method one has no cell of dataset toys, task hase (did you mean haze?). Its datasets: toys"),
    ],
)  # fmt: skip
def test_the_wrong_name_of_a_cell_is_told_with_the_nearest_one(tree, cell, told):
    with pytest.raises(grid.TableError, match=f"^config/tables/toys.yaml: {re.escape(told)}"):
        trace.trace("toys", *cell)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("toys", "not made yet, or its card is gone; make it: snakemake --cores all results/tables/toys.json"),
        ("results/scores/one/toys.csv", "make it: snakemake --cores all -f results/scores/one/toys.json"),
        ("toyz", "neither a table (did you mean toys?), nor a card, nor a file with a card beside it"),
    ],
)
def test_what_is_not_made_yet_is_told_with_the_command_that_makes_it(tree, target, told):
    shutil.rmtree("results")
    with pytest.raises(lineage.LineageError, match=f"^{target}: .*{re.escape(told)}"):
        trace.trace(target)


def test_what_differs_is_told_with_the_commands_that_mend_it(tree):
    tables.write("toys")
    Path("results/scores/one/toys.csv").write_text("", encoding="utf-8")
    Path("results/restored/one/toys/haze-0.png").unlink()
    with pytest.raises(lineage.LineageError) as told:
        trace.print_trace("toys", verify=True)
    assert str(told.value).splitlines()[-3:] == [
        "2 file(s) are not as their cards say. Next:",
        "to make again: snakemake --cores all -f results/scores/one/toys.json results/restored/one/toys.json",
        "to get back what was made: dvc pull",
    ]


def test_the_commands_for_many_cards_and_for_a_report():
    """A report's experiment must be named, since Snakemake plans for config/demo.yaml."""
    with pytest.raises(lineage.LineageError) as told:
        trace._tell(
            [f"{card}: x" for card in [*(f"data/raw/{i}.json" for i in range(9)), "results/report/toy.json"]], []
        )
    assert str(told.value).splitlines()[-3:-1] == [
        "to make again: snakemake --cores all -f CARD ...  (the cards that the lines above begin with)",
        "to make again: snakemake --cores all --configfile config/toy.yaml",
    ]


def test_where_nothing_was_made_nothing_is_verified(tree):
    for folder in ("data", "results"):
        shutil.rmtree(folder)
    with pytest.raises(lineage.LineageError, match="there is nothing to verify"):
        trace.print_verified()


@pytest.mark.parametrize(
    ("target", "named", "verify", "told"),
    [
        (
            "toys",
            {"task": "haze"},
            True,
            "--task alone .* mperceiver trace toys --method METHOD --dataset DATASET --task haze --verify$",
        ),
        ("toys", {"method": "one"}, False, "--method alone .* mperceiver trace toys --method one --dataset DATASET$"),
        (
            "toys",
            {"dataset": "toys", "task": ""},
            False,
            "--dataset and --task alone .* --method METHOD --dataset toys$",
        ),
        (
            "results/scores/one/toys.json",
            {"task": "haze"},
            False,
            "--task would have no effect: mperceiver trace results/scores/one/toys.json$",
        ),
    ],
)
def test_a_cell_named_in_part_is_refused_with_the_command_that_names_it(tree, target, named, verify, told):
    tables.write("toys")
    with pytest.raises(lineage.LineageError, match=told):
        trace.trace(target, **named, verify=verify)


def test_a_traced_number_is_the_one_that_the_table_shows(tree):
    """A trace reads a cell's own scores; the table is not filled."""
    table = tables.build("toys")
    compared = 0
    for row, column, cell in table.filled():
        if row.measured and not column.average:
            root = trace.trace("toys", row.method, column.dataset, column.task).chain
            shown = next(fact for fact in root.facts if fact.startswith(f"{column.measure.label} "))
            assert shown.split()[1] == (cell.text or cell.why.split()[0]), (row.method, column)
            assert f"n {cell.n}" in root.facts or not cell.n
            compared += 1
    assert compared > 3


def test_trace_of_a_cell_that_has_not_been_run(tree):
    shutil.rmtree("results/scores")
    text = "\n".join(trace.trace("toys", "one", "toys", "haze").chain.lines())
    assert "PSNR not run" in text and "next: snakemake --cores all results/scores/one/toys.json" in text


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("results/scores/one/toys.csv", "output results/scores/one/toys.csv was"),
        ("results/restored/one/toys/rain-1.png", "output results/restored/one/toys/rain-1.png was"),
        ("results/runs/one/network.safetensors", "output results/runs/one/network.safetensors was"),
        ("data/raw/clean/a.png", "output data/raw/clean/a.png was"),
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


def test_work_from_a_changed_tree_is_told_and_is_no_fault(tree, monkeypatch, capsys):
    monkeypatch.setattr(commits, "current", lambda: (reports.COMMIT[0], True))
    tables.write("toys")
    trace.print_trace("toys", verify=True)
    said = capsys.readouterr()
    assert "verified: every file of the chain is what its card says" in said.out
    assert (
        "1 card(s) were made from code or configuration that was not committed, first results/tables/toys.json"
        in said.err
    )
    assert "dirty" in said.out.splitlines()[0] and "dirty" not in said.out.splitlines()[1]


def test_what_stands_in_a_card_s_place_and_is_none_is_named(tree):
    tables.write("toys")
    Path("results/restored/one/toys.json").write_text('{"verb": "restore"', encoding="utf-8")
    lines = trace.trace("toys", "one", "toys", "haze").chain.lines()
    assert any("not a card; make it again: rm results/restored/one/toys.json && snakemake" in line for line in lines)


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
