# The experiment, and the inputs of rules: mperceiver.config lists them, here and for the cards.
import os
import re
import sys

import mperceiver.config
from mperceiver.clock import check_times
from mperceiver.config.experiments import IN_WORKFLOW, Experiment, check_command_line, experiment_name
from mperceiver.protection import release_outputs

# Jobs are started by Snakemake, with command lines of its own.
WORDS = sys.argv[1:] if workflow.is_main_process else []
check_command_line(workflow.config_settings.config, workflow.overwrite_configfiles, WORDS)

# config/demo.yaml, or the file that --configfile names. Snakemake makes its path absolute; cards hold relative paths.
EXPERIMENT_FILE = os.path.relpath((workflow.overwrite_configfiles or workflow.configfiles)[-1])
EXPERIMENT = mperceiver.config.parse(Path(EXPERIMENT_FILE), Experiment)
EXPERIMENT_NAME = experiment_name(Path(EXPERIMENT_FILE))  # each experiment has a site of its own
os.environ[IN_WORKFLOW] = EXPERIMENT_FILE


envvars:
    IN_WORKFLOW,


wildcard_constraints:
    foundation=mperceiver.config.NAME.pattern,
    dataset=mperceiver.config.NAME.pattern,
    run=mperceiver.config.NAME.pattern,
    method=mperceiver.config.NAME.pattern,
    table=mperceiver.config.NAME.pattern,
    figure=mperceiver.config.NAME.pattern,
    experiment=re.escape(EXPERIMENT_NAME),


def inputs(function, **arguments):
    """An input function: the files that a function of mperceiver.config lists for the rule's wildcards, ``checked``."""

    def of_wildcards(wildcards):
        return checked(function(**wildcards, **arguments))

    return of_wildcards


def inputs_of_report(wildcards):
    """The files that the site is made of, the experiment's among them, ``checked``."""
    return checked(mperceiver.config.report_inputs(EXPERIMENT_FILE))


def checked(entries):
    """The files of inputs. Raises ClockError for a file whose time is ahead of the clock."""
    files = mperceiver.config.files_of_inputs(entries)
    check_times(files)
    return files


def processes(stage):
    """A function that gives the cores of a training: one for each of its processes."""

    def of_wildcards(wildcards):
        return mperceiver.config.stage_processes(wildcards.run, stage)

    return of_wildcards


def sizes_to_measure(wildcards):
    """A parameter, so that a method is measured again if a table asks for another size of picture."""
    return mperceiver.config.cost_sizes(wildcards.method)


if workflow.is_main_process:
    release_outputs()
    mperceiver.config.check(EXPERIMENT)
    # Snakemake plans by the times of files. This makes them agree with the cards.
    mperceiver.config.settle(EXPERIMENT_FILE)
