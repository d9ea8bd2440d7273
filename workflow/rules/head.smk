# What the main process of Snakemake does before the first job and after the last one.
import sys

from mperceiver.training.discarding import discard_finished


def no_pending_jobs(dag, rule):
    return 0


# Workarounds for two faults in Snakemake 9.27. A test fails when the code that they change is gone from Snakemake or its plugin.
onstart:
    # With its limit of jobs a second, Snakemake looks once more at all ready jobs for each job that has ended, until the main process
    # does nothing else (snakemake/snakemake#3744). No job here is short enough to need the limit.
    workflow.scheduler.job_rate_limiter = None
    # The SLURM plugin holds back the jobs of an array until it has all that are ready. If there are fewer slots than ready jobs, it
    # drops the ones it has and waits for ever (snakemake-executor-plugin-slurm#473). With no pending jobs it submits what it has.
    if plugin := sys.modules.get("snakemake_executor_plugin_slurm"):
        plugin.pending_jobs_for_rule = no_pending_jobs


# After all jobs have succeeded, Snakemake deletes no weights any more, so their resume states are not needed.
onsuccess:
    discard_finished()
