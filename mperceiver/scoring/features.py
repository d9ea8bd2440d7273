"""Cache of the features of ground truths (LPIPS's activations, FID's features), for the next method that is scored on them.

data/features/{dataset}/{protocol}.safetensors may be deleted at any time; it is then computed again. It is used only for the
very pictures, protocol, weights and version of the code (VERSION) that it was computed from, and only while every byte of it is as it
was written.
"""

import hashlib
import json
import threading
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np

from mperceiver import files, paths
from mperceiver.config.protocols import Protocol
from mperceiver.metrics import METRICS
from mperceiver.metrics.metric import Features
from mperceiver.metrics.pictures import Pictures
from mperceiver.printing import say

# Of the code that computes features; kept ones of another version are not used. Raise it whenever the same pictures, protocol and
# weights would give other features or an older file would be read wrongly: after a change of a metric's `features`, of what the
# pictures pass through before it (mperceiver/scoring/pictures.py, mperceiver/metrics/pictures.py), or of the names and order of the arrays.
VERSION = 1
LIMIT_BYTES = 2**30  # of a dataset's features; beyond, reading them takes as long as computing them
MOST_ARRAYS = 8  # of one picture and metric


class FeatureCache:
    """Features of a dataset's ground truths under a protocol, by row of the dataset. Several threads may ask for rows.

    ``key`` describes what the features are computed from; a file with another key, or of another VERSION, is not used.
    """

    def __init__(self, dataset: str, name: str, protocol: Protocol, key: dict[str, str]) -> None:
        self.path = paths.features_file(dataset, name)
        self.protocol = protocol
        self.key = json.dumps(key | {"version": str(VERSION)}, sort_keys=True)
        functions = {metric: METRICS[metric].features for metric in protocol.metrics}
        self.functions = {metric: function for metric, function in functions.items() if function is not None}
        self._new: dict[str, np.ndarray] | None = {}  # None: too much to store
        self._bytes, self._lock = 0, threading.Lock()
        self._file: Any = self._open() if self.functions else None

    def _open(self) -> Any:
        from safetensors import SafetensorError, safe_open

        if not self.path.is_file():
            return None
        try:
            file = safe_open(self.path, framework="np")
            key, _, digest = (file.metadata() or {}).get("key", "").rpartition(" ")
            if key != self.key:
                return None
            if digest == _digest((name, file.get_tensor(name)) for name in sorted(file.keys())):
                return file
        except (SafetensorError, TypeError):  # cut off by a full disk, say; numbers of a type that numpy does not have
            pass
        say(f"{self.path}: not as it was written; what it held is computed again", error=True)
        return None

    def of(self, rows: range, gt: Pictures) -> dict[str, list[Features | None]]:
        """Metric -> the features of some rows, whose ground truths are ``gt`` (B, H, W, 3)."""
        if self._file is not None:
            return {metric: [self._read(metric, row) for row in rows] for metric in self.functions}
        features = {metric: function(gt, self.protocol) for metric, function in self.functions.items()}
        for metric, of_rows in features.items():
            self._remember(metric, rows, of_rows)
        return features

    def _read(self, metric: str, row: int) -> Features | None:
        names = [f"{row}.{metric}.{k}" for k in range(MOST_ARRAYS)]
        return [self._file.get_tensor(name) for name in names if name in self._names] or None

    @cached_property
    def _names(self) -> set[str]:
        return set(self._file.keys())

    def _remember(self, metric: str, rows: range, features: list[Features | None]) -> None:
        found = {
            f"{row}.{metric}.{k}": np.ascontiguousarray(array)
            for row, arrays in zip(rows, features, strict=True)
            for k, array in enumerate(arrays or [])
        }
        with self._lock:  # threads score pictures side by side
            if self._new is None:
                return
            self._new |= found
            self._bytes += sum(array.nbytes for array in found.values())
            if self._bytes > LIMIT_BYTES:
                self._new = None

    def save(self) -> None:
        """Write the features that were computed, whole, unless they were read from the file or are too many.

        Scores are as right without them, so a full or read-only disk ends nothing.
        """
        from safetensors import SafetensorError

        if self._file is None and self._new:
            try:
                self._write(self._new)
            except (OSError, SafetensorError) as error:  # safetensors has a class of its own
                say(f"{self.path}: not kept ({error}); the next method's scores take longer", error=True)

    def _write(self, features: dict[str, np.ndarray]) -> None:
        from safetensors.numpy import save_file

        digest = _digest((name, features[name]) for name in sorted(features))
        metadata = {"key": f"{self.key} {digest}"}  # one entry: safetensors writes several in random order
        with files.atomic_file(self.path) as beside:
            save_file(features, beside, metadata=metadata)


def _digest(arrays: Iterable[tuple[str, np.ndarray]]) -> str:
    """SHA-256 of names, types, shapes and numbers."""
    digest = hashlib.sha256()
    for name, array in arrays:
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
