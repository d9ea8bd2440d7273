# The pipeline, in order; the list of includes is its table of contents.
from snakemake.utils import min_version

min_version("9.0")


configfile: "config/demo.yaml"


# `snakemake --report report.html`: what was made, in one file that can be sent.
report: "workflow/report/workflow.rst"


# Jobs run in the environment that Snakemake itself runs in: uv.lock. With `--sdm apptainer` they run in this image instead,
# one with the same environment that a site makes for itself; the file is not looked at otherwise.
container: "mperceiver.sif"


# Seconds each, or in need of the network that compute nodes lack: with a cluster profile they stay where Snakemake runs.
localrules:
    all,
    foundation,
    download,
    table,
    figure,
    report,


include: "workflow/rules/common.smk"
include: "workflow/rules/foundation.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/restore.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/head.smk"


rule all:
    default_target: True
    input:
        "results/report.json",
