# The pipeline, in order; the list of includes is its table of contents.
from snakemake.utils import min_version

min_version("9.0")


configfile: "config/demo.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/foundation.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/restore.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        "results/report.json",
