"""Results beside which a method's own are read: the degraded input, and what a perfect method could reach through the VAE."""

from dataclasses import dataclass

from mperceiver import config
from mperceiver.report.grid import Cell, Column
from mperceiver.report.scores import result
from mperceiver.report.tables.fill import method_cells


@dataclass(frozen=True)
class Reference:
    """A method of kind identity or vae."""

    method: str
    title: str
    foundation: str | None  # whose VAE the ground truth goes through
    drm: str | None  # run that trained the DRM, for a vae method with one


def all_references() -> list[Reference]:
    """The degraded inputs first, then the upper bounds that VAEs set."""
    methods = {name: config.load("methods", name) for name in config.names("methods")}
    return [
        Reference(name, method.title, config.method_foundation(name), config.method_weights(name).get("drm"))
        for kind in ("identity", "vae")
        for name, method in methods.items()
        if method.kind == kind
    ]


def references_of(references: list[Reference], method: str, columns: list[Column]) -> dict[str, tuple[str, list[Cell]]]:
    """Method -> (title, a cell a column) of the references that suit a method: of its VAE and DRM, under the same protocols."""
    foundation, drm = config.method_foundation(method), config.method_weights(method).get("drm")
    protocols = _protocols(method, columns[0])
    return {
        reference.method: (reference.title, method_cells(reference.method, columns))
        for reference in references
        if reference.method != method
        and (reference.foundation is None or foundation in (None, reference.foundation))
        and reference.drm in (None, drm)
        and protocols
        and _protocols(reference.method, columns[0]) == protocols
    }


def _protocols(method: str, column: Column) -> list[str]:
    """SHA-256 of the protocols under which a method was scored on a column's datasets; none if scores are missing."""
    scores = [result(method, dataset) for dataset in column.datasets]
    return [one["protocol_sha256"] for one in scores if one] if all(scores) else []
