"""The baselines' networks beside the official code: names, shapes, parameters, and values filled in by rule.

tests/golden/baselines/ holds what the official code gave, in float64, with the weights and the picture of
tests/support/by_name.py; the code itself was run outside this repository.
"""

import hashlib
import json

import pytest
import torch
from support import PROJECT
from support.by_name import fill, observed, picture

from mperceiver.models.baselines import ARCHITECTURES

GOLDEN = PROJECT / "tests/golden/baselines"
FULL_SIZE = json.loads((GOLDEN / "full-size.json").read_text(encoding="utf-8"))
VALUES = sorted(path.stem for path in GOLDEN.glob("*.json") if path.stem != "full-size")


@pytest.mark.parametrize("variant", FULL_SIZE)
def test_names_and_shapes_are_the_published_ones(variant):
    """So a published checkpoint loads strictly."""
    official = FULL_SIZE[variant]
    with torch.device("meta"):
        network = ARCHITECTURES[official["architecture"]].build(**official["arguments"])
    state = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    assert len(state) == official["entries"]
    lines = "".join(f"{name} {shape}\n" for name, shape in sorted(state.items()))
    assert hashlib.sha256(lines.encode()).hexdigest() == official["names_and_shapes"]
    assert sum(parameter.numel() for parameter in network.parameters()) == official["parameters"]


@pytest.mark.parametrize("variant", VALUES)
def test_equals_the_official_code(variant):
    """Every block's output, to rounding in float64."""
    official = json.loads((GOLDEN / f"{variant}.json").read_text(encoding="utf-8"))
    network = fill(ARCHITECTURES[official["architecture"]].build(**official["arguments"]), official.get("scale"))
    height, width = official["size"]
    lq = picture(height, width)
    if official["channels"] == 6:
        lq = torch.cat([lq, lq.flip(-1)], 1)
    blocks = observed(network, [name for name in official["blocks"] if name != "output"], lq)
    for name, golden in official["blocks"].items():
        assert blocks[name]["shape"] == golden["shape"], name
        for key in ("mean", "std", "samples"):
            assert blocks[name][key] == pytest.approx(golden[key], rel=1e-9, abs=1e-9), (name, key)
