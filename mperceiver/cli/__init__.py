"""The command line. A verb parses its arguments and calls one function; a rule of the workflow has the name of its verb.

Names in arguments are stems of files in config/; paths follow from them.
"""

from mperceiver.cli import data, train, restore, page, report, lineage, cluster  # noqa: I001 - each adds its verbs, in the order of --help
from mperceiver.cli.base import app

__all__ = ["app"]
