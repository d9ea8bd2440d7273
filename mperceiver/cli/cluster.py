"""Verbs about the SLURM cluster that the workflow's jobs run on."""

from typing import Annotated

import typer

from mperceiver.cli.base import fail, verb

PANEL = "SLURM cluster"


@verb(PANEL)
def orphans(
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Cancel them and unlock the folder; a training saves its state first.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until they have ended, keep what they made, and unlock the folder.")
    ] = False,
) -> None:
    """List the SLURM jobs that a killed snakemake left in the queue; cancel them or wait for them."""
    if cancel and wait:
        fail("--cancel and --wait were both given; give one of them")
    from mperceiver.cluster.orphans import handle

    handle(cancel, wait)


@verb(PANEL, "why-failed")
def why_failed() -> None:
    """For each failed job of the last snakemake, print its state, the end of its log, the likely cause and the next command."""
    from mperceiver.cluster.why import print_failed_jobs

    if not print_failed_jobs():
        raise typer.Exit(1)
