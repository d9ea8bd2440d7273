"""Results beside which a method's own are read: the degraded input, and what a perfect method could reach through the VAE."""

from mperceiver import config
from mperceiver.report.grid import Cell, Column
from mperceiver.report.scores import result
from mperceiver.report.tables.fill import method_cells


def references_of(references: list[str], method: str, columns: list[Column]) -> dict[str, tuple[str, list[Cell]]]:
    """Reference -> (title, a cell a column) of those of ``references`` that suit a method and were scored under the same protocols."""
    protocols = _protocols(method, columns[0])
    return {
        name: (config.load("methods", name).title, method_cells(name, columns))
        for name in references
        if config.is_beside(name, method) and protocols and _protocols(name, columns[0]) == protocols
    }


def _protocols(method: str, column: Column) -> list[str]:
    """SHA-256 of the protocols under which a method was scored on a column's datasets; none if scores are missing."""
    scores = [result(method, dataset) for dataset in column.datasets]
    return [one["protocol_sha256"] for one in scores if one] if all(scores) else []
