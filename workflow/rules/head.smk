# Two faults of Snakemake 9.27's head, mended before its first job. A test tells when what is mended here is no longer there.
import sys


def no_others(dag, rule):
    return 0


onstart:
    # Its limit of jobs a second looks at all that is ready once more a second for each job that has ended, until the head does
    # nothing else (snakemake/snakemake#3744). No job here is so short that it would be needed.
    workflow.scheduler.job_rate_limiter = None
    # Of an array's jobs the SLURM plugin drops those that the scheduler gave it, where it had not the slots to give all that were
    # ready, and waits for them for ever (snakemake-executor-plugin-slurm#473). So it is told that no others are ready.
    if plugin := sys.modules.get("snakemake_executor_plugin_slurm"):
        plugin.pending_jobs_for_rule = no_others
