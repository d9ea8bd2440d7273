"""Print which degradations there are, and what the parameters of one mean."""

import inspect

from mperceiver.degradations import DEGRADATIONS, PLACES
from mperceiver.degradations.ranges import parameters
from mperceiver.printing import console, say


def print_table() -> None:
    """Print every degradation with its place in a mix, and its parameters with their defaults."""
    from rich.table import Table

    table = Table("degradation", "place in a mix", "parameters and their defaults", header_style="bold")
    for name in sorted(DEGRADATIONS, key=lambda name: PLACES.index(DEGRADATIONS[name].place)):
        arguments = inspect.signature(DEGRADATIONS[name].apply).parameters.values()
        defaults = [f"{a.name}: {a.default}" for a in arguments if a.default not in (a.empty, None)]
        table.add_row(name, DEGRADATIONS[name].place, ", ".join(defaults))
    output = console()
    output.print(table)
    output.print(f"The layers of a mix follow the path of light: {' -> '.join(PLACES)}.")


def print_docstring(name: str) -> None:
    """Print a degradation's law, and its parameters with units and ranges. Raises ValueError for an unknown name."""
    if name not in DEGRADATIONS:
        raise ValueError(f"unknown degradation {name!r}; the degradations are {', '.join(sorted(DEGRADATIONS))}")
    degradation = DEGRADATIONS[name]
    say(f"{name} ({degradation.place})\n\n{inspect.getdoc(degradation.apply)}\n\nAllowed:")
    for parameter in parameters(degradation.apply):
        say(f"    {parameter.name}: {parameter.allowed}")
