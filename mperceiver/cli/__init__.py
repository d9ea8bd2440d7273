"""The verbs. Names are stems of files in config/; paths follow from them. A rule of the workflow has the name of its verb."""

from mperceiver.cli import data, train, restore, report, cluster  # noqa: I001 - each adds its verbs, in the order of --help
from mperceiver.cli.base import app

__all__ = ["app"]
