# Names become paths here. What depends on what is told by mperceiver.config, which the cards use too.
import os

from mperceiver import config as names

# The experiment: config/demo.yaml, or what --configfile names (as an absolute path, which no card should hold).
EXPERIMENT_FILE = os.path.relpath((workflow.overwrite_configfiles or workflow.configfiles)[-1])
EXPERIMENT = names.parse(Path(EXPERIMENT_FILE), names.Experiment)
os.environ["MPERCEIVER_EXPERIMENT"] = EXPERIMENT_FILE


envvars:
    "MPERCEIVER_EXPERIMENT",


wildcard_constraints:
    foundation=names.NAME.pattern,
    dataset=names.NAME.pattern,
    run=names.NAME.pattern,
    method=names.NAME.pattern,
    table=names.NAME.pattern,
    figure=names.NAME.pattern,


def raw_cards(wildcards):
    return [f"data/raw/{name}.json" for name in names.pictures_of(wildcards.dataset)]


def stage_inputs(stage):
    def found(wildcards):
        return names.stage_inputs(wildcards.run, stage)

    return found


def restore_inputs(wildcards):
    return names.restore_inputs(wildcards.method, wildcards.dataset)


def score_inputs(wildcards):
    return names.score_inputs(wildcards.method, wildcards.dataset)


def table_inputs(wildcards):
    return names.table_inputs(wildcards.table)


def figure_inputs(wildcards):
    return names.figure_inputs(wildcards.figure)
