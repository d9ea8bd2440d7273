"""What differs between two outputs, why a job would run, and what is stale, on a small tree of results."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support import reports

from mperceiver import commits, config, lineage, shipped
from mperceiver.report import differences, runs, tables, why
from mperceiver.report.differences import CHANGES, MAY, NOT


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: reports.COMMIT)
    reports.build_world()
    for name in ("one", "two"):  # no LPIPS, whose weights are not here
        edit(f"config/runs/{name}.yaml", "network:", "network:\n  losses: {perceptual: 0}")
    for name in ("rgb", "y"):
        edit(f"config/protocols/{name}.yaml", "title:", "metrics: [psnr]\ntitle:")
    for card in config.cards_here():  # as the verbs write them: with the parts of files that the rules read
        renew(card)
    return tmp_path


def renew(card: str, **changes) -> None:
    """Write a card again for the inputs of today, from below what it stands on having been written before."""
    old = lineage.read_card(card)
    inputs = [entry for entry in config.inputs_of(card) if Path(entry).is_file()]
    rule = config.job_of(card)[0]
    spec = {}
    for part in (entry for entry in inputs if isinstance(entry, lineage.Part)):
        if rule == "restore" and Path(part).parent.name == "runs":
            continue  # the card has the digest alone
        values = config.read_part(Path(part).parent.name, Path(part).stem, rule)
        spec |= {{"restore": "method", "score": "protocol"}[rule]: values} if rule in ("restore", "score") else values
    outputs = [Path(card).with_suffix("")] if rule == "restore" else list(old["outputs"])
    made = lineage.begin(rule, spec, inputs).write_card(card, outputs=outputs, result=old["result"])
    if changes:
        Path(card).write_text(json.dumps(made | changes), encoding="utf-8")


def edit(path: str, old: str, new: str) -> None:
    text = Path(path).read_text(encoding="utf-8")
    assert old in text
    Path(path).write_text(text.replace(old, new), encoding="utf-8")


# ---------------------------------------------------------------- why


def test_a_job_whose_inputs_are_as_its_card_says_would_not_run(tree):
    runs, reasons = why.why("restore", ("one", "toys"))
    assert not runs and reasons == ["results/restored/one/toys.json names exactly the 4 inputs that it would read now"]


def test_the_key_that_was_changed_is_named_with_both_values(tree):
    edit("config/methods/one.yaml", "kind: network", "kind: network\ntile_px: 64")
    runs, reasons = why.why("restore", ("one", "toys"))
    assert runs and reasons == ["config/methods/one.yaml: tile_px none → 64"]
    runs, reasons = why.why("score", ("one", "toys"))
    assert runs and reasons == ["restore one toys runs first: config/methods/one.yaml: tile_px none → 64"]
    assert not why.why("restore", ("two", "toys"))[0] and not why.why("prepare", ("toys",))[0]


def test_another_protocol_is_named_with_the_one_before(tree):
    edit("config/datasets/toys.yaml", "licence: none", "licence: none\nprotocol: y")
    runs, reasons = why.why("score", ("one", "toys"))
    assert runs and reasons == ["reads config/protocols/y.yaml now; before: config/protocols/rgb.yaml"]
    assert not why.why("restore", ("one", "toys"))[0]


def test_a_key_of_a_file_that_the_card_does_not_record_is_named_from_its_commit(tree, monkeypatch, tmp_path):
    """A table prints its methods' titles; its card holds the digest of what it read of them."""
    columns = [{"dataset": "toys", "task": "haze", "label": "Haze", "metrics": ["psnr"]}]
    rows = [{"title": "Ours", "methods": ["one", "two"]}]
    reports.dump("tables", "short", {"title": "Short", "caption": "Short.", "rows": rows, "columns": columns})
    tables.write("short")
    assert not why.why("table", ("short",))[0]
    old = Path("config/methods/one.yaml").read_text(encoding="utf-8")
    edit("config/methods/one.yaml", "One & <only>", "The first")
    runs, reasons = why.why("table", ("short",))
    assert runs and reasons == [
        "config/methods/one.yaml: a key that rule table reads has another value; the card holds its digest alone: "
        "git log -p -- config/methods/one.yaml"
    ]
    monkeypatch.setattr(shipped, "PACKAGE", Path.cwd() / "mperceiver")
    monkeypatch.setattr(commits, "file_at", lambda commit, file: old if commit == reports.COMMIT[0] else None)
    reasons = why.why("table", ("short",))[1]
    assert reasons == ["config/methods/one.yaml: title One & <only> → The first"]


def test_a_card_that_was_made_again_and_one_that_is_missing_are_named(tree):
    renew("results/restored/one/toys.json", device="another")
    assert why.why("score", ("one", "toys")) == (True, ["results/restored/one/toys.json was made again since"])
    Path("results/restored/one/toys.json").unlink()
    runs, reasons = why.why("score", ("one", "toys"))
    assert runs and reasons == ["restore one toys runs first: results/restored/one/toys.json is missing"]


def test_what_many_jobs_need_first_is_said_once(tree):
    """Both methods of the table, and their trainings, read the same pairs."""
    columns = [{"dataset": "toys", "task": "haze", "label": "Haze", "metrics": ["psnr"]}]
    rows = [{"title": "Ours", "methods": ["one", "two"]}]
    reports.dump("tables", "short", {"title": "Short", "caption": "Short.", "rows": rows, "columns": columns})
    tables.write("short")
    Path("data/raw/clean.json").unlink()
    assert why.why("table", ("short",)) == (True, ["download clean runs first: data/raw/clean.json is missing"])


@pytest.mark.parametrize(
    ("rule", "names", "problem"),
    [
        ("restor", ("one", "toys"), "no rule restor; the rules are foundation, download"),
        ("restore", ("one",), r"rule restore has 2 name\(s\): mperceiver why restore NAME NAME"),
        ("train_stage", ("one",), "no rule train_stage"),
    ],
)
def test_a_job_that_there_is_not(tree, rule, names, problem):
    with pytest.raises(lineage.LineageError, match=problem):
        why.why(rule, names)


# ---------------------------------------------------------------- what is stale


def test_nothing_is_stale_at_first(tree, capsys):
    why.print_stale()
    assert capsys.readouterr().out == "nothing is stale: today's code and configuration made all 12 outputs\n"


def test_stale_outputs_with_command_and_cost(tree, capsys):
    edit("config/protocols/rgb.yaml", "channel: rgb", "channel: rgb\nborder_px: 4")
    renew("data/raw/clean.json", code="0" * 64)
    for folder in ("score/one", "download"):
        Path(f"results/benchmarks/{folder}").mkdir(parents=True)
    Path("results/benchmarks/score/one/toys.tsv").write_text("s\th:m:s\n12.4\t0:00:12\n", encoding="utf-8")
    Path("results/benchmarks/download/clean.tsv").write_text("s\th:m:s\n3\t0:00:03\n", encoding="utf-8")
    found = {one.card: one for one in why.stale()}
    score = found["results/scores/one/toys.json"]
    assert score.reasons == ["config/protocols/rgb.yaml: border_px 0 → 4"] and score.seconds == 12.4
    assert score.command == "snakemake --cores all results/scores/one/toys.json"
    raw = found["data/raw/clean.json"]
    assert (raw.reasons, raw.command) == ([], "snakemake --cores all -f data/raw/clean.json")
    assert "results/restored/one/toys.json" not in found
    why.print_stale()
    lines = capsys.readouterr().out.splitlines()
    assert "  snakemake --cores all results/scores/one/toys.json  (12 s last time)" in lines
    # the scores of four methods; toys.json, whose input was made again
    assert (
        lines[-1]
        == "5 output(s) by configuration, which `snakemake` makes again; 1 by code alone, which it leaves; 15 s in all, by the benchmark files"
    )


# ---------------------------------------------------------------- two outputs


def test_nearest_cause_first_and_what_changes_numbers(tree):
    edit("config/methods/two.yaml", "kind: network", "kind: network\ntile_px: 64")
    edit("config/runs/two.yaml", "steps: 4", "steps: 5")
    Path("results/runs/two/network.safetensors").write_bytes(b"other weights")
    for card in ("results/runs/two/network.json", "results/restored/two/toys.json", "results/scores/two/toys.json"):
        renew(card)
    found = differences.differences("one/toys", "two/toys")
    told = [(d.depth, d.what, d.effect) for d in found]
    assert (1, "method.tile_px none → 64", NOT) in told  # the pictures came out equal to the byte
    assert (2, "network.steps 4 → 5", CHANGES) in told
    assert [d.depth for d in found] == sorted(d.depth for d in found)
    assert not any("title" in d.what for d in found), "a title is no part of what is read"


def test_code_versions_and_device(tree):
    card = "results/restored/two/toys.json"
    made = lineage.read_card(card)
    outputs = dict.fromkeys(made["outputs"], "0" * 64)
    other = {
        "code": "1" * 64,
        "device": "NVIDIA H100",
        "versions": made["versions"] | {"torch": "0.1"},
        "outputs": outputs,
    }
    Path("results/restored/one/toys.json").write_text(json.dumps(made | other), encoding="utf-8")
    told = {(d.what.split(" ")[0], d.effect) for d in differences.differences("results/restored/one/toys.json", card)}
    assert told == {("code", MAY), ("torch", MAY), ("device", MAY)}


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("one", "run one: not trained here; train it: snakemake --cores all results/runs/one/network.json"),
        ("one/toys", "one/toys: not scored here; make the scores: snakemake --cores all results/scores/one/toys.json"),
        ("onne/toys", "config/methods/onne.yaml: no such file. The nearest methods: one"),
    ],
)
def test_what_is_not_there_to_compare_is_told_with_the_next_command(tree, target, told):
    shutil.rmtree("results")
    with pytest.raises((lineage.LineageError, config.ConfigError), match=f"^{re.escape(told)}"):
        differences.differences(target, "two/toys")


def test_nothing_is_stale_where_nothing_was_made(tree, capsys):
    for folder in ("data", "results"):
        shutil.rmtree(folder)
    why.print_stale()
    assert capsys.readouterr().out == f"nothing is stale: nothing has been made in {Path.cwd()}\n"


def test_an_output_does_not_differ_from_itself(tree, capsys):
    differences.print_differences("one/toys", "results/scores/one/toys.csv")
    assert "nothing differs" in capsys.readouterr().out


OLD, NEW = "1" * 64, "2" * 64


def of_inputs(name: str, old: str, new: str, **changes) -> list[tuple[str, str]]:
    """What differs between a card of scores and a copy of it, in each of which an input has another digest."""
    card = Path("results/scores/one/toys.json")
    made = lineage.read_card(card)
    Path("before.json").write_text(json.dumps(made | {"inputs": made["inputs"] | {name: old}}), encoding="utf-8")
    card.write_text(json.dumps(made | {"inputs": made["inputs"] | {name: new}} | changes), encoding="utf-8")
    return [(one.what, one.effect) for one in differences.differences("before.json", str(card))]


def test_a_card_of_one_name_that_was_made_again_is_told(tree):
    """Only one of both lies there, so what it stands on cannot be compared; its recorded digests can."""
    name, outputs = "data/prepared/toys.json", {"results/scores/one/toys.csv": NEW}
    assert Path(name).is_file()
    told = f"{name} had another content: {OLD[:12]} → {NEW[:12]}"
    assert of_inputs(name, OLD, NEW) == [(told, NOT)]  # the scores came out equal to the byte
    assert of_inputs(name, OLD, NEW, outputs=outputs) == [(told, MAY)]
    assert of_inputs(name, OLD, OLD) == []


def test_a_file_of_one_name_with_another_content_is_told(tree):
    outputs = {"results/scores/one/toys.csv": NEW}
    told = f"config/paper.csv had another content: {OLD[:12]} → {NEW[:12]}"
    assert of_inputs("config/paper.csv", OLD, NEW, outputs=outputs) == [(told, CHANGES)]


def test_a_part_of_configuration_that_the_spec_does_not_hold_is_told(tree):
    """A table's card holds the digests of its methods' files alone."""
    name, outputs = "config/methods/one.yaml#table", {"results/scores/one/toys.csv": NEW}
    told = f"{name} had another content: {OLD[:12]} → {NEW[:12]}"
    assert of_inputs(name, OLD, NEW, outputs=outputs) == [(told, MAY)]
    spec = {"protocol": {"border_px": 4}}
    assert told not in dict(of_inputs(name, OLD, NEW, outputs=outputs, spec=spec))  # its keys are told instead


def test_a_run_is_its_last_stage(tree):
    edit("config/runs/two.yaml", "steps: 4", "steps: 5")
    renew("results/runs/two/network.json")
    assert [d.what for d in differences.differences("one", "two")] == ["network.steps 4 → 5"]


@pytest.fixture
def checkout(tree, monkeypatch):
    """Commits the working directory and returns the commit."""
    monkeypatch.setattr(shipped, "PACKAGE", tree / "mperceiver")
    Path("mperceiver").mkdir(exist_ok=True)

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", *who, *words], check=True, capture_output=True, encoding="utf-8").stdout.strip()

    def commit() -> str:
        git("add", "-A", "-f")
        git("commit", "-qm", "c", "--allow-empty")
        return git("rev-parse", "HEAD")

    git("init", "-q")
    return commit


def test_two_commits(checkout):
    heads = []
    for steps in (4, 5):
        Path("mperceiver/a.py").write_text(f"# {steps}\n", encoding="utf-8")
        edit("config/runs/two.yaml", "steps: 4", f"steps: {steps}")
        edit("config/runs/two.yaml", "title: two", f"title: two{'' if steps == 4 else ', longer'}")
        heads.append(checkout())
    told = [(d.where, d.what, d.effect) for d in differences.differences(*heads)]
    assert told == [
        ("config/runs/two.yaml", "title two → two, longer", NOT),
        ("config/runs/two.yaml", "network.steps 4 → 5", CHANGES),
        ("mperceiver/a.py", "changed code", MAY),
    ]
    with pytest.raises(lineage.LineageError, match="neither a table, nor a card"):
        differences.differences(heads[0], "f" * 40)


@pytest.mark.parametrize(
    ("file", "what", "effect"),
    [
        ("assets/runs/small/drm.safetensors", "other weights", CHANGES),
        ("assets/foundations/mini/unet/config.json", "another content", MAY),
        ("Snakefile", "changed workflow", MAY),
        ("workflow/rules/restore.smk", "changed workflow", MAY),
        ("workflow/report/table.rst", "other words in Snakemake's own report", NOT),
        ("profiles/default/config.yaml", "other settings of Snakemake", MAY),
        ("slurm/config.yaml", "other settings of Snakemake", MAY),
        ("uv.lock", "another environment", MAY),
    ],
)
def test_all_that_numbers_stand_on_is_compared_between_commits(checkout, file, what, effect):
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\xff before")  # weights are no text
    first = checkout()
    path.write_bytes(b"\xff after")
    (found,) = differences.differences(first, checkout())
    assert (found.where, found.what, found.effect) == (file, what, effect)


def test_two_commits_that_differ_in_documents_alone(checkout, capsys):
    first = checkout()
    Path("README.md").write_text("another\n", encoding="utf-8")
    differences.print_differences(first, checkout())
    assert "nothing differs in config, assets, mperceiver, Snakefile, workflow" in capsys.readouterr().out


# ---------------------------------------------------------------- all runs


@pytest.mark.parametrize(
    "stages, shipped, state",
    [
        ([], False, "no training"),
        (["planned", "planned"], True, "shipped"),
        (["planned"], False, "planned"),
        (["done", "training"], True, "training"),
        (["done", "done"], True, "done"),
    ],
)
def test_weights_that_ship_are_not_planned_and_nothing_to_train_is_not_done(stages, shipped, state):
    assert runs._state(stages, shipped) == state


def test_every_run_with_state_scores_and_cost(tree, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    reports.dump("runs", "three", {"title": "three", "like": "one", "network": {"steps": 9}})
    Path("results/benchmarks/train_network").mkdir(parents=True)
    text = "s\tcpu_time\n7200\t14400\n"
    Path("results/benchmarks/train_network/one.tsv").write_text(text, encoding="utf-8")
    edit("config/runs/two.yaml", "steps: 4", "steps: 5")
    found = {run["name"]: run for run in runs.runs()}
    assert {name: run["state"] for name, run in found.items()} == {"one": "done", "two": "stale", "three": "planned"}
    assert (found["one"]["seconds"], found["one"]["cpu_seconds"]) == (7200, 14400)
    # (19 + 21.008 + 24 + 24.5) / 4
    assert found["one"]["scores"] == {"one": {"toys": pytest.approx(22.127)}}
    assert (found["three"]["like"], found["three"]["differs"]) == ("one", ["network.steps 4 → 9"])
    Path("results/resume/three").mkdir(parents=True)
    Path("results/resume/three/network.csv").write_text("step,loss\n1,2\n3,1\n", encoding="utf-8")
    assert next(run for run in runs.runs() if run["name"] == "three")["stages"]["network"]["step"] == 3
    Path("results/resume/three/network.csv").write_text(
        "step,loss,seconds,watt_hours\n1,2,40,0.5\n3,1,120,2.5\n", encoding="utf-8"
    )
    three = next(run for run in runs.runs() if run["name"] == "three")
    assert three["stages"]["network"]["eta_seconds"] == 240 and three["watt_hours"] == 2.5  # 6 steps at 40 s
    spec = {"title": "three", "like": "one", "network": {"steps": 1_000_000, "cpu_seconds": 480}}
    reports.dump("runs", "three", spec)
    Path("results/resume/three/network.csv").write_text("step,loss,cpu_seconds,seconds\n3,1,60,90\n", encoding="utf-8")
    limited = next(run for run in runs.runs() if run["name"] == "three")["stages"]["network"]
    assert limited["eta_seconds"] == 630  # 420 CPU-seconds, at 1.5 seconds each
    assert runs._progress(limited) == "60 of 480 CPU-seconds, 10 min left"
    reports.dump("runs", "three", spec | {"network": {"steps": 9}})
    Path("results/resume/three/network.csv").write_text(
        "step,loss,seconds,watt_hours\n1,2,40,0.5\n3,1,120,2.5\n", encoding="utf-8"
    )
    runs.print_runs()
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert (
        "step 3 of 9, 4 min left" in lines["three"]
        and "2.5" in lines["three"]
        and "2.00" in lines["one"]
        and "4.00" in lines["one"]
    )
    assert (
        lines["three"].rstrip().endswith("one: network.steps 4 → 9") and len(lines) == 4
    )  # a line a run, and the heading
    runs.print_runs(as_json=True)
    assert json.loads(capsys.readouterr().out)[0]["name"] == "one"
