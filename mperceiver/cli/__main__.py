"""`python -m mperceiver.cli`, where the console script is not on the PATH."""

from mperceiver.cli.program import run

run()
