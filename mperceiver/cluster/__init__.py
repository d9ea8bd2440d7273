"""Commands for the SLURM cluster that `snakemake --profile slurm` submits to.

Is the cluster fit for the profile (preflight), which jobs did a killed Snakemake leave behind (orphans), why did jobs fail
(why). The *head* is the Snakemake process that a user starts: it submits the jobs and waits for them.
"""

from mperceiver.cluster.ask import ClusterError

__all__ = ["ClusterError"]
