"""What does not depend on t is computed once per picture: the same mathematics, no call too many, nothing left behind."""

import gc
from collections import Counter

import pytest
import torch

from mperceiver.config.modules import ModelConfig
from mperceiver.models.branches import Branches
from mperceiver.models.cross_attention import cross_attentions

N = 9


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def built(foundation, spec: ModelConfig, **changes) -> Branches:
    """Branches in general position: no convolution is zero any more, no gate closed."""
    torch.manual_seed(0)
    branches = Branches(foundation, N, ModelConfig.model_validate(spec.model_dump() | changes))
    with torch.no_grad():
        for parameter in branches.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
    return branches


@pytest.fixture
def pictures(foundation) -> dict[str, torch.Tensor]:
    """Two pictures, one step of their sampling; height and width differ."""
    return {
        "z": random(2, 4, 16, 24, seed=1),
        "embedding": random(2, foundation.embedding_width, seed=2),
        "lq_latent": random(2, 4, 16, 24, seed=3),
        "probabilities": random(2, N, seed=4).softmax(1),
    }


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"modulation": "release"},
        {"modulation": "identity_gate"},
        {"prompt_order": "cm_first"},
        {"tp_pool": False},
        {"vp_pool": False},
        {"textual": False},
        {"visual": False},
        {"textual": False, "visual": False},
    ],
    ids=str,
)
@torch.no_grad()
def test_equals_the_straightforward_path_at_every_step(foundation, tiny_run, pictures, switches):
    branches = built(foundation, tiny_run.model, **switches)
    static = branches.prepare(pictures["embedding"], pictures["probabilities"])
    for step, t in enumerate((981, 501, 1)):
        inputs = pictures | {"z": pictures["z"] + step, "t": torch.full((2,), t)}
        found = branches.predict(inputs["z"], inputs["t"], static, inputs["lq_latent"])
        expected = branches(**inputs)
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max(), t


@torch.no_grad()
def test_nothing_static_is_computed_at_a_step(foundation, tiny_run, pictures):
    """Neither the text encoder, nor keys and values of the context and the prompts, nor the IR-Adapter's stem."""
    branches = built(foundation, tiny_run.model)
    calls = Counter()
    adapter = branches.ir_adapter
    static_parts = {
        "text": foundation.text_encoder.final_layer_norm,
        "cm": branches.textual.cm_adapter.fc,
        "stem": adapter.stem,
        "first": adapter.blocks[0][0].conv1,
        "second": adapter.blocks[0][1].conv1,  # time has come in by then
        "to_q": adapter.modulators[0].to_q,
        "to_k": adapter.modulators[0].to_k,
        "to_v": adapter.modulators[3].to_v,
    }
    layers = cross_attentions(foundation.unet)
    assert len(layers) > 1
    for name, layer in layers.items():
        static_parts |= {f"{name} {part}": getattr(layer, part) for part in ("to_q", "to_k", "to_v")}
    for name, module in static_parts.items():
        module.register_forward_hook(lambda m, i, o, name=name: calls.update([name]))
    static = branches.prepare(pictures["embedding"], pictures["probabilities"])
    for t in (981, 501, 1):
        branches.predict(pictures["z"], torch.full((2,), t), static, pictures["lq_latent"])
    each_step = {"second", *(name for name in static_parts if name.endswith("to_q"))}
    assert calls == {name: 3 if name in each_step else 1 for name in static_parts}


@torch.no_grad()
def test_tiles_of_one_picture(foundation, tiny_run, pictures):
    """A tile has its own latent and its picture's context; tiles of several pictures go through in one batch."""
    branches = built(foundation, tiny_run.model)
    static = branches.prepare(pictures["embedding"], pictures["probabilities"])
    windows = [(..., slice(0, 16)), (..., slice(8, 24))]
    z, lq = (torch.cat([pictures[name][window] for window in windows]) for name in ("z", "lq_latent"))
    owners = [0, 1, 0, 1]
    batched = static.of(owners)
    for t in (981, 1):
        together = branches.predict(z, torch.full((4,), t), batched, lq)
        for row, owner in enumerate(owners):
            alone = branches(
                z[row : row + 1],
                torch.tensor([t]),
                pictures["embedding"][owner : owner + 1],
                lq[row : row + 1],
                pictures["probabilities"][owner : owner + 1],
            )
            assert (together[row] - alone[0]).abs().max() <= 1e-5 * alone.abs().max(), (t, row)
    one = branches.predict(z[:2], torch.full((2,), 1), static, lq[:2])
    other = branches.predict(z[2:], torch.full((2,), 1), static, lq[2:])
    assert (torch.cat([one, other]) - together).abs().max() <= 1e-5 * together.abs().max()


@torch.no_grad()
def test_pictures_do_not_see_each_other(foundation, tiny_run, pictures):
    """Two statics used in turn, tiles changing under one: each answer is the one it would be alone."""
    branches = built(foundation, tiny_run.model)
    t = torch.tensor([500])
    alone, statics = [], []
    for i in range(2):
        one = {name: tensor[i : i + 1] for name, tensor in pictures.items()}
        alone.append(branches(t=t, **one))
        statics.append((branches.prepare(one["embedding"], one["probabilities"]), one))
    assert (alone[0] - alone[1]).abs().max() > 1e-2
    for i in (0, 1, 1, 0):
        static, one = statics[i]
        found = branches.predict(one["z"], t, static, one["lq_latent"].clone())
        assert (found - alone[i]).abs().max() <= 1e-5 * alone[i].abs().max()


@torch.no_grad()
def test_a_latent_that_is_gone_is_forgotten(foundation, tiny_run, pictures):
    branches = built(foundation, tiny_run.model)
    static = branches.prepare(pictures["embedding"], pictures["probabilities"])
    for seed in range(4):
        lq = random(2, 4, 16, 24, seed=seed)
        inputs = pictures | {"lq_latent": lq, "t": torch.tensor([9, 9])}
        found = branches.predict(inputs["z"], inputs["t"], static, lq)
        assert (found - branches(**inputs)).abs().max() < 1e-5 * found.abs().max()
        assert len(static.latent_features) == 1
        del lq, inputs
        gc.collect()
        assert len(static.latent_features) == 0


@torch.no_grad()
def test_the_unet_is_as_before(foundation, stock, tiny_run, pictures):
    """After a step, and after one that failed, the U-Net answers its own context again."""
    branches = built(foundation, tiny_run.model)
    static = branches.prepare(pictures["embedding"], pictures["probabilities"])
    t = torch.tensor([9, 9])
    other = random(2, *static.context.shape[1:], seed=9)
    expected = stock.unet(pictures["z"], t, other).sample
    branches.predict(pictures["z"], t, static, pictures["lq_latent"])
    assert torch.equal(foundation.unet(pictures["z"], t, other).sample, expected)
    with pytest.raises(RuntimeError):
        branches.predict(pictures["z"][:, :3], t, static, pictures["lq_latent"])
    assert torch.equal(foundation.unet(pictures["z"], t, other).sample, expected)
    assert all(layer.processor.cached is None for layer in cross_attentions(foundation.unet).values())


def test_no_graph_is_kept(foundation, tiny_run, pictures):
    branches = built(foundation, tiny_run.model)
    static = branches.prepare(pictures["embedding"], pictures["probabilities"])
    found = branches.predict(pictures["z"], torch.tensor([9, 9]), static, pictures["lq_latent"])
    kept = [
        static.context,
        *(x for pair in [*static.context_keys_values.values(), *static.prompts] for x in pair),
        found,
    ]
    assert not any(tensor.requires_grad for tensor in kept)
