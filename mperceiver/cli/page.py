"""The verb that opens the page on which photographs are restored."""

from typing import Annotated

import typer

from mperceiver.cli.base import Threads, prepare_torch, verb


@verb("Restoring")
def app(
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0: any that is free.")] = 7860,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Any but 127.0.0.1 lets other machines in, without a password.")
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser", help="Open the page in this machine's browser.")] = False,
    threads: Threads = 0,
) -> None:
    """Open a page to restore photographs on, in the browser. Needs the extra `app`: uv sync --extra app.

    Restores photographs with a divider between before and after, scores the pairs of prepared datasets, and degrades clean photographs.
    Nothing leaves this machine, and nothing is written but a temporary folder, removed in the end, and checksum caches beside weights.
    """
    prepare_torch(threads, hides=False)  # a method of kind python may need of diffusers what a foundation does not
    from mperceiver.app.serve import serve

    serve(host, port, browser)
