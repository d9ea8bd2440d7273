"""The SLURM cluster that `snakemake --profile slurm` submits to: is it fit, which jobs run without a head, why did one fail."""

from mperceiver.cluster.ask import ClusterError

__all__ = ["ClusterError"]
