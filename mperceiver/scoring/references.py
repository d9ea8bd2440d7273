"""What metrics make of ground truths (LPIPS's activations, FID's features), kept for the next method that is scored on them.

data/features/{dataset}/{protocol}.safetensors, a cache: it may be removed at any time, it is made again. It is taken only for
the very pictures, protocol and weights that it was made of.
"""

import json
from pathlib import Path

import numpy as np

from mperceiver import files
from mperceiver.config.protocols import Protocol
from mperceiver.metrics import METRICS
from mperceiver.metrics.pictures import Pictures, Reference

LIMIT_BYTES = 2**30  # of a dataset's features; beyond, reading them takes as long as making them


class References:
    """Reference-side features of a dataset under a protocol, by row. Rows may be asked for by several threads."""

    def __init__(self, dataset: str, protocol: str, spec: Protocol, made_of: dict[str, str]) -> None:
        self.path = Path("data/features") / dataset / f"{protocol}.safetensors"
        self.spec = spec
        self.key = json.dumps(made_of, sort_keys=True)
        self.metrics = [name for name in spec.metrics if METRICS[name].reference is not None]
        self._new: dict[str, np.ndarray] | None = {}
        self._file = self._open() if self.metrics else None

    def _open(self):
        from safetensors import SafetensorError, safe_open

        if not self.path.is_file():
            return None
        try:
            file = safe_open(self.path, framework="np")
            return file if (file.metadata() or {}).get("key") == self.key else None
        except SafetensorError:  # cut short by a full disk, say; made again
            return None

    def of(self, rows: range, gt: Pictures) -> dict[str, list[Reference | None]]:
        """Metric -> the features of some rows, whose ground truths are ``gt`` (B, H, W, 3)."""
        if self._file is not None:
            return {name: [self._read(name, row) for row in rows] for name in self.metrics}
        found = {name: METRICS[name].reference(gt, self.spec) for name in self.metrics}
        for name, features in found.items():
            self._keep(name, rows, features)
        return found

    def _read(self, name: str, row: int) -> Reference | None:
        keys = [f"{row}.{name}.{k}" for k in range(8)]
        there = [self._file.get_tensor(key) for key in keys if key in self._names]
        return there or None

    @property
    def _names(self) -> set[str]:
        if not hasattr(self, "_known"):
            self._known = set(self._file.keys())
        return self._known

    def _keep(self, name: str, rows: range, features: list[Reference | None]) -> None:
        if self._new is None:
            return
        for row, parts in zip(rows, features, strict=True):
            self._new |= {f"{row}.{name}.{k}": np.ascontiguousarray(part) for k, part in enumerate(parts or [])}
        if sum(part.nbytes for part in list(self._new.values())) > LIMIT_BYTES:
            self._new = None

    def save(self) -> None:
        """Write what was made, whole, unless it was read or is too much."""
        from safetensors.numpy import save_file

        if self._file is None and self._new:
            with files.atomic_file(self.path) as beside:
                save_file(self._new, beside, metadata={"key": self.key})
