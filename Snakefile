# The pipeline, in order; the list of includes is its table of contents.
from snakemake.utils import min_version

min_version("9.0")


configfile: "config/demo.yaml"


# The front page of `snakemake --report report.html`, one file with the tables and figures.
report: "workflow/report/workflow.rst"


# Jobs run in the environment in which Snakemake runs (uv.lock). With `--sdm apptainer` they run in this image, which a site builds
# with the same environment; without that option the file need not exist.
container: "mperceiver.sif"


# With a cluster profile these rules run where Snakemake runs: they take seconds, or need the network, which compute nodes lack.
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
        f"results/report/{EXPERIMENT_NAME}.json",
