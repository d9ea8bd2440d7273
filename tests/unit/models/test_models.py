"""The modules of the method against the acceptance checks of its notes: counts at full width, splices, symmetries, starts."""

import copy
import importlib.util
import socket
import sys
import urllib.request
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from support import PROJECT

from mperceiver import config, images
from mperceiver.config.modules import DrmConfig, ModelConfig
from mperceiver.config.runs import Run
from mperceiver.lineage import LineageError
from mperceiver.models import towers, vp_modulator, weights
from mperceiver.models.branches import Branches
from mperceiver.models.cm_adapter import CMAdapter
from mperceiver.models.drm import PICTURE, DetailRefinement
from mperceiver.models.ir_adapter import IRAdapter
from mperceiver.models.modulation import Modulation, residual_blocks
from mperceiver.models.naf import CoarserScales
from mperceiver.models.predictor import DegradationPredictor, build_predictor
from mperceiver.models.textual import TextualBranch, empty_prompt
from mperceiver.models.vp_modulator import VPModulator
from mperceiver.training.losses import PatchDiscriminator

N = 9


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def changed(spec: ModelConfig, **changes) -> ModelConfig:
    return ModelConfig.model_validate(spec.model_dump() | changes)


def stir(module: torch.nn.Module, deviation: float = 0.05) -> None:
    """Move every parameter, so that nothing hides behind a convolution that starts at zero."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter += deviation * torch.randn(parameter.shape, generator=generator)


def one_hot(i: int, batch: int = 1) -> torch.Tensor:
    return F.one_hot(torch.full((batch,), i), N).float()


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def spec(tiny_run) -> ModelConfig:
    return tiny_run.model


@pytest.fixture
def inputs(foundation) -> dict[str, torch.Tensor]:
    """What one training step gives to ``Branches``; height and width differ."""
    return {
        "z": random(2, 4, 16, 24, seed=1),
        "t": torch.tensor([20, 700]),
        "embedding": random(2, foundation.embedding_width, seed=2),
        "lq_latent": random(2, 4, 16, 24, seed=3),
        "probabilities": random(2, N, seed=4).softmax(1),
    }


# ---------------------------------------------------------------- the test bed itself


def test_no_network():
    with pytest.raises(PermissionError, match="no network"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises((PermissionError, OSError), match="no network"):
        urllib.request.urlopen("http://example.org", timeout=1)
    server = socket.create_server(("127.0.0.1", 0))
    socket.create_connection(server.getsockname(), timeout=1).close()
    server.close()
    assert not torch.cuda.is_available() and torch.get_num_threads() == 1


# ---------------------------------------------------------------- full width: shapes without numbers


@pytest.fixture(scope="module")
def paper() -> towers.Towers:
    """Stable Diffusion 2.1-base and CLIP ViT-H-14 on the meta device."""
    path = PROJECT / "benchmarks/sd21.py"
    described = importlib.util.spec_from_file_location("sd21", path)
    sd21 = importlib.util.module_from_spec(described)
    sys.modules["sd21"] = sd21  # where its dataclass looks for itself
    described.loader.exec_module(sd21)
    return sd21.foundation("meta")


def test_frozen_towers_are_those_of_the_notes(paper):
    assert count(paper.unet) == 865_910_724
    assert count(paper.vae) == 83_653_863
    assert count(paper.text_encoder) == 340_387_840
    assert count(paper.clip) == 632_076_800
    assert (paper.factor, paper.multiple, paper.embedding_width, paper.context_width) == (8, 64, 1024, 1024)


def test_parameters_at_full_width(paper):
    with torch.device("meta"):
        branches = Branches(paper, N, ModelConfig())
        drm = DetailRefinement(paper.vae, N, ModelConfig())
        finest = DetailRefinement(paper.vae, N, ModelConfig(drm=DrmConfig(levels=[0])))
        assert count(DegradationPredictor(1024, N, ModelConfig())) == 529_417
        assert count(PatchDiscriminator()) == 2_765_633
    assert count(branches.textual.cm_adapter) == 54_553_600
    assert branches.textual.tp_pool.numel() == 147_456
    assert count(branches.ir_adapter) == 53_937_152
    assert branches.ir_adapter.vp_pool.numel() == 442_368
    assert count(branches.ir_adapter.time) == 328_704
    assert count(branches.modulation) == 59_508_224
    assert count(branches) == 168_146_432
    assert {level: count(part) for level, part in drm.levels.items()} == {"2": 16_684_576, "1": 4_475_664}
    assert count(drm) == 21_160_240
    assert count(finest) == 1_271_176
    sizes = {m.norm.num_channels: count(m) for m in branches.modulation.modulators.values()}
    assert sizes == {320: 1_328_512, 640: 2_067_072, 1280: 3_544_192}


def test_22_modulators_by_scale(paper):
    expected = {}
    for scale in range(4):
        expected |= {f"down_blocks.{scale}.resnets.{j}": scale for j in range(2)}
        expected |= {f"up_blocks.{3 - scale}.resnets.{j}": scale for j in range(3)}
    expected |= {f"mid_block.resnets.{j}": 3 for j in range(2)}
    found = residual_blocks(paper.unet)
    assert found == expected
    assert [list(found.values()).count(scale) for scale in range(4)] == [5, 5, 5, 7]


def test_features_of_a_512_crop(paper):
    with torch.device("meta"):
        adapter = IRAdapter(4, N, ModelConfig())
        features = adapter(torch.empty(1, 4, 64, 64), torch.empty(1), torch.empty(1, N))
    assert [tuple(f.shape) for f in features] == [(1, 512, side, side) for side in (64, 32, 16, 8)]


def test_tokens_at_full_width(paper):
    assert paper.token_ids(16, 16) == [49406, *[343] * 16, *[265] * 16, 49407, *[0] * 43]
    assert paper.token_ids(0, 0) == [49406, 49407, *[0] * 75]
    with pytest.raises(config.ConfigError, match=r"78 prompt tokens do not fit .* 77"):
        paper.token_ids(38, 38)


def test_tokens_are_those_of_the_tokenizer(paper):
    """The literal text of the release, 16 X and 16 *, in open_clip's own tokenizer."""
    from open_clip.tokenizer import SimpleTokenizer

    ids = SimpleTokenizer()(" ".join(["X"] * 16 + ["*"] * 16))[0].tolist()
    assert ids == paper.token_ids(16, 16)


@pytest.mark.parametrize(
    ("size", "padded"),
    [
        ((1280, 720), (1280, 768)),
        ((1680, 1120), (1728, 1152)),
        ((1920, 1080), (1920, 1088)),
        ((1600, 1200), (1600, 1216)),
        ((256, 256), (512, 512)),
    ],
)
def test_pad_and_crop_round_trip(paper, size, padded):
    (width, height), (wide, high) = size, padded
    picture = torch.arange(height * width, dtype=torch.float32).view(1, 1, height, width)
    out = images.pad(picture, paper.multiple, 512)
    assert out.shape == (1, 1, high, wide)
    assert torch.equal(out[..., :height, :width], picture)
    if high > height:
        assert torch.equal(out[..., height, :width], picture[..., height - 2, :])  # reflect-101: the edge not twice
    if wide > width:
        assert torch.equal(out[..., :height, width], picture[..., :, width - 2])


# ---------------------------------------------------------------- frozen towers


def test_text_encoder_is_open_clips_without_its_last_block(tiny_root, foundation):
    """Stable Diffusion's penultimate output, from open_clip's tower by hand."""
    tower = whole_clip(tiny_root)
    # All kinds of ids, the end in the middle, padding behind: nothing but the causal mask may hide a token.
    ids = torch.tensor([[32, 5, 9, 1, 2, 33, 0, 0, 0, 0, 0, 0], [32, 33, *range(10)]])
    with torch.no_grad():
        x = tower.token_embedding(ids) + tower.positional_embedding
        for block in tower.transformer.resblocks[:-1]:
            x = block(x, attn_mask=tower.attn_mask)
        expected = tower.ln_final(x)
        ours = foundation.encode_text(torch.stack([foundation.embed_tokens(row) for row in ids.tolist()]))
        stock = library_text_encoder(tiny_root)(ids).last_hidden_state
    assert (ours - expected).abs().max() < 1e-5
    assert (stock - expected).abs().max() < 1e-5
    assert (ours - stock).abs().max() < 2e-6
    assert expected.std() > 0.1


def test_embedding_is_clips_own(tiny_root, foundation):
    picture = torch.rand(2, 3, 48, 80, generator=torch.Generator().manual_seed(0))
    squashed = F.interpolate(picture, (32, 32), mode="bicubic", antialias=True).clamp(0, 1)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
    with torch.no_grad():
        expected = whole_clip(tiny_root).encode_image((squashed - mean) / std)
        found = foundation.embed(picture)
    assert found.shape == (2, foundation.embedding_width)
    assert (found - expected).abs().max() < 1e-5
    assert not torch.allclose(found.norm(dim=1), torch.ones(2))  # raw, not normalised


def library_text_encoder(root):
    """transformers' model with the files of the tiny foundation's text encoder."""
    from transformers import CLIPTextModel

    folder = root / "data/foundations/tiny/text_encoder"
    return (
        CLIPTextModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval().requires_grad_(False)
    )


def whole_clip(root):
    """open_clip's whole model with the weights of the tiny foundation, whose text tower lost a block on the way."""
    import json

    from open_clip.model import CLIP
    from safetensors.torch import load_file

    folder = root / "data/foundations/tiny/image_encoder"
    clip = CLIP(**json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"])
    clip.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
    # the text encoder on disk is rounded to half precision
    state = {k: v.half().float() if v.is_floating_point() else v for k, v in clip.state_dict().items()}
    state |= {k: v for k, v in clip.state_dict().items() if k.startswith("visual.")}
    clip.load_state_dict(state)
    return clip.eval()


def test_latents_are_scaled_and_the_mean_unless_sampled(foundation):
    foundation.vae.register_to_config(scaling_factor=0.5)
    picture = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        posterior = foundation.vae.encode(picture * 2 - 1).latent_dist
        mean = foundation.encode(picture)
        drawn = [foundation.encode(picture, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
        decoded = foundation.decode(mean)
        assert torch.equal(decoded, foundation.vae.decode(posterior.mean).sample / 2 + 0.5)
    assert mean.shape == (1, 4, 16, 24)
    assert torch.equal(mean, posterior.mean * 0.5)
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    spread = (drawn[0] - mean) / posterior.std
    assert 0.4 < spread.std() < 0.6


def test_a_missing_part_is_told(tiny_world):
    import shutil

    shutil.rmtree("data/foundations/tiny/unet")
    with pytest.raises(LineageError, match=r"no unet/; stage the foundation first: mperceiver foundation tiny"):
        towers.load("tiny")


# ---------------------------------------------------------------- predictor


def test_standardisation_folds_into_the_predictor():
    torch.manual_seed(0)
    predictor = DegradationPredictor(6, N, ModelConfig(predictor_hidden=8))
    mean, deviation, x = random(6, seed=1), random(6, seed=2).abs() + 0.5, random(5, 6, seed=3)
    expected = predictor((x - mean) / deviation)
    folded = copy.deepcopy(predictor)
    folded.fold_standardisation(mean, deviation)
    assert torch.allclose(folded(x), expected, atol=1e-5)
    assert torch.allclose(folded.probabilities(x), expected.softmax(1), atol=1e-5)
    folded.fold_standardisation(-mean / deviation, 1 / deviation)  # and out again, which starting from weights needs
    assert torch.allclose(folded.hidden.weight, predictor.hidden.weight, atol=1e-6)
    assert torch.allclose(folded.hidden.bias, predictor.hidden.bias, atol=1e-5)


def test_dropout_is_of_the_training_alone():
    """At 3/4, a quarter of the hidden channels stay, four times as large, so that the logits keep their mean."""
    torch.manual_seed(0)
    predictor = DegradationPredictor(6, N, ModelConfig(predictor_hidden=4000, predictor_dropout=0.75))
    plain, x = DegradationPredictor(6, N, ModelConfig(predictor_hidden=4000)), random(1, 6, seed=3)
    plain.load_state_dict(predictor.state_dict())  # dropout has no weights
    hidden, kept = plain.hidden(x).relu(), predictor.dropout(plain.hidden(x).relu())
    assert torch.equal(kept[kept > 0], 4 * hidden[kept > 0])
    assert (kept > 0).sum() / (hidden > 0).sum() == pytest.approx(0.25, abs=0.05)
    assert not torch.equal(predictor(x), plain(x)) and torch.equal(predictor.eval()(x), plain(x))


# ---------------------------------------------------------------- textual branch


def test_cm_adapter_is_n_attentions():
    """Eq. 2 with a loop: one attention for each degradation, no residual."""
    torch.manual_seed(0)
    adapter = CMAdapter(12, 16, tokens=5, heads=4, count=N)
    embedding = random(3, 12)
    x = F.layer_norm(F.linear(embedding, adapter.fc.weight, adapter.fc.bias).view(3, 5, 16), (16,))
    found = adapter(embedding)
    assert found.shape == (3, N, 5, 16)
    for i in range(N):
        q, k, v = (F.linear(x, adapter.qkv[s, i]).view(3, 5, 4, 4).transpose(1, 2) for s in range(3))
        mixed = (q @ k.transpose(-1, -2) / 2).softmax(-1) @ v
        expected = F.linear(mixed.transpose(1, 2).flatten(2), adapter.out_weight[i], adapter.out_bias[i])
        assert (found[:, i] - expected).abs().max() < 1e-5
    assert not torch.allclose(found[:, 0], found[:, 1], atol=1e-3)


def spliced(branch: TextualBranch, foundation, embedding, monkeypatch) -> torch.Tensor:
    """What the branch hands to the text encoder: (B, N, T, C)."""
    seen = []
    encode = towers.Towers.encode_text
    monkeypatch.setattr(towers.Towers, "encode_text", lambda self, x: seen.append(x) or encode(self, x))
    branch(embedding, one_hot(0, len(embedding)), foundation)
    monkeypatch.setattr(towers.Towers, "encode_text", encode)
    return seen[0].unflatten(0, (len(embedding), N))


@pytest.mark.parametrize("order", ["tp_first", "cm_first"])
def test_prompts_stand_in_their_places(foundation, spec, order, monkeypatch):
    spec = changed(spec, prompt_order=order, tp_tokens=3)
    branch = TextualBranch(foundation.embedding_width, foundation.context_width, N, spec)
    embedding = random(2, foundation.embedding_width)
    got = spliced(branch, foundation, embedding, monkeypatch)
    vocabulary = foundation.text_encoder.token_embedding.weight
    assert got.shape == (2, N, 12, foundation.context_width)
    learned, image = branch.tp_pool.expand(2, -1, -1, -1), branch.cm_adapter(embedding)
    tp, cm = ((1, 4), (4, 6)) if order == "tp_first" else ((3, 6), (1, 3))
    assert torch.equal(got[:, :, slice(*tp)], learned)
    assert torch.equal(got[:, :, slice(*cm)], image)
    assert (got[:, :, 0] == vocabulary[foundation.tokens.start]).all()
    assert (got[:, :, 6] == vocabulary[foundation.tokens.end]).all()
    assert (got[:, :, 7:] == vocabulary[foundation.tokens.pad]).all()


@pytest.mark.parametrize("order", ["tp_first", "cm_first"])
def test_a_prompt_moves_only_what_follows_it(foundation, spec, order):
    """The causal mask: start token and earlier prompts do not see a later one; other degradations never do."""
    spec = changed(spec, prompt_order=order)
    branch = TextualBranch(foundation.embedding_width, foundation.context_width, N, spec).requires_grad_(False)
    embedding = random(1, foundation.embedding_width)

    def difference(change, i: int) -> torch.Tensor:
        other, moved = copy.deepcopy(branch), embedding.clone()
        change(other, moved)
        before, after = (b(e, one_hot(i), foundation) for b, e in ((branch, embedding), (other, moved)))
        return (before - after).abs().amax((0, 2))

    def last_of_t(other, moved):
        other.tp_pool[4, 1] += random(foundation.context_width, seed=1)  # a constant is lost in the first norm

    def picture(other, moved):
        moved += 1

    place = 2 if order == "tp_first" else 4  # of the last of T's two tokens
    assert difference(last_of_t, 4)[:place].max() == 0 and difference(last_of_t, 4)[place:].min() > 1e-3
    assert difference(last_of_t, 3).max() == 0
    place = 3 if order == "tp_first" else 1  # of e_cm's first token
    assert difference(picture, 4)[:place].max() == 0 and difference(picture, 4)[place:].min() > 1e-3


def test_one_hot_is_the_single_encoding(foundation, spec):
    branch = TextualBranch(foundation.embedding_width, foundation.context_width, N, spec)
    embedding = random(2, foundation.embedding_width)
    ends = foundation.embed_tokens(foundation.token_ids(2, 2))
    image = branch.cm_adapter(embedding)
    singles = []
    for i in range(N):
        parts = [
            ends[:1].expand(2, -1, -1),
            branch.tp_pool[i].expand(2, -1, -1),
            image[:, i],
            ends[5:].expand(2, -1, -1),
        ]
        singles.append(foundation.encode_text(torch.cat(parts, dim=1)))
        assert (branch(embedding, one_hot(i, 2), foundation) - singles[i]).abs().max() < 1e-5
    p = random(2, N).softmax(1)
    mean = sum(p[:, i, None, None] * single for i, single in enumerate(singles))
    assert (branch(embedding, p, foundation) - mean).abs().max() < 1e-5


def test_without_the_tp_pool_only_cm_tokens_are_there(foundation, spec, monkeypatch):
    branch = TextualBranch(foundation.embedding_width, foundation.context_width, N, changed(spec, tp_pool=False))
    assert branch.tp_pool is None and not any("tp_pool" in name for name in branch.state_dict())
    embedding = random(1, foundation.embedding_width)
    got = spliced(branch, foundation, embedding, monkeypatch)
    ids = [foundation.tokens.start, 2, 2, foundation.tokens.end, *[0] * 8]
    assert foundation.token_ids(0, 2) == ids
    assert torch.equal(got[0, :, 1:3], branch.cm_adapter(embedding)[0])
    expected = foundation.embed_tokens(ids)
    assert torch.equal(got[0, 4, 3:], expected[3:]) and torch.equal(got[0, 4, 0], expected[0])


# ---------------------------------------------------------------- visual branch


@pytest.mark.parametrize("at_once", [60, 32, 512])  # all positions, a rest at the end, more than there are
def test_fused_visual_prompts_are_n_attentions(at_once, monkeypatch):
    """Eq. 4 with a loop over the degradations, each a whole multi-head cross-attention of the features as they were."""
    monkeypatch.setattr(vp_modulator, "POSITIONS", at_once)
    torch.manual_seed(0)
    modulator = VPModulator(16, 24, 4, 8, 20, None, attend=True)
    stir(modulator, 0.2)
    features, prompts, p = random(2, 16, 6, 10), random(N, 7, 24, seed=1), random(2, N, seed=2).softmax(1)
    tokens = features.flatten(2).transpose(1, 2)
    q = modulator.to_q(F.layer_norm(tokens, (16,), modulator.norm_features.weight, modulator.norm_features.bias))
    total = torch.zeros_like(tokens)
    for i in range(N):
        v_i = F.layer_norm(prompts[i], (24,), modulator.norm_prompts.weight, modulator.norm_prompts.bias)
        k, v = modulator.to_k(v_i), modulator.to_v(v_i)
        heads = []
        for h in range(4):
            part = slice(8 * h, 8 * h + 8)
            heads.append((q[..., part] @ k[:, part].T / 8**0.5).softmax(-1) @ v[:, part])
        total += p[:, i, None, None] * modulator.to_out(torch.cat(heads, dim=-1))
    expected = total.transpose(1, 2).view(2, 16, 6, 10)
    known = modulator.keys_values(prompts)
    found = modulator.mix(features, known, p)
    assert (found - expected).abs().max() < 1e-5
    assert found.std() > 0.05
    assert (modulator(features, known, p) - modulator.block(features + expected)).abs().max() < 1e-5


def test_features_when_height_and_width_differ(spec):
    adapter = IRAdapter(4, N, spec)
    features = adapter(random(2, 4, 16, 24), torch.tensor([3, 999]), random(2, N).softmax(1))
    assert [tuple(f.shape) for f in features] == [(2, 16, 16 >> k, 24 >> k) for k in range(4)]


@pytest.mark.parametrize("vp_width", [24, "scale"])
def test_features_know_time_picture_prompts_and_probabilities(spec, vp_width):
    torch.manual_seed(0)
    spec = changed(spec, vp_width=vp_width)
    adapter = IRAdapter(4, N, spec).requires_grad_(False)
    widths = spec.ir_widths if vp_width == "scale" else [24] * 4
    assert [tuple(pool.shape) for pool in adapter.vp_pool] == [(N, spec.vp_tokens, width) for width in widths]
    stir(adapter.requires_grad_(True))
    z, t, p = random(1, 4, 16, 16), torch.tensor([500]), one_hot(2)
    before = adapter(z, t, p)
    other = copy.deepcopy(adapter)
    with torch.no_grad():
        other.vp_pool[1][2] += 1  # the second scale's prompt of degradation 2
    for after, where in [
        (adapter(z + 1, t, p), range(4)),
        (adapter(z, t + 100, p), range(4)),
        (adapter(z, t, one_hot(3)), range(4)),
        (other(z, t, p), [1]),
    ]:
        assert [k for k in range(4) if not torch.equal(before[k], after[k])] == list(where)
    assert all(torch.equal(a, b) for a, b in zip(adapter(z, t, one_hot(3)), other(z, t, one_hot(3)), strict=True))


def test_without_the_vp_pool_only_the_block_is_left(spec):
    torch.manual_seed(0)
    adapter = IRAdapter(4, N, changed(spec, vp_pool=False))
    stir(adapter)
    assert not any(
        word in name for name, _ in adapter.named_parameters() for word in ("vp_pool", "to_q", "norm_prompts")
    )
    z, t = random(1, 4, 16, 16), torch.tensor([500])
    outputs = [adapter(z, t, one_hot(i)) for i in (0, 5)]
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))


# ---------------------------------------------------------------- modulation


def test_release_zero_starts_as_a_norm(foundation, spec, inputs):
    """At the start a modulated block gives shortcut + GroupNorm(second convolution), in all 14 of the tiny U-Net."""
    torch.manual_seed(0)
    assert spec.modulation == "release_zero"
    branches = Branches(foundation, N, spec)
    stir(branches.ir_adapter)  # whatever the features are
    raw, blocks = {}, {}
    for name in residual_blocks(foundation.unet):
        block = foundation.unet.get_submodule(name)
        block.conv2.register_forward_hook(lambda m, i, o, name=name: raw.update({name: o}), prepend=True)
        block.register_forward_hook(lambda m, i, o, name=name: blocks.update({name: (m, i[0], o)}))
    with torch.no_grad():
        branches(**inputs)
    assert len(blocks) == len(branches.modulation.modulators) == 14
    for name, (block, x, out) in blocks.items():
        shortcut = block.conv_shortcut(x) if block.conv_shortcut is not None else x
        assert torch.allclose(out, shortcut + F.group_norm(raw[name], 8, eps=1e-5), atol=1e-5), name
        assert not torch.allclose(out, shortcut + raw[name], atol=1e-2), name


@torch.no_grad()
def test_identity_gate_leaves_the_unet_as_it_is(foundation, stock, spec, inputs):
    branches = Branches(foundation, N, changed(spec, modulation="identity_gate"))
    stir(branches.ir_adapter)
    context = branches.context(inputs["embedding"], inputs["probabilities"])
    plain = stock.unet(inputs["z"], inputs["t"], context).sample
    assert torch.equal(branches(**inputs), plain)
    for modulator in branches.modulation.modulators.values():
        modulator.gate += 0.1
    assert not torch.allclose(branches(**inputs), plain, atol=1e-3)


@pytest.mark.parametrize("mode", ["release", "release_zero", "identity_gate"])
def test_modulator_by_hand(foundation, spec, mode):
    torch.manual_seed(0)
    modulator = next(iter(Modulation(foundation.unet, changed(spec, modulation=mode)).modulators.values()))
    stir(modulator, 0.3)
    x, feature = random(2, 16, 8, 12), random(2, 16, 8, 12, seed=1)
    h = modulator.shared(feature)
    h = h if mode == "release_zero" else h.relu()  # a ReLU behind a convolution that starts at zero never learns
    normed = F.group_norm(x, 8, modulator.norm.weight, modulator.norm.bias, 1e-5)
    expected = normed * (1 + modulator.gamma(h)) + modulator.beta(h)
    if mode == "identity_gate":
        expected = x + modulator.gate * (expected - x)
    assert torch.allclose(modulator(x, feature), expected, atol=1e-6)


@torch.no_grad()
def test_features_reach_the_blocks_of_their_scale(foundation, stock, spec, inputs):
    """By scale, not by width: the tiny U-Net has two scales of each width. Afterwards the U-Net is the stock one again."""
    branches = Branches(foundation, N, spec)
    stir(branches.modulation)
    seen = {}
    for key, modulator in branches.modulation.modulators.items():
        modulator.register_forward_hook(lambda m, i, o, key=key: seen.update({key: (i[0].shape, i[1])}))
    features = branches.ir_adapter(inputs["lq_latent"], inputs["t"], inputs["probabilities"])
    context = empty_prompt(foundation, 2)
    branches.modulation(foundation.unet, features, inputs["z"], inputs["t"], context)
    for name, scale in branches.modulation.scales.items():
        shape, feature = seen[name.replace(".", "_")]
        assert feature is features[scale] and shape[-2:] == feature.shape[-2:] == (16 >> scale, 24 >> scale)
    plain = foundation.unet(inputs["z"], inputs["t"], context).sample
    assert torch.equal(plain, stock.unet(inputs["z"], inputs["t"], context).sample)


# ---------------------------------------------------------------- both branches


def test_permuting_the_degradations_changes_nothing(foundation, spec, inputs):
    """(p, T, Attn, V) jointly; permuting only one of them does change the output."""
    torch.manual_seed(0)
    branches = Branches(foundation, N, spec)
    stir(branches)
    order = torch.tensor([4, 0, 8, 2, 1, 7, 3, 6, 5])
    other = copy.deepcopy(branches)
    other._foundation = foundation
    with torch.no_grad():
        adapter = other.textual.cm_adapter
        for tensor in (other.textual.tp_pool, adapter.out_weight, adapter.out_bias):
            tensor.copy_(tensor[order].clone())
        for tensor in (adapter.qkv, other.ir_adapter.vp_pool):
            tensor.copy_(tensor[:, order].clone())
        other.modulation = branches.modulation  # the one that is hooked in
        before = branches(**inputs)
        moved = inputs | {"probabilities": inputs["probabilities"][:, order]}
        assert (other(**moved) - before).abs().max() < 1e-5 * before.abs().max()
        assert (branches(**moved) - before).abs().max() > 1e-3 * before.abs().max()
        assert (other(**inputs) - before).abs().max() > 1e-3 * before.abs().max()


def gradients(branches: Branches, inputs: dict) -> dict[str, torch.Tensor]:
    branches.zero_grad(set_to_none=True)
    (branches(**inputs) ** 2).mean().backward()
    return {name: parameter.grad for name, parameter in branches.named_parameters()}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_everything_and_no_frozen_tower(foundation, tiny_run, spec, inputs, checkpointing):
    """In general position every single parameter learns; a degradation of probability 0 does not."""
    torch.manual_seed(0)
    predictor = towers.freeze(build_predictor(foundation, tiny_run))
    predictor.out.bias[6] = -torch.inf  # a probability of exactly 0
    branches = Branches(foundation, N, spec)
    stir(branches)
    branches.set_up(gradient_checkpointing=checkpointing)
    p = predictor.probabilities(inputs["embedding"])
    assert not p[:, 6].any() and p[:, :6].all()
    found = gradients(branches, inputs | {"probabilities": p})
    assert [name for name, grad in found.items() if grad is None or not grad.any()] == []
    textual = "textual.cm_adapter."
    by_degradation = {
        "T": found["textual.tp_pool"],
        "V": found["ir_adapter.vp_pool"].transpose(0, 1),
        "q": found[textual + "qkv"][0],
        "k": found[textual + "qkv"][1],
        "v": found[textual + "qkv"][2],
        "out": found[textual + "out_weight"],
        "bias": found[textual + "out_bias"],
    }
    for what, grad in by_degradation.items():
        assert [i for i in range(N) if not grad[i].any()] == [6], what
    for tower in (foundation.clip, foundation.text_encoder, foundation.unet, foundation.vae, predictor):
        assert not any(parameter.requires_grad or parameter.grad is not None for parameter in tower.parameters())


def test_gradients_at_the_start(foundation, spec, inputs):
    """As `release` starts, the first step already reaches every module; `release_zero` needs one step to open its path."""
    torch.manual_seed(0)
    release = Branches(foundation, N, changed(spec, modulation="release"))
    found = gradients(release, inputs)
    must = ["textual.cm_adapter.fc.weight", "textual.tp_pool", "ir_adapter.stem.weight", "ir_adapter.vp_pool"]
    must += [name for name in found if name.startswith("modulation.")]
    must += [f"ir_adapter.modulators.{k}.to_{x}.weight" for k in range(4) for x in ("q", "k", "v", "out")]
    assert [name for name in must if not found[name].any()] == []
    assert all(grad.any() for grad in found["textual.cm_adapter.qkv"].flatten(0, 1))

    zero = Branches(foundation, N, spec)
    found = gradients(zero, inputs)
    assert all(
        grad.any() for name, grad in found.items() if "shared" in name or ("norm" in name and "modulation" in name)
    )
    assert not found["ir_adapter.vp_pool"].any()
    with torch.no_grad():
        for parameter in zero.parameters():
            parameter -= 0.01 * parameter.grad.sign()
    found = gradients(zero, inputs)
    assert [name for name in must if not found[name].any()] == []


@pytest.mark.parametrize(("textual", "visual"), [(True, False), (False, True), (False, False)])
def test_one_branch_alone(tiny_root, foundation, spec, inputs, textual, visual):
    torch.manual_seed(0)
    branches = Branches(foundation, N, changed(spec, textual=textual, visual=visual))
    parts = {name.split(".")[0] for name, _ in branches.named_parameters()}
    assert parts == ({"textual"} if textual else set()) | ({"ir_adapter", "modulation"} if visual else set())
    stir(branches)
    other = inputs | {"embedding": inputs["embedding"] + 1}
    with torch.no_grad():
        context = branches.context(inputs["embedding"], inputs["probabilities"])
        assert context.shape == (2, 12, foundation.context_width)
        assert torch.equal(context, branches.context(other["embedding"], inputs["probabilities"])) == (not textual)
        if not textual:
            ids = torch.tensor([foundation.token_ids(0, 0)] * 2)
            assert torch.allclose(context, library_text_encoder(tiny_root)(ids).last_hidden_state, atol=1e-6)
        before = branches(**inputs)
        assert torch.equal(before, branches(**inputs | {"lq_latent": inputs["lq_latent"] + 1})) == (not visual)
        if not visual:
            assert torch.equal(before, foundation.unet(inputs["z"], inputs["t"], context).sample)


# ---------------------------------------------------------------- DRM


# All that a DRM can have beside its levels.
WHOLE_DRM = {"coarser_blocks": [1, 1], "hand_on": True, "gate": True}


@pytest.fixture(params=[{}, WHOLE_DRM], ids=["levels", "whole"])
def drm_spec(spec, request):
    return spec.model_copy(update={"drm": spec.drm.model_copy(update=request.param)})


@pytest.fixture
def refined(foundation, drm_spec):
    torch.manual_seed(0)
    refined = DetailRefinement(foundation.vae, N, drm_spec)
    refined.attach(foundation.vae)
    return refined


def test_each_level_of_the_drm_has_its_own_number_of_blocks(foundation, spec):
    """Two of each where nothing is said."""
    drm = DrmConfig(levels=[1, 0], naf_blocks={0: 1}, swin_blocks={1: 0}, window=4, head_width=8)
    levels = DetailRefinement(foundation.vae, N, spec.model_copy(update={"drm": drm})).levels
    assert {key: (len(level.naf), len(level.swin)) for key, level in levels.items()} == {"1": (2, 0), "0": (1, 2)}


@torch.no_grad()
def test_the_gate_lets_the_degraded_picture_pass(foundation, spec):
    drm = spec.drm.model_copy(update={"gate": True})
    refined = DetailRefinement(foundation.vae, N, spec.model_copy(update={"drm": drm}))
    refined.attach(foundation.vae)
    stir(refined)
    picture = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    latent, degraded = refined.degraded_features(foundation.encode, picture)
    torch.nn.init.zeros_(refined.gate.weight)
    refined.gate.bias.copy_(torch.tensor([0.0, 0.25, 1.0]))
    with_gate = refined(foundation.decode, latent, degraded, one_hot(0))
    refined.gate = None
    without = refined(foundation.decode, latent, degraded, one_hot(0))
    assert torch.equal(with_gate[:, 0], without[:, 0]) and torch.equal(with_gate[:, 2], picture[:, 2])
    assert torch.allclose(with_gate[:, 1], 0.75 * without[:, 1] + 0.25 * picture[:, 1], atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 1)])
def test_coarser_scales_keep_any_size_and_see_far(size):
    torch.manual_seed(0)
    scales = CoarserScales(8, [1, 2])
    stir(scales)
    assert [len(scales.blocks), len(scales.further[0].blocks), len(scales.further[1])] == [1, 2, 1]
    x = torch.rand(1, 8, *size, generator=torch.Generator().manual_seed(0))
    out = scales(x)
    assert out.shape == x.shape
    moved = x.clone()
    moved[..., 0, 0] += 1
    assert not torch.allclose(scales(moved)[..., -1, -1], out[..., -1, -1], atol=1e-6)


@torch.no_grad()
def test_drm_starts_as_the_stock_decoder(foundation, stock, refined):
    picture = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    p = random(2, N).softmax(1)
    latent, degraded = refined.degraded_features(foundation.encode, picture)
    assert torch.equal(latent, stock.encode(picture))
    widths = foundation.vae.config.block_out_channels
    shapes = {0: (2, widths[0], 32, 48), 1: (2, widths[1], 16, 24)} | (
        {PICTURE: (2, 3, 32, 48)} if refined.gate else {}
    )
    assert {level: tuple(f.shape) for level, f in degraded.items()} == shapes
    assert refined.bytes_per_pixel * 2 * 32 * 48 == sum(f.nbytes for f in degraded.values())
    expected = stock.decode(latent)
    assert refined(foundation.decode, latent, degraded, p).numpy().tobytes() == expected.numpy().tobytes()
    stir(refined)
    assert not torch.allclose(refined(foundation.decode, latent, degraded, p), expected, atol=1e-3)
    assert torch.equal(foundation.decode(latent), expected)  # without it the decoder is the stock one


def test_drm_uses_every_level_picture_and_probability(foundation, refined):
    stir(refined)
    picture = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    latent, degraded = refined.degraded_features(foundation.encode, picture)
    assert not any(f.requires_grad for f in degraded.values())
    p = random(1, N).softmax(1)
    p[:, 6] = 0
    out = refined(foundation.decode, latent, degraded, p)
    out.square().mean().backward()
    missing = [
        name for name, parameter in refined.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert missing == []
    for level in refined.levels.values():
        assert [i for i in range(N) if not level.vp_pool.grad[i].any()] == [6]
    assert all(parameter.grad is None for parameter in foundation.vae.parameters())
    with torch.no_grad():
        for level in degraded:  # a gate's picture, too
            moved = degraded | {level: degraded[level] + 1}
            assert not torch.allclose(refined(foundation.decode, latent, moved, p), out, atol=1e-4)
        assert not torch.allclose(refined(foundation.decode, latent, degraded, one_hot(6)), out, atol=1e-4)


def test_drm_taps_are_before_the_samplers(foundation, refined):
    """The feature taken at an encoder level is what its downsampler gets; what is repaired is what the upsampler gets."""
    taken, given = {}, {}
    for level, block in enumerate(foundation.vae.encoder.down_blocks):
        for sampler in block.downsamplers or []:
            sampler.register_forward_pre_hook(lambda m, i, level=level: taken.update({level: i[0]}))
    for level, block in enumerate(reversed(foundation.vae.decoder.up_blocks)):
        for sampler in block.upsamplers or []:
            sampler.register_forward_pre_hook(lambda m, i, level=level: given.update({level: i[0]}))
    outputs = {}
    for level, module in refined.levels.items():
        module.register_forward_hook(lambda m, i, o, level=int(level): outputs.update({level: o[0]}))
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        latent, degraded = refined.degraded_features(foundation.encode, picture)
        refined(foundation.decode, latent, degraded, one_hot(0))
    assert list(taken) == [0] and taken[0] is degraded[0]
    assert list(given) == [1] and given[1] is outputs[1]


# ---------------------------------------------------------------- weights


@pytest.fixture
def saved(foundation, tiny_run, tmp_path):
    torch.manual_seed(0)
    branches = Branches(foundation, N, tiny_run.model)
    stir(branches)
    path = tmp_path / "branches.safetensors"
    weights.save_weights(path, branches, tiny_run)
    return branches, path


def test_weights_round_trip(foundation, spec, saved):
    from safetensors.torch import load_file

    branches, path = saved
    state = load_file(path)
    assert set(state) == {name for name, _ in branches.named_parameters()}  # what was trained, no frozen tower
    torch.manual_seed(1)
    other = Branches(foundation, N, spec)
    weights.load_weights(path, other)
    for (name, a), b in zip(branches.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_weights_with_buffers_round_trip(foundation, refined, tiny_run, drm_spec, tmp_path):
    """SwinBlocks have an index table as a buffer; it is in the file, and the strict load takes it."""
    stir(refined)
    weights.save_weights(tmp_path / "drm.safetensors", refined, tiny_run)
    other = DetailRefinement(foundation.vae, N, drm_spec)
    weights.load_weights(tmp_path / "drm.safetensors", other)
    assert len(refined.state_dict()) > len(list(refined.parameters()))
    for (name, a), b in zip(refined.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_weights_hold_their_config(saved, tiny_run):
    with safe_open(saved[1], framework="pt") as file:
        assert Run.model_validate_json(file.metadata()["config"]) == tiny_run


def test_equal_weights_are_equal_bytes(saved, tiny_run, tmp_path):
    branches, path = saved
    weights.save_weights(tmp_path / "again.safetensors", branches, tiny_run)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"tp_tokens": 3},
            [
                r"textual\.tp_pool: float32 \(9, 2, 32\) in the file, float32 \(9, 3, 32\) in the network",
                r"\(1 tensors\)",
            ],
        ),
        ({"tp_pool": False}, [r"textual\.tp_pool: float32 \(9, 2, 32\) in the file, unknown in the network"]),
        (
            {"modulation": "identity_gate"},
            [r"_0\.gate: missing in the file, float32 \(16, 1, 1\) in the network", r"\(14 tensors\)"],
        ),
    ],
)
def test_weights_of_another_model_are_refused(foundation, spec, saved, changes, words):
    other = Branches(foundation, N, changed(spec, **changes))
    before = {name: p.detach().clone() for name, p in other.named_parameters()}
    with pytest.raises(LineageError) as error:
        weights.load_weights(saved[1], other)
    assert str(saved[1]) in str(error.value)
    for word in words:
        assert error.match(word)
    assert all(torch.equal(before[name], p) for name, p in other.named_parameters())  # nothing was half loaded


def test_missing_weights_are_told(foundation, spec, tmp_path):
    with pytest.raises(LineageError, match=r"no such weights; train them first: snakemake"):
        weights.load_weights(tmp_path / "none.safetensors", Branches(foundation, N, spec))


# ---------------------------------------------------------------- sizes


def test_scales_of_the_adapter_halve(foundation, spec):
    """An odd latent would not fit the U-Net's skips; ``multiple`` is what keeps it even at each scale."""
    sides = [foundation.multiple // foundation.factor >> k for k in range(4)]
    assert sides[-1] == 1 and all(a == 2 * b for a, b in pairwise(sides))
    features = IRAdapter(4, N, spec)(random(1, 4, sides[0], sides[0]), torch.tensor([0]), one_hot(0))
    assert [f.shape[-1] for f in features] == sides
