"""What the cluster profile, slurm/config.yaml, asks of the cluster's partitions."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROFILE = Path("slurm/config.yaml")


@dataclass(frozen=True)
class PartitionRequest:
    """What some jobs of the profile ask of a partition."""

    partition: str  # "" for the cluster's default partition
    minutes: int
    gpus: int  # of each node
    nodes: int
    gpu_model: str  # "" for any model


def resource_sets(profile: dict[str, Any]) -> list[dict[str, Any]]:
    """The resources of each kind of job: the profile's defaults, then the defaults overridden by each rule's own."""
    default = profile.get("default-resources", {})
    return [default | own for own in [{}, *profile.get("set-resources", {}).values()]]


def partition_requests(profile: dict[str, Any]) -> list[PartitionRequest]:
    """What the profile asks of the partitions, each different request once."""
    requests: dict[PartitionRequest, None] = {}  # keeps the order
    for resources in resource_sets(profile):
        gpu_model, gpus = node_gpus(resources)
        numbers = re.findall(r"\d+", str(resources.get("runtime", 0)))  # `attempt * 120`: of the first attempt
        minutes = int(numbers[-1]) if numbers else 0
        partition = str(resources.get("slurm_partition", ""))
        requests[PartitionRequest(partition, minutes, gpus, int(resources.get("nodes", 1)), gpu_model)] = None
    return list(requests)


def node_gpus(resources: dict[str, Any]) -> tuple[str, int]:
    """(model, number) of the GPUs of a node: from `gpu: 1` and `gpu_model: a100`, or from `gres: gpu:a100:8`."""
    gres = str(resources.get("gres", "")).split(":")
    if gres[0] != "gpu":
        return str(resources.get("gpu_model", "")), int(resources.get("gpu", 0))
    if len(gres) == 3:
        return gres[1], int(gres[2])
    return "", int(gres[1]) if len(gres) == 2 else 1
