"""The cache of ground truths' features: many threads share it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from mperceiver.config.protocols import Protocol
from mperceiver.metrics import METRICS
from mperceiver.scoring import features
from mperceiver.scoring.features import FeatureCache

ROWS, ARRAY = 64, np.zeros(1000, np.float32)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> FeatureCache:
    """A cache of one metric, whose features are 4,000 bytes a picture."""
    monkeypatch.chdir(tmp_path)
    metric = next(name for name, entry in METRICS.items() if entry.features is not None)
    monkeypatch.setitem(METRICS, metric, replace(METRICS[metric], features=lambda gt, protocol: [[ARRAY]] * len(gt)))
    return FeatureCache("d", "p", Protocol(title="t", metrics=[metric]), {"key": "k"})


@pytest.mark.parametrize(("limit", "kept"), [(ROWS * ARRAY.nbytes, True), (ROWS * ARRAY.nbytes - 1, False)])
def test_threads_fill_it_up_to_its_limit(cache, monkeypatch, limit, kept):
    monkeypatch.setattr(features, "LIMIT_BYTES", limit)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: cache.of(range(row, row + 1), [ARRAY]), range(ROWS)))
    assert all(next(iter(of.values()))[0][0] is ARRAY for of in found)
    cache.save()
    assert cache.path.is_file() == kept


def test_what_code_of_another_version_kept_is_not_used(cache, monkeypatch):
    cache.of(range(1), [ARRAY])
    cache.save()

    def is_used() -> bool:
        return FeatureCache("d", "p", cache.protocol, {"key": "k"})._file is not None

    assert is_used()
    monkeypatch.setattr(features, "VERSION", features.VERSION + 1)
    assert not is_used()
