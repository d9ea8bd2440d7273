"""How the modules are run - gradient checkpointing, half precision, memory layout, compilation - changes no result."""

import copy
import functools

import pytest
import torch
import torch.nn.functional as F

from mperceiver.config.modules import ModelConfig
from mperceiver.config.samplers import Sampler
from mperceiver.models.branches import Branches
from mperceiver.models.drm import DetailRefinement
from mperceiver.models.sampling import ddim

N = 9


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stirred(module: torch.nn.Module) -> torch.nn.Module:
    """In general position: no convolution is zero any more, no gate closed."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return module


def built(foundation, spec: ModelConfig, **changes) -> Branches:
    torch.manual_seed(0)
    return stirred(Branches(foundation, N, ModelConfig.model_validate(spec.model_dump() | changes)))


@pytest.fixture
def spec(tiny_run) -> ModelConfig:
    return tiny_run.model


@pytest.fixture
def inputs(foundation) -> dict[str, torch.Tensor]:
    return {
        "z": random(2, 4, 16, 24, seed=1),
        "t": torch.tensor([20, 700]),
        "embedding": random(2, foundation.embedding_width, seed=2),
        "lq_latent": random(2, 4, 16, 24, seed=3),
        "probabilities": random(2, N, seed=4).softmax(1),
    }


def saved_bytes(forward) -> tuple[torch.Tensor, int]:
    """What ``forward`` returns, and the bytes that its graph keeps; parameters, which are there anyway, count as well."""
    kept = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = forward()
    return out, sum(kept.values())


def gradients(module: torch.nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    module.zero_grad(set_to_none=True)
    loss.backward()
    return {name: parameter.grad for name, parameter in module.named_parameters()}


# ---------------------------------------------------------------- gradient checkpointing


@pytest.mark.parametrize(
    "switches",
    [
        {"modulation": "release_zero"},
        {"modulation": "release"},
        {"modulation": "identity_gate"},
        {"vp_pool": False},
        {"visual": False},
    ],
    ids=str,
)
def test_checkpointing_changes_no_gradient(foundation, spec, inputs, switches):
    branches = built(foundation, spec, **switches)
    plain, much = saved_bytes(lambda: branches(**inputs).square().mean())
    expected = gradients(branches, plain)
    branches.set_up(gradient_checkpointing=True)
    loss, little = saved_bytes(lambda: branches(**inputs).square().mean())
    assert torch.equal(loss, plain) and little < 0.7 * much
    found = gradients(branches, loss)
    for name, gradient in expected.items():
        assert gradient.any() and torch.allclose(found[name], gradient, rtol=1e-5, atol=1e-9), name


def test_features_stay_reachable_until_they_are_needed_again(foundation, spec, inputs):
    """Whatever ran in between: another picture's step with and without a gradient, the stock U-Net."""
    branches = built(foundation, spec)
    other = {name: tensor.flip(0) for name, tensor in inputs.items()} | {"lq_latent": inputs["lq_latent"] + 1}
    expected = gradients(branches, branches(**inputs).square().mean())
    branches.set_up(gradient_checkpointing=True)
    loss = branches(**inputs).square().mean()
    second = branches(**other).square().mean()
    with torch.no_grad():
        static = branches.prepare(other["embedding"], other["probabilities"])
        branches.predict(other["z"], other["t"], static, other["lq_latent"])
        foundation.unet(other["z"], other["t"], static.context)
    found = gradients(branches, loss)
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-5, atol=1e-9), name
    assert any(not torch.allclose(gradients(branches, second)[name], expected[name]) for name in expected)
    assert branches.modulation.steering.value is None


@pytest.mark.parametrize("keys", [{}, {"coarser_blocks": [1, 1], "hand_on": True, "gate": True}])
def test_checkpointing_of_the_drm_changes_no_gradient(foundation, spec, keys):
    torch.manual_seed(0)
    spec = spec.model_copy(update={"drm": spec.drm.model_copy(update=keys)})
    drm = DetailRefinement(foundation.vae, N, spec)
    drm.attach(foundation.vae)
    stirred(drm)
    picture = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    p = random(1, N).softmax(1)
    latent, degraded = drm.degraded_features(foundation.encode, picture)

    def forward() -> torch.Tensor:
        return drm(foundation.decode, latent, degraded, p).square().mean()

    plain, much = saved_bytes(forward)
    expected = gradients(drm, plain)
    drm.set_up(foundation.vae, gradient_checkpointing=True)
    loss, little = saved_bytes(forward)
    assert torch.equal(loss, plain) and little < 0.7 * much
    drm(foundation.decode, latent + 1, degraded, p)
    found = gradients(drm, loss)
    for name, gradient in expected.items():
        assert gradient.any() and torch.allclose(found[name], gradient, rtol=1e-5, atol=1e-9), name


# ---------------------------------------------------------------- frozen towers and the graph


def test_frozen_towers_are_in_no_graph_that_they_need_not_be_in(foundation, spec, inputs):
    """CLIP and the VAE's encoder never; the text encoder only for prompts that learn; the U-Net from the first f_k on."""
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert not foundation.embed(picture).requires_grad and not foundation.encode(picture).requires_grad
    drm = stirred(DetailRefinement(foundation.vae, N, spec))
    drm.attach(foundation.vae)
    latent, degraded = drm.degraded_features(foundation.encode, picture)
    assert not latent.requires_grad and not any(f.requires_grad for f in degraded.values())
    seen = {}
    watched = {
        "before": foundation.unet.conv_in,
        "time": foundation.unet.time_embedding,
        "first conv": foundation.unet.down_blocks[0].resnets[0].conv1,
        "after": foundation.unet.down_blocks[0].resnets[0],
        "text": foundation.text_encoder.final_layer_norm,
    }
    for name, module in watched.items():
        module.register_forward_hook(lambda m, i, o, name=name: seen.update({name: o.requires_grad}))
    built(foundation, spec)(**inputs)
    assert seen == {"before": False, "time": False, "first conv": False, "after": True, "text": True}
    seen.clear()
    built(foundation, spec, textual=False)(**inputs)
    assert not seen["text"]


# ---------------------------------------------------------------- half precision


@torch.no_grad()
def test_half_precision_is_near_and_its_stored_weights_change_nothing(foundation, spec, inputs):
    branches = built(foundation, spec)
    exact = branches(**inputs)
    with torch.autocast("cpu", torch.bfloat16):
        cast_at_each_call = branches(**inputs)
    branches.set_up("bf16")
    found = branches(**inputs)
    assert torch.equal(found, cast_at_each_call)
    assert 1e-4 < (found.float() - exact).abs().mean() / exact.std() < 0.02
    static = branches.prepare(inputs["embedding"], inputs["probabilities"])
    stepped = branches.predict(inputs["z"], inputs["t"], static, inputs["lq_latent"])
    assert (stepped.float() - exact).abs().mean() / exact.std() < 0.02
    # of the frozen U-Net only products' weights are stored so; what is trained stays as it is
    norms = [m for m in foundation.unet.modules() if isinstance(m, torch.nn.GroupNorm | torch.nn.LayerNorm)]
    assert norms and all(m.weight.dtype == torch.float32 for m in norms)
    assert foundation.unet.conv_in.weight.dtype == torch.bfloat16
    assert {p.dtype for p in branches.parameters()} == {torch.float32}


def test_gradients_in_half_precision(foundation, spec, inputs):
    branches = built(foundation, spec)
    expected = gradients(branches, branches(**inputs).float().square().mean())
    branches.set_up("bf16", gradient_checkpointing=True)
    found = gradients(branches, branches(**inputs).float().square().mean())
    assert {gradient.dtype for gradient in found.values()} == {torch.float32}
    whole = [torch.cat([g.flatten() for g in grads.values()]) for grads in (expected, found)]
    assert F.cosine_similarity(*whole, dim=0) > 0.99


@torch.no_grad()
def test_norms_and_softmax_are_single_precision(foundation, spec):
    """A large mean drowns the spread in bfloat16's 8 bits: the modulator's norm must not see it rounded."""
    branches = built(foundation, spec)
    modulator = next(iter(branches.modulation.modulators.values()))
    x, feature = random(1, 16, 8, 8) + 64, random(1, 16, 8, 8, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        norm = modulator.norm(x.float())
        out = modulator(x, feature)
    expected = modulator(x, feature)
    assert norm.dtype == torch.float32 and out.dtype == torch.float32
    assert (out - expected).abs().mean() < 0.02 * expected.std()
    mixer = branches.ir_adapter.modulators[0]
    known = mixer.keys_values(branches.ir_adapter.vp_pool[0])
    softmax, seen = torch.Tensor.softmax, []
    with pytest.MonkeyPatch.context() as patch, torch.autocast("cpu", torch.bfloat16):
        patch.setattr(torch.Tensor, "softmax", lambda *a, **k: seen.append(softmax(*a, **k)) or seen[-1])
        mixer.mix(random(1, 16, 8, 8), known, random(1, N).softmax(1))
    assert seen[-1].dtype == torch.float32


def test_the_sampler_is_single_precision(foundation):
    """The network's answer comes in bfloat16; z, alpha-bar and x0 do not."""
    noise, seen = random(1, 4, 8, 8), []

    def predict(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append(z)
        return (z * 0.5).bfloat16()

    alphas = foundation.alphas()
    found = ddim(predict, noise, alphas, "epsilon", Sampler(steps=10))
    exact = ddim(lambda z, t: (z * 0.5).bfloat16().float(), noise, alphas, "epsilon", Sampler(steps=10))
    assert torch.equal(found, exact) and {z.dtype for z in [*seen, found]} == {torch.float32}


# ---------------------------------------------------------------- layout, compilation


@torch.no_grad()
def test_channels_last_is_the_same(foundation, spec, inputs):
    branches = built(foundation, spec)
    expected = branches(**inputs)
    state = copy.deepcopy(branches.state_dict())
    branches.set_up(channels_last=True)
    last = torch.channels_last
    assert foundation.unet.conv_in.weight.is_contiguous(memory_format=last)
    assert branches.ir_adapter.blocks[0][0].conv1.weight.is_contiguous(memory_format=last)
    assert branches.ir_adapter.vp_pool.is_contiguous()
    assert all(torch.equal(tensor, state[name]) for name, tensor in branches.state_dict().items())
    assert (branches(**inputs) - expected).abs().max() < 1e-5 * expected.abs().max()
    drm = stirred(DetailRefinement(foundation.vae, N, spec))
    drm.attach(foundation.vae)
    picture = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    both = []
    for _ in range(2):
        latent, degraded = drm.degraded_features(foundation.encode, picture)
        both.append(drm(foundation.decode, latent, degraded, inputs["probabilities"][:1]))
        drm.set_up(foundation.vae, channels_last=True)
    assert foundation.vae.decoder.conv_in.weight.is_contiguous(memory_format=last)
    assert (both[0] - both[1]).abs().max() < 1e-5 * both[0].abs().max()


@torch.no_grad()
def test_compiled_blocks_are_the_same_and_compiled_once(foundation, spec, inputs, monkeypatch):
    """At a fixed shape no step and no picture compiles anew. The compiler's front end only: no code is generated here."""
    branches = built(foundation, spec)
    unet = type(foundation.unet)
    monkeypatch.setattr(
        unet, "compile_repeated_blocks", functools.partialmethod(unet.compile_repeated_blocks, backend="eager")
    )
    p, lq = inputs["probabilities"], inputs["lq_latent"]
    plain = built(copy.deepcopy(foundation), spec)
    branches.set_up(compile=True)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    frames = []
    for seed in range(3):
        embedding = random(2, foundation.embedding_width, seed=seed)
        static, expected = branches.prepare(embedding, p), plain.prepare(embedding, p)
        for t in (torch.tensor([981, 981]), torch.tensor([1, 1])):
            found = branches.predict(inputs["z"], t, static, lq)
            other = plain.predict(inputs["z"], t, expected, lq)
            assert (found - other).abs().max() <= 1e-5 * other.abs().max()
        frames.append(torch._dynamo.utils.counters["frames"]["ok"])
    assert frames[0] > 0 and frames[0] == frames[2]
    torch._dynamo.reset()
