"""The text encoder beside transformers' CLIPTextModel: numbers and gradients, and files as its versions write them."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from mperceiver.lineage import LineageError
from mperceiver.models import text_tower
from mperceiver.models.text_tower import load_text_tower

CONFIG = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 12,
    "layer_norm_eps": 1e-3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# The end in the middle, padding behind, and a prompt that is shorter than the context.
PROMPTS = [
    torch.tensor([[1, 7, 9, 3, 2, 0, 0, 0, 0, 0, 0, 0], [1, *range(29, 40)]]),
    torch.tensor([[1, 5, 39, 5, 2]]),
]


def write(folder, activation: str = "gelu", **how) -> CLIPTextModel:
    """transformers' model, saved in ``folder``: weights that no initialisation has."""
    torch.manual_seed(0)
    model = CLIPTextModel(CLIPTextConfig(**CONFIG, hidden_act=activation)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    model.save_pretrained(folder, **how)
    return model


def rewrite(folder, change) -> None:
    """Replace the weights of ``folder`` by ``change`` of them."""
    state = load_file(folder / text_tower.WEIGHTS)
    save_file(change(state), folder / text_tower.WEIGHTS, {"format": "pt"})


def outputs(model) -> list[torch.Tensor]:
    if isinstance(model, CLIPTextModel):
        return [model(input_ids=ids).last_hidden_state for ids in PROMPTS]
    return [model(model.token_embedding(ids)) for ids in PROMPTS]


def same(tower, library) -> None:
    with torch.no_grad():
        for now, then in zip(outputs(tower.eval()), outputs(library), strict=True):
            torch.testing.assert_close(now, then, rtol=0, atol=2e-6 * then.abs().max().item())


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_numbers_are_the_librarys(tmp_path, activation):
    library = write(tmp_path, activation)
    tower = load_text_tower(tmp_path)
    assert sum(p.numel() for p in tower.parameters()) == sum(p.numel() for p in library.parameters())
    assert (tower.width, tower.context) == (32, 12)
    same(tower, library)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_gradients_of_prompts_are_the_librarys(tmp_path, activation, again):
    """Through frozen weights, and with activations that are computed again; in double precision."""
    library = write(tmp_path, activation).double().requires_grad_(False)
    tower = load_text_tower(tmp_path, torch.float64).eval().requires_grad_(False)
    ids, toward = PROMPTS[0], torch.randn(2, 12, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    vocabulary = library.text_model.embeddings if hasattr(library, "text_model") else library.embeddings
    words = vocabulary.token_embedding.weight.requires_grad_()
    (library(input_ids=ids).last_hidden_state * toward).sum().backward()
    own = tower.token_embedding.weight.requires_grad_()
    prompts = tower.token_embedding(ids)
    output = checkpoint(tower, prompts, use_reentrant=False) if again else tower(prompts)
    (output * toward).sum().backward()
    torch.testing.assert_close(own.grad, words.grad, rtol=0, atol=1e-12 * words.grad.abs().max().item())
    assert [name for name, p in tower.named_parameters() if p.grad is not None] == ["token_embedding.weight"]


def test_a_layer_is_counted_and_heard(tmp_path):
    """As many operations as the library's, and hooks inside of a layer are called, with and without gradients."""
    library, tower = write(tmp_path), load_text_tower(tmp_path)
    library.eval().requires_grad_(False), tower.eval().requires_grad_(False)
    work = []
    for model in (library, tower):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            outputs(model)
        work.append(counter.get_total_flops())
    assert work[0] == work[1] > 0
    heard = []
    tower.layers[1].linear2.register_forward_hook(lambda *_: heard.append(True))
    outputs(tower)
    with torch.no_grad():
        outputs(tower)
    assert len(heard) == 2 * len(PROMPTS)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_under_autocast(tmp_path, dtype):
    """Weights and output have the precision of the library's; torch adds the bias of queries, keys and values with a rounding more."""
    exact = outputs(write(tmp_path))
    tower, half = load_text_tower(tmp_path, dtype).eval(), CLIPTextModel.from_pretrained(tmp_path, dtype=dtype).eval()
    assert {p.dtype for p in tower.parameters()} == {dtype}
    with torch.autocast("cpu", dtype):
        found = zip(outputs(tower), outputs(half), exact, strict=True)
    for now, then, whole in found:
        assert now.dtype == then.dtype
        assert (now - whole).square().mean() < 2 * (then - whole).square().mean()


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_names_of_all_versions(tmp_path, prefix):
    library = write(tmp_path)
    more = {"embeddings.position_ids": torch.arange(12)[None], "text_projection.weight": torch.ones(3, 3)}

    def renamed(state: dict) -> dict:
        plain = {name.removeprefix("text_model."): value for name, value in state.items()} | more
        return {prefix + name: value for name, value in plain.items()}

    rewrite(tmp_path, renamed)
    same(load_text_tower(tmp_path), library)


def test_weights_in_several_files(tmp_path):
    library = write(tmp_path, max_shard_size="20KB")
    assert not (tmp_path / text_tower.WEIGHTS).exists() and len(list(tmp_path.glob("*.safetensors"))) > 1
    same(load_text_tower(tmp_path), library)


def without(part: str):
    return lambda state: {name: value for name, value in state.items() if part not in name}


def cut(part: str):
    return lambda state: {name: value[:-1].clone() if part in name else value for name, value in state.items()}


@pytest.mark.parametrize("part", ["token_embedding", "layers.2.self_attn.k_proj.bias", "mlp.fc2", "final_layer_norm"])
@pytest.mark.parametrize("change", [without, cut])
def test_weights_that_do_not_fill_it(tmp_path, change, part):
    write(tmp_path)
    rewrite(tmp_path, change(part))
    with pytest.raises(LineageError, match=f"weights do not fill the text encoder, .*{part}"):
        load_text_tower(tmp_path)


def test_shapes_that_only_add_up(tmp_path):
    """Queries with a row too many and keys with one too few are as long as they should be together."""
    write(tmp_path)

    def shifted(state: dict) -> dict:
        queries, keys = (next(name for name in state if f"0.self_attn.{x}_proj.weight" in name) for x in "qk")
        both = torch.cat([state[queries], state[keys]])
        return state | {queries: both[:33].clone(), keys: both[33:].clone()}

    rewrite(tmp_path, shifted)
    with pytest.raises(LineageError, match="do not fill"):
        load_text_tower(tmp_path)


def test_another_activation(tmp_path):
    write(tmp_path, "relu")
    with pytest.raises(LineageError, match=r"hidden_act is relu, and CLIP's is gelu or quick_gelu"):
        load_text_tower(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("num_attention_heads", None, "KeyError: 'num_attention_heads'"), ("num_attention_heads", 5, "AssertionError")],
)
def test_another_configuration(tmp_path, key, value, message):
    write(tmp_path)
    path = tmp_path / "config.json"
    described = {name: old for name, old in json.loads(path.read_text(encoding="utf-8")).items() if name != key}
    path.write_text(json.dumps(described if value is None else described | {key: value}), encoding="utf-8")
    with pytest.raises(LineageError, match=rf"cannot be loaded as a text encoder \({message}"):
        load_text_tower(tmp_path)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_damaged_files(tmp_path, file):
    write(tmp_path)
    (tmp_path / file).write_bytes(b"{")
    with pytest.raises(LineageError, match="cannot be loaded as a text encoder"):
        load_text_tower(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(LineageError, match="cannot be loaded as a text encoder"):
        load_text_tower(tmp_path)
