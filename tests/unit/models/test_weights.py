"""A file of weights that is not what its card or its model says is refused by name; nothing is cast, nothing is half loaded."""

import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from mperceiver.files import sha256
from mperceiver.lineage import LineageError
from mperceiver.models.weights import load_weights


@pytest.fixture
def module() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Linear(4, 3)


@pytest.fixture
def path(tmp_path, module):
    save_file(state_of(module), tmp_path / "drm.safetensors")
    return tmp_path / "drm.safetensors"


def state_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def write_card(path, digest: str | None = None, name: str | None = None) -> None:
    outputs = {str(path.with_name(name or path.name)): digest or sha256(path)}
    card = {"verb": "train_drm", "inputs": {}, "outputs": outputs}
    path.with_suffix(".json").write_text(json.dumps(card))


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.bool, torch.float16, torch.float64])
def test_another_type_of_numbers_is_refused_and_nothing_is_loaded(path, module, dtype):
    before = state_of(module)
    save_file({name: tensor.to(dtype) for name, tensor in before.items()}, path)
    with pytest.raises(
        LineageError, match=r"drm\.safetensors: does not fit .*bias: \w+ \(3,\) in the file, float32 \(3,\)"
    ):
        load_weights(path, module)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_one_tensor_of_another_type_is_named(path, module):
    state = state_of(module)
    save_file(state | {"weight": state["weight"].bfloat16()}, path)
    with pytest.raises(LineageError, match=r"\(1 tensors\): weight: bfloat16 \(3, 4\) in the file, float32 \(3, 4\)"):
        load_weights(path, module)


def header(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 100,
        pickle.dumps({"weight": [0.0]}),
        header(b"{}"),
        header(b"[1, 2]"),
        header(b'{"weight": {"dtype": "F99", "shape": [3, 4], "data_offsets": [0, 48]}}') + bytes(48),
        header(b'{"weight": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}}') + bytes(20),
        header(b'{"weight": {"dtype": "F32", "shape": [3, 4], "data_offsets": [8, 1]}}') + bytes(48),
        header(b'{"weight": {"dtype": "F8_E4M3", "shape": [12], "data_offsets": [0, 12]}}') + bytes(12),
        (1 << 62).to_bytes(8, "little") + b"{}",
    ],
    ids=["empty", "noise", "pickle", "nothing inside", "list", "type", "cut", "offsets", "shape", "long header"],
)
def test_whatever_is_wrong_with_a_file_is_the_projects_own_error(path, module, data):
    path.write_bytes(data)
    with pytest.raises(LineageError, match=r"drm\.safetensors: (damaged|does not fit)"):
        load_weights(path, module)


def test_weights_that_are_their_cards_are_hashed_once(path, module, monkeypatch):
    from mperceiver import files

    write_card(path)
    hashed = []
    monkeypatch.setattr(files, "sha256", lambda file: hashed.append(file) or sha256(file))
    load_weights(path, module)
    load_weights(path, module)
    assert hashed == [path]


def test_sound_weights_of_another_training_are_refused_by_name(path, module):
    """They fit the model and load; only the card tells them from the right ones."""
    write_card(path)
    load_weights(path, module)
    before = state_of(module)
    save_file({name: tensor + 1 for name, tensor in before.items()}, path)
    with pytest.raises(
        LineageError, match=r"drm\.safetensors: its SHA-256 is \w{64}, its card says \w{64}; .*snakemake"
    ):
        load_weights(path, module)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_weights_without_a_card_are_told(path, module, capsys):
    load_weights(path, module)
    assert f"{path}: no card ({path.with_suffix('.json')})" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"inputs": {}, "outputs": {}, "verb": "train_drm"}'])
def test_a_card_that_is_none_or_that_of_other_weights_is_refused(path, module, text):
    path.with_suffix(".json").write_text(text)
    with pytest.raises(LineageError, match=r"drm\.json: not (a card|the card of)"):
        load_weights(path, module)
