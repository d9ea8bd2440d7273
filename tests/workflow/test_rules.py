"""The workflow as text: rules that are verbs, profiles, DVC's stages, the picture of it."""

import ast
import inspect
import re
import shlex

import pytest
import typer
import yaml
from support import PROJECT, TINY

from mperceiver import cli, config, paths
from mperceiver.config import graph
from mperceiver.report import figures
from tools import draw_pipeline

RULE_FILES = sorted((PROJECT / "workflow/rules").glob("*.smk"))


def rules_of(text: str) -> dict[str, dict[str, str]]:
    """Rule name -> {directive: its text, "": the whole rule}."""
    rules = {}
    for name, body in re.findall(r"^rule (\w+):\n((?:[ \t]+.*\n|\n)+)", text, re.MULTILINE):
        parts = re.split(r"^    (\w+):", body, flags=re.MULTILINE)
        rules[name] = dict(zip(parts[1::2], map(str.strip, parts[2::2]), strict=True)) | {
            "": f"rule {name}:\n{body}".strip()
        }
    return rules


RULES = {name: rule for file in RULE_FILES for name, rule in rules_of(file.read_text(encoding="utf-8")).items()}


def literals(text: str) -> list[str]:
    """The strings in a directive: `"a", b="c"` gives a, c; strings side by side are one."""
    call = ast.parse(f"f({text})", mode="eval").body
    return [ast.literal_eval(node) for node in [*call.args, *(k.value for k in call.keywords)]]


def command(words: list[str]):
    """The command that the words call and its parsed options; a verb or an option that does not exist raises."""
    group = typer.main.get_command(cli.app)
    with group.make_context("mperceiver", words) as context:
        name, verb, rest = group.resolve_command(context, words)
        return verb, verb.make_context(name, rest, parent=context).params


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_its_verb(name):
    rule = RULES[name]
    (shell,) = literals(rule["shell"])
    words = shlex.split(re.sub(r"\{[^}]*\}", "1", shell))
    assert words[0] == "mperceiver" and words[words.index(">") :] == [">", "1", "2>&1"]
    verb, _ = command(words[1 : words.index(">")])
    assert verb.name == name
    assert literals(rule["log"])[0].startswith(f"results/logs/{name}/")
    assert literals(rule["benchmark"])[0].startswith(f"results/benchmarks/{name}/")
    # The foundation's --threads are for its pre-training, which is no part of the workflow.
    parallel = {"--threads", "--workers"} & {option for parameter in verb.params for option in parameter.opts}
    assert ("{threads}" in shell) == bool(parallel and name != "foundation")
    assert len(rule[""].splitlines()) <= 25 and len(shell.splitlines()) <= 4
    assert not {"retries", "script", "run", "notebook", "wrapper"} & set(rule)


def test_a_verb_or_option_that_does_not_exist_is_seen():
    for words in (["trane", "1"], ["train_drm", "1", "--threats", "1"], ["encode", "1"]):
        with pytest.raises(Exception, match=r"No such|Missing"):
            command(words)


def test_what_was_downloaded_outlives_its_job():
    """Snakemake deletes the outputs of a job before it runs and when it fails; gigabytes must not go because a title changed."""
    output = RULES["download"]["output"]
    assert 'update("data/raw/{dataset}.json")' in output and "directory" not in output and output.count("data/raw") == 1


def test_nothing_but_rules_and_functions():
    text = "\n".join(file.read_text(encoding="utf-8") for file in [PROJECT / "Snakefile", *RULE_FILES])
    assert not re.search(r"\blambda\b|^\s*(checkpoint|run|script|notebook)\b.*:|\bconfig\[", text, re.MULTILINE)
    assert RULES.keys() >= {
        "foundation",
        "download",
        "prepare",
        "encode",
        "restore",
        "score",
        "table",
        "figure",
        "report",
    }
    assert len(RULES) == len(re.findall(r"^rule \w+:", text, re.MULTILINE)) - 1, (
        "all is the only rule outside workflow/rules"
    )


def test_a_rules_inputs_are_those_of_its_card():
    """The check of an experiment (mperceiver.config.inputs_of) follows the rules."""
    cards = {name: re.search(r'"(.*?)"', rule["output"])[1] for name, rule in RULES.items()}
    folders = {card.partition("/{")[0]: name for name, card in cards.items() if not name.startswith("train_")}
    assert graph.JOBS.keys() == paths.CARDS.keys()
    for folder, job in graph.JOBS.items():
        if folder == paths.RUNS:
            for stage in config.STAGES:
                call = f'inputs(mperceiver.config.stage_inputs, stage="{stage}")'
                assert call in RULES[f"train_{stage}"]["input"]
        else:
            assert f"inputs(mperceiver.config.{job.inputs.__name__})" in RULES[folders.pop(folder.as_posix())]["input"]
    assert set(folders.values()) == {"report"}, "a rule whose inputs the check does not follow"
    folders = {card.partition("/{")[0]: name for name, card in cards.items() if not name.startswith("train_")}
    assert {folder.as_posix(): of.rule for folder, of in paths.CARDS.items() if of.rule} == {
        folder: name for folder, name in folders.items() if name != "report"
    }


def test_the_picture_in_the_readme_has_every_rule():
    assert draw_pipeline.PLACES.keys() == RULES.keys()


def test_the_profiles_share_no_key_and_every_entry_says_why():
    keys = []
    for file in ("profiles/default/config.yaml", "slurm/config.yaml"):
        text = (PROJECT / file).read_text(encoding="utf-8")
        keys.append(set(yaml.safe_load(text)))
        lines = text.splitlines()
        for i, line in enumerate(lines):
            assert not re.match(r"[a-z]", line) or lines[i - 1].startswith("#"), f"{file}: no comment above {line}"
    assert not keys[0] & keys[1]
    assert set(yaml.safe_load(text)["set-resources"]) | set(yaml.safe_load(text)["set-threads"]) <= set(RULES)


def test_dvc_knows_every_output_and_deletes_none():
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert list(stages) == ["data", "train", "evaluate", "report"]
    outs = {}
    for stage in stages.values():
        words = stage["cmd"].split()
        assert words[:3] == ["snakemake", "--cores", "all"] and set(words[4:]) <= RULES.keys()
        assert set(stage["params"][0]) and not any(set(dep.split("/")) & {"config"} for dep in stage.get("deps", []))
        outs |= {path: options for out in stage["outs"] for path, options in out.items()}
    assert all(options == {"persist": True} for options in outs.values())
    # The demo, whose stages these are, runs no outside program and measures no costs.
    for rule in (rule for name, rule in RULES.items() if name not in ("command", "measure")):
        for path in re.findall(r'"(.*?)"', re.sub(r"(caption|category|labels)=.*", "", rule["output"])):
            assert path.startswith(tuple(outs)), path
    settings = (PROJECT / ".dvc/config").read_text(encoding="utf-8")
    assert "analytics = false" in settings and "autostage = false" in settings


@pytest.mark.parametrize(
    ("rule", "files"),
    [
        ("table", [paths.table_file("{table}", suffix) for suffix in ("json", "html", "csv", "tex")]),
        ("figure", [paths.figure_file("{figure}", suffix) for suffix in ("json", *figures.SUFFIXES)]),
    ],
)
def test_every_file_that_is_printed_is_an_output(rule, files):
    """Else Snakemake would not make one again that was deleted."""
    assert sorted(re.findall(r'"(results/.*?)"', RULES[rule]["output"])) == sorted(map(str, files))


def test_what_is_printed_is_in_snakemakes_report():
    """`snakemake --report`: outputs that people look at have a caption, which is there, and a category."""
    text = (PROJECT / "workflow/rules/report.smk").read_text(encoding="utf-8")
    for name in (
        "results/tables/{table}.html",
        "results/figures/{figure}.png",
        "results/report/{experiment}.json",
    ):
        flag = text.partition(f'report(\n            "{name}",')[2].partition("),")[0]
        caption = re.search(r'caption="\.\./(report/\w+\.rst)"', flag)
        assert caption and (PROJECT / "workflow" / caption[1]).is_file(), name
        assert "category=" in flag and "labels=" in flag, name
    assert 'report: "workflow/report/workflow.rst"' in (PROJECT / "Snakefile").read_text(encoding="utf-8")
    assert (PROJECT / "workflow/report/workflow.rst").is_file()


def test_what_is_mended_of_snakemakes_head_is_still_there():
    """workflow/rules/head.smk; where a newer Snakemake or plugin has no such fault any more, its line goes."""
    import snakemake_executor_plugin_slurm as plugin
    from snakemake.scheduling.job_scheduler import JobScheduler

    assert "self._schedule_reevalutation(self.job_rate_limiter.timespan)" in inspect.getsource(JobScheduler.schedule)
    assert "if self.job_rate_limiter is None" in inspect.getsource(JobScheduler.job_selector)
    assert "pending_jobs_for_rule(dag, rule_name)" in inspect.getsource(plugin.Executor.run_jobs)
    head = (PROJECT / "workflow/rules/head.smk").read_text(encoding="utf-8")
    assert "workflow.scheduler.job_rate_limiter = None" in head and "plugin.pending_jobs_for_rule = " in head


def test_the_tiny_world_has_the_shipped_weights_of_a_metric():
    """A copy and no link, so that the world can be copied to elsewhere."""
    file = "config/foundations/lpips-alex.yaml"
    assert (TINY / file).read_bytes() == (PROJECT / file).read_bytes() and not (TINY / file).is_symlink()
