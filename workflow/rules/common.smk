# Names become paths here. What depends on what is told by mperceiver.config, which the cards use too.
import os

import mperceiver.config
from mperceiver.config.experiments import Experiment

# The experiment: config/demo.yaml, or what --configfile names (as an absolute path, which no card should hold).
EXPERIMENT_FILE = os.path.relpath((workflow.overwrite_configfiles or workflow.configfiles)[-1])
EXPERIMENT = mperceiver.config.parse(Path(EXPERIMENT_FILE), Experiment)
os.environ["MPERCEIVER_EXPERIMENT"] = EXPERIMENT_FILE


envvars:
    "MPERCEIVER_EXPERIMENT",


wildcard_constraints:
    foundation=mperceiver.config.NAME.pattern,
    dataset=mperceiver.config.NAME.pattern,
    run=mperceiver.config.NAME.pattern,
    method=mperceiver.config.NAME.pattern,
    table=mperceiver.config.NAME.pattern,
    figure=mperceiver.config.NAME.pattern,


def foundation_files(wildcards):
    return mperceiver.config.files_of("foundations", wildcards.foundation)


def dataset_files(wildcards):
    return mperceiver.config.files_of("datasets", wildcards.dataset)


def prepare_inputs(wildcards):
    return mperceiver.config.prepare_inputs(wildcards.dataset)


def stage_inputs(stage):
    def found(wildcards):
        return mperceiver.config.stage_inputs(wildcards.run, stage)

    return found


def restore_inputs(wildcards):
    return mperceiver.config.restore_inputs(wildcards.method, wildcards.dataset)


def score_inputs(wildcards):
    return mperceiver.config.score_inputs(wildcards.method, wildcards.dataset)


def table_inputs(wildcards):
    return mperceiver.config.table_inputs(wildcards.table)


def figure_inputs(wildcards):
    return mperceiver.config.figure_inputs(wildcards.figure)


def check(paths):
    """Read every file that ``paths`` stand on: Snakemake passes over an input function's error where its output is there."""
    inputs = {"scores": mperceiver.config.score_inputs, "restored": mperceiver.config.restore_inputs, "runs": mperceiver.config.stage_inputs}
    waiting = list(paths)
    for path in waiting:  # grows as it goes
        top, kind, *stems = Path(path).with_suffix("").parts
        if top == "results":
            waiting += [found for found in inputs[kind](*stems) if found not in waiting]
        elif (top, kind) == ("data", "prepared"):
            waiting += [found for found in mperceiver.config.prepare_inputs(*stems) if found not in waiting]
        elif (top, kind) in {("data", "raw"), ("data", "foundations")}:
            mperceiver.config.load("datasets" if kind == "raw" else kind, stems[0])


if workflow.is_main_process:
    tables = [path for name in EXPERIMENT.tables for path in mperceiver.config.table_inputs(name)]
    figures = [path for name in EXPERIMENT.figures for path in mperceiver.config.figure_inputs(name)]
    check(dict.fromkeys(tables + figures))
