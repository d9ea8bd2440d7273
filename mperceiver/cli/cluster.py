"""Verbs about the SLURM cluster that the workflow's jobs run on."""

import functools
from typing import Annotated

import typer

from mperceiver.cli.base import fail, verb


@verb
def orphans(
    cancel: Annotated[bool, typer.Option("--cancel", help="cancel them; a training saves its state first")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="wait until they have ended, and keep what they made")] = False,
) -> None:
    """Tell of jobs that a killed snakemake left in the queue; cancel them or wait for them, then unlock the folder."""
    from mperceiver.cluster import jobs

    if cancel and wait:
        fail("--cancel or --wait, not both")
    jobs.refuse_a_living_head()
    found = jobs.queued()
    for job in found:
        print(f"{job.id:>10} {job.state:<10} {job.elapsed:>10} of {job.limit:<11} {job.node:<12} {job.rule}")
    if found and not (cancel or wait):
        fail(
            f"{len(found)} jobs run without a head. mperceiver orphans --wait, or --cancel, before snakemake is started"
        )
    if cancel and found:
        jobs.cancel(found)
    elif wait:
        jobs.wait()
    if cancel or wait:
        kept = jobs.unlock()
        print(f"unlocked; {len(kept)} files that were finished meanwhile are kept. The same snakemake command goes on")
    elif not found:
        print("no jobs of this folder are in the queue")
        if jobs.locked():
            print(
                "a head that was killed has left its lock: mperceiver orphans --wait takes it away and keeps what was finished"
            )


@functools.partial(verb, name="why-failed")
def why_failed() -> None:
    """For each failed job of the last snakemake: state, node, time, memory, end of its log, likely cause, next command."""
    from mperceiver.cluster import why

    text, failed = why.why_failed()
    print(text)
    if failed:
        raise typer.Exit(1)


def preflight() -> None:
    """Print whether the cluster is fit for slurm/config.yaml; code 1 if something would fail or hang."""
    from rich.console import Console
    from rich.text import Text

    from mperceiver.cluster.preflight import examine

    console, states = Console(soft_wrap=True), []
    for found in examine():  # as they come: a compute node is waited for
        states.append(found.state)
        style = {"ok": "green", "wrong": "red"}.get(found.state, "yellow")
        console.print(Text(f"{found.state:<8}", style=style) + Text(f"{found.subject:<24}{found.detail}"))
    if "wrong" in states:
        raise typer.Exit(1)
