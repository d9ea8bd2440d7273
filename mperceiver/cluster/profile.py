"""What the cluster profile, slurm/config.yaml, asks of the cluster's partitions."""

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROFILE = Path("slurm/config.yaml")
OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
FUNCTIONS = {"min": min, "max": max}


@dataclass(frozen=True)
class PartitionRequest:
    """What some jobs of the profile ask of a partition."""

    partition: str  # "" for the cluster's default partition
    # Of the first attempt. 0: the profile sets no time, and the partition's holds. None: see ``runtime``.
    minutes: int | None
    gpus: int  # of each node
    nodes: int
    gpu_model: str  # "" for any model
    runtime: str = ""  # as the profile has it, if only Snakemake can tell how many minutes it is


def resource_sets(profile: dict[str, Any]) -> list[dict[str, Any]]:
    """The resources of each kind of job: the profile's defaults, then the defaults overridden by each rule's own."""
    default = profile.get("default-resources", {})
    return [default | own for own in [{}, *profile.get("set-resources", {}).values()]]


def partition_requests(profile: dict[str, Any]) -> list[PartitionRequest]:
    """What the profile asks of the partitions, each different request once."""
    requests: dict[PartitionRequest, None] = {}  # keeps the order
    for resources in resource_sets(profile):
        gpu_model, gpus = node_gpus(resources)
        runtime = resources.get("runtime", 0)
        minutes = minutes_of(runtime)
        unread = str(runtime) if minutes is None else ""
        partition = str(resources.get("slurm_partition", ""))
        requests[PartitionRequest(partition, minutes, gpus, int(resources.get("nodes", 1)), gpu_model, unread)] = None
    return list(requests)


def minutes_of(runtime: Any) -> int | None:
    """Minutes of a `runtime` in a job's first attempt, by the rules of Snakemake's `Resource`.

    A whole number and arithmetic with `attempt` are minutes. A number with a unit (`90m`, `2h`, `1d`) is rounded down, to a
    minute at least; Snakemake takes only one such pair, and refuses `1h30m`.

    Returns:
        None for an expression that only Snakemake can evaluate, and for what Snakemake refuses.
    """
    from humanfriendly import InvalidTimespan, parse_timespan

    text = str(runtime).strip("'\"")
    if text.isdecimal():
        return int(text)
    try:
        return max(round(parse_timespan(text)) // 60, 1)
    except InvalidTimespan:
        pass
    try:
        minutes = round(_value(ast.parse(text, mode="eval").body))
    except (SyntaxError, ValueError, ArithmeticError):
        return None
    return minutes if minutes >= 0 else None


def _value(node: ast.expr) -> float:
    """The value of arithmetic with numbers and `attempt`, which is 1. Raises ValueError for anything else."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return number
        case ast.Name(id="attempt"):
            return 1
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_value(left), _value(right))
        case ast.Call(func=ast.Name(id=name), args=[_, _, *_] as terms, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*map(_value, terms))
    raise ValueError(f"not arithmetic: {ast.unparse(node)}")


def node_gpus(resources: dict[str, Any]) -> tuple[str, int]:
    """(model, number) of the GPUs of a node: from `gpu: 1` and `gpu_model: a100`, or from `gres: gpu:a100:8`."""
    gres = str(resources.get("gres", "")).split(":")
    if gres[0] != "gpu":
        return str(resources.get("gpu_model", "")), int(resources.get("gpu", 0))
    if len(gres) == 3:
        return gres[1], int(gres[2])
    return "", int(gres[1]) if len(gres) == 2 else 1
