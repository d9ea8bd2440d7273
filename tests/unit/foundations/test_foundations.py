"""Foundations: from mirrors over loopback to loaded towers; digests, interruptions, links; the real architectures without weights."""

import copy
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from support import PROJECT

from mperceiver import commits, config, files, lineage, shipped
from mperceiver.config.foundations import WeightFile
from mperceiver.foundations import staging
from mperceiver.models import image_tower, towers

COMMIT = ("0" * 40, False)

# What stands in the configuration files of Stable Diffusion 2.1-base: written as they are, they have the digests in sd21.yaml.
SD21 = {
    "vae/config.json": {
        "_class_name": "AutoencoderKL",
        "_diffusers_version": "0.10.0.dev0",
        "act_fn": "silu",
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "in_channels": 3,
        "latent_channels": 4,
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "out_channels": 3,
        "sample_size": 768,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
    },
    "unet/config.json": {
        "_class_name": "UNet2DConditionModel",
        "_diffusers_version": "0.10.0.dev0",
        "act_fn": "silu",
        "attention_head_dim": [5, 10, 20, 20],
        "block_out_channels": [320, 640, 1280, 1280],
        "center_input_sample": False,
        "cross_attention_dim": 1024,
        "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
        "downsample_padding": 1,
        "dual_cross_attention": False,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "in_channels": 4,
        "layers_per_block": 2,
        "mid_block_scale_factor": 1,
        "norm_eps": 1e-05,
        "norm_num_groups": 32,
        "num_class_embeds": None,
        "only_cross_attention": False,
        "out_channels": 4,
        "sample_size": 64,
        "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
        "use_linear_projection": True,
    },
    "text_encoder/config.json": {
        "_name_or_path": "stabilityai/stable-diffusion-2",
        "architectures": ["CLIPTextModel"],
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "dropout": 0.0,
        "eos_token_id": 2,
        "hidden_act": "gelu",
        "hidden_size": 1024,
        "initializer_factor": 1.0,
        "initializer_range": 0.02,
        "intermediate_size": 4096,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 77,
        "model_type": "clip_text_model",
        "num_attention_heads": 16,
        "num_hidden_layers": 23,
        "pad_token_id": 1,
        "projection_dim": 512,
        "torch_dtype": "float32",
        "transformers_version": "4.25.0.dev0",
        "vocab_size": 49408,
    },
    "scheduler/scheduler_config.json": {
        "_class_name": "PNDMScheduler",
        "_diffusers_version": "0.10.0.dev0",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "clip_sample": False,
        "num_train_timesteps": 1000,
        "prediction_type": "epsilon",
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
    },
}
TINY = {  # the same with little width
    "vae/config.json": {"block_out_channels": [8, 8, 16, 16], "layers_per_block": 1, "norm_num_groups": 4},
    "unet/config.json": {
        "block_out_channels": [16, 16, 32, 32],
        "attention_head_dim": [1, 1, 2, 2],
        "cross_attention_dim": 32,
        "norm_num_groups": 4,
    },
    "text_encoder/config.json": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "vocab_size": 40,
    },
    "scheduler/scheduler_config.json": {},
}
CLIP = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 28, "layers": 2, "width": 32, "head_width": 16, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 40, "width": 32, "heads": 2, "layers": 2},
}
PARTS = ("vae", "unet", "text_encoder", "scheduler")
OLD_NAMES = {
    "to_q": "query",
    "to_k": "key",
    "to_v": "value",
    "to_out.0": "proj_attn",
}  # of attention in the VAE, until 2023


def as_written(described: dict) -> bytes:
    return (json.dumps(described, indent=2) + "\n").encode()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------- the real architectures


def pinned() -> dict[str, WeightFile]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(PROJECT)
        spec = config.load("foundations", "sd21")
    return {path: file for part in spec.parts for path, file in part.files.items()}


@pytest.mark.parametrize("path", SD21)
def test_configurations_are_the_pinned_ones(path):
    text = as_written(SD21[path])
    assert (digest(text), len(text)) == (pinned()[path].sha256, pinned()[path].bytes)


def test_weights_are_all_pinned():
    weights = {path: file for path, file in pinned().items() if path.endswith(".safetensors")}
    assert len(weights) == 4 and all(file.sha256 and file.bytes for file in weights.values())


def test_real_architectures_have_the_counts_of_the_notes_and_the_weights_of_the_pinned_files():
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from open_clip import get_model_config
    from open_clip.model import CLIP as OpenClip
    from transformers import CLIPTextConfig, CLIPTextModel

    def count(module):
        return sum(parameter.numel() for parameter in module.parameters())

    with torch.device("meta"):
        vae = AutoencoderKL.from_config(SD21["vae/config.json"])
        unet = UNet2DConditionModel.from_config(SD21["unet/config.json"])
        text = CLIPTextModel(CLIPTextConfig.from_dict(SD21["text_encoder/config.json"]))
        clip = OpenClip(**get_model_config("ViT-H-14"))
        visual = image_tower.build_clip_tower(get_model_config("ViT-H-14"))
    assert vae.config.scaling_factor == 0.18215, "the file does not give it"
    assert (count(vae), count(unet), count(text), count(visual)) == (83_653_863, 865_910_724, 340_387_840, 632_076_800)
    sizes = {path.partition("/")[0]: file.bytes for path, file in pinned().items() if path.endswith(".safetensors")}
    # Names and shapes make a file's header, so its size tells of them.
    assert 0 <= sizes["vae"] - size(old_attention(vae.state_dict())) < 8
    assert 0 <= sizes["unet"] - size(unet.state_dict()) < 8
    assert 0 <= sizes["image_encoder"] - size(clip.state_dict()) < 8
    assert abs(sizes["text_encoder"] - size(old_text(text.state_dict()))) < 16  # another order of two kinds


def size(state: dict) -> int:
    """Bytes of a safetensors file, short of the spaces that may fill up its header to a multiple of 8."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, value in sorted(state.items()):
        kind, after = {4: "F32", 8: "I64"}[value.element_size()], at + value.numel() * value.element_size()
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [at, after]}
        at = after
    return 8 + len(json.dumps(header, separators=(",", ":"))) + at


# ---------------------------------------------------------------- a tiny one in the true layout


@pytest.fixture(scope="session")
def tiny_sd(tmp_path_factory) -> tuple[Path, dict]:
    """A folder as a mirror of Stable Diffusion has it, names of weights as they were then; and the modules that were saved."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from open_clip.model import CLIP as OpenClip
    from transformers import CLIPTextConfig, CLIPTextModel

    root = tmp_path_factory.mktemp("mirror")
    described = {path: SD21[path] | TINY[path] for path in SD21}
    for path, text in described.items():
        (root / path).parent.mkdir()
        (root / path).write_bytes(as_written(text))
    torch.manual_seed(0)
    vae = AutoencoderKL.from_config(described["vae/config.json"])
    unet = UNet2DConditionModel.from_config(described["unet/config.json"])
    text = CLIPTextModel(CLIPTextConfig.from_dict(described["text_encoder/config.json"]))
    clip = OpenClip(**CLIP, output_dict=True)
    save_file(old_attention(vae.state_dict()), root / "vae/diffusion_pytorch_model.safetensors", {"format": "pt"})
    save_file(unet.state_dict(), root / "unet/diffusion_pytorch_model.safetensors", {"format": "pt"})
    save_file(old_text(text.state_dict()), root / "text_encoder/model.safetensors", {"format": "pt"})
    save_file(
        {name: value.contiguous() for name, value in clip.state_dict().items()}, root / "open_clip_model.safetensors"
    )
    (root / "open_clip_config.json").write_bytes(as_written({"model_cfg": CLIP}))
    (root / "README.md").write_text("a model card", encoding="utf-8")
    return root, {"vae": vae.eval(), "unet": unet.eval(), "text": text.eval(), "clip": clip.eval()}


def old_attention(state: dict) -> dict:
    found = {}
    for name, value in state.items():
        if ".attentions." in name:
            for now, then in OLD_NAMES.items():
                name = name.replace(f".{now}.", f".{then}.")
        found[name] = value
    return found


def old_text(state: dict) -> dict:
    found = {f"text_model.{name.removeprefix('text_model.')}": value for name, value in state.items()}
    return found | {"text_model.embeddings.position_ids": torch.arange(77)[None]}


def spec_of(mirror: str | dict, clip_mirror: str | dict | None = None, digests: dict | None = None) -> dict:
    """A foundation's file with the files and the order of sd21.yaml."""
    described = yaml.safe_load((PROJECT / "config/foundations/sd21.yaml").read_text(encoding="utf-8"))
    described |= {"title": "tiny", "minimum_px": 64}
    for part, at in zip(described["parts"], (mirror, clip_mirror or mirror), strict=True):
        part["mirrors"] = [{"url": at} if isinstance(at, str) else at] if not isinstance(at, list) else at
        for path, file in part["files"].items():
            part["files"][path] = {key: value for key, value in file.items() if key == "from"}
            if digests and path in digests:
                part["files"][path]["sha256"] = digests[path]
    return described


@pytest.fixture
def world(tmp_path, monkeypatch) -> Path:
    root = tmp_path / "world"
    (root / "config/foundations").mkdir(parents=True)
    monkeypatch.chdir(root)
    monkeypatch.setattr(commits, "current", lambda: COMMIT)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    return root


def describe(spec: dict, name: str = "far") -> None:
    Path(f"config/foundations/{name}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")


@pytest.fixture
def mirror(server, tiny_sd):
    """The tiny Stable Diffusion behind /sd; its address."""
    put_all(server, tiny_sd[0], "/sd/")
    return f"{server.url}/sd"


def put_all(server, folder: Path, at: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            server.put(at + path.relative_to(folder).as_posix(), path.read_bytes())


def complaint(name: str = "far") -> str:
    with pytest.raises((lineage.LineageError, config.ConfigError)) as refused:
        staging.stage(name)
    return str(refused.value)


def told(name: str = "far") -> dict:
    return lineage.read_card(f"data/foundations/{name}.json")["result"]["files"]


UNET = "unet/diffusion_pytorch_model.safetensors"
CLIP_FILE = "image_encoder/open_clip_model.safetensors"


def test_fetched_and_loaded_it_computes_the_same(world, mirror, tiny_sd):
    describe(spec_of(mirror))
    assert staging.stage("far") == Path("data/foundations/far.json")
    folder, saved = tiny_sd
    assert told()[UNET] == {
        "sha256": files.sha256(folder / UNET),
        "bytes": (folder / UNET).stat().st_size,
        "from": mirror,
    }
    assert told()[CLIP_FILE]["sha256"] == files.sha256(folder / "open_clip_model.safetensors")
    assert lineage.verify("data/foundations/far.json") == []
    assert not Path("data/foundations/.far.part").exists()
    loaded = towers.load("far")
    assert (loaded.minimum, loaded.multiple, loaded.prediction, loaded.clip_px) == (64, 64, "epsilon", 28)
    assert not any(
        p.requires_grad
        for tower in (loaded.vae, loaded.unet, loaded.text_encoder, loaded.clip)
        for p in tower.parameters()
    )
    same(loaded, saved)


def same(loaded: towers.Towers, saved: dict, **close) -> None:
    """Whether all towers give what the saved ones do."""
    noise = torch.Generator().manual_seed(1)
    picture, latent = torch.rand(1, 3, 64, 64, generator=noise), torch.randn(1, 4, 8, 8, generator=noise)
    small, at = torch.rand(2, 3, 28, 28, generator=noise), torch.tensor([7])
    ids = torch.tensor([loaded.token_ids(2, 2)]) % 40
    with torch.no_grad():
        context = saved["text"](input_ids=ids).last_hidden_state
        pairs = [
            (loaded.encode(picture), saved["vae"].encode(picture * 2 - 1).latent_dist.mode() * 0.18215),
            (loaded.decode(latent), saved["vae"].decode(latent / 0.18215).sample / 2 + 0.5),
            (loaded.encode_text(loaded.text_encoder.token_embedding(ids)), context),
            (loaded.unet(latent, at, context).sample, saved["unet"](latent, at, context).sample),
            (loaded.clip(small), saved["clip"].encode_image(small)),
        ]
    for now, then in pairs:
        torch.testing.assert_close(now.float(), then.float(), **close)


def test_half_precision_halves_all_but_the_vae(world, mirror, tiny_sd):
    describe(spec_of(mirror))
    staging.stage("far")
    loaded = towers.load("far", dtype=torch.bfloat16)
    kinds = [
        {p.dtype for p in tower.parameters()} for tower in (loaded.vae, loaded.unet, loaded.text_encoder, loaded.clip)
    ]
    assert kinds == [{torch.float32}] + 3 * [{torch.bfloat16}]
    with torch.autocast("cpu", torch.bfloat16):
        same(loaded, tiny_sd[1], rtol=0.1, atol=0.1)


def test_the_text_half_of_clip_is_not_read(world, mirror, tiny_sd, monkeypatch):
    """Neither its numbers nor its shapes: a file without it does as well."""
    describe(spec_of(mirror))
    staging.stage("far")
    file = Path("data/foundations/far") / CLIP_FILE
    state = load_file(file)
    save_file({name: value for name, value in state.items() if name.startswith("visual.")}, file)
    clip, px = image_tower.load_clip(file.parent)
    assert px == 28 and all(value.device.type == "cpu" for value in clip.state_dict().values())
    torch.testing.assert_close(clip.state_dict()["class_embedding"], state["visual.class_embedding"])


@pytest.mark.parametrize(
    ("file", "gone"),
    [
        (UNET, "conv_in.weight"),
        ("text_encoder/model.safetensors", "text_model.final_layer_norm.bias"),
        (CLIP_FILE, "visual.proj"),
    ],
)
def test_missing_weights_are_no_random_ones(world, mirror, file, gone):
    describe(spec_of(mirror))
    staging.stage("far")
    shutil.copytree("data/foundations/far", "elsewhere")
    state = load_file(f"elsewhere/{file}")
    del state[gone]
    save_file(state, f"elsewhere/{file}", {"format": "pt"})
    with pytest.raises(lineage.LineageError, match="do not fill"):
        towers.load("far", folder=Path("elsewhere"))


# ---------------------------------------------------------------- mirrors


def test_a_mirror_that_is_gone_gives_way_to_the_next(world, server, mirror, capsys):
    describe(spec_of([{"url": f"{server.url}/gone"}, {"url": mirror}]))
    staging.stage("far")
    assert {entry["from"] for entry in told().values()} == {mirror}
    assert (
        f"passed over  {server.url}/gone: {server.url}/gone/vae/config.json: the server answers 404"
        in capsys.readouterr().err
    )
    assert sum(path.startswith("/gone/") for _, path, _ in server.asked) <= 2, "once for each part, then asked last"


def test_a_repository_of_the_hub(world, server, tiny_sd, monkeypatch):
    put_all(server, tiny_sd[0], "/owner/name/resolve/v1/")
    put_all(server, tiny_sd[0], "/other/clip/resolve/main/")
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    describe(spec_of({"hub": "owner/name", "revision": "v1"}, {"hub": "other/clip", "endpoint": server.url}))
    staging.stage("far")
    assert told()[UNET]["from"] == "hub owner/name@v1"
    assert told()[CLIP_FILE]["from"] == f"hub other/clip@main at {server.url}"
    assert server.asked[0][2]["Authorization"] == "Bearer hf_none"


def test_a_plain_folder_is_a_mirror(world, tiny_sd, tmp_path):
    describe(spec_of([{"folder": str(tmp_path / "nowhere")}, {"folder": str(tiny_sd[0])}]))
    staging.stage("far")
    towers.load("far")
    assert {entry["from"] for entry in told().values()} == {f"folder {tiny_sd[0]}"}


def test_no_mirror_has_it(world, server):
    describe(spec_of([{"url": f"{server.url}/a"}, {"url": f"{server.url}/b"}]))
    text = complaint()
    assert "none of 2 mirror(s) gave vae/config.json" in text and f"{server.url}/b" in text and "`local`" in text
    assert not Path("data/foundations/far").exists() and not Path("data/foundations/far.json").exists()


# ---------------------------------------------------------------- digests


def test_a_wrong_digest_is_refused_with_both(world, mirror, tiny_sd):
    right = files.sha256(tiny_sd[0] / UNET)
    describe(spec_of(mirror, digests={UNET: "f" * 64}))
    text = complaint()
    assert right in text and "f" * 64 in text
    assert not Path("data/foundations/far.json").exists()


def test_a_mirror_with_another_file_gives_way_to_one_with_the_right_one(world, server, mirror, tiny_sd, capsys):
    put_all(server, tiny_sd[0], "/bad/")
    server.put(f"/bad/{UNET}", b"something else")
    right = files.sha256(tiny_sd[0] / UNET)
    describe(spec_of([{"url": f"{server.url}/bad"}, {"url": mirror}], digests={UNET: right}))
    staging.stage("far")
    assert told()[UNET] == {"sha256": right, "bytes": (tiny_sd[0] / UNET).stat().st_size, "from": mirror}
    assert digest(b"something else") in capsys.readouterr().err


def test_what_was_trusted_first_is_held_to(world, server, mirror, tiny_sd):
    describe(spec_of(mirror))
    staging.stage("far")
    first = told()[CLIP_FILE]["sha256"]
    other = copy.deepcopy(load_file(tiny_sd[0] / "open_clip_model.safetensors"))
    other["visual.proj"] += 1
    save_file(other, "other.safetensors")
    server.put("/sd/open_clip_model.safetensors", Path("other.safetensors").read_bytes())
    shutil.rmtree("data/foundations/far")
    text = complaint()
    assert "remove data/foundations/far and data/foundations/far.json" in text
    assert first in text and files.sha256("other.safetensors") in text
    Path("data/foundations/far.json").unlink()  # what the owner does who means the new one
    staging.stage("far")
    assert told()[CLIP_FILE]["sha256"] == files.sha256("other.safetensors")


def test_what_is_trusted_is_at_least_what_its_name_says(world, server, mirror, tiny_sd):
    server.put("/sd/vae/config.json", b"{")
    describe(spec_of(mirror))
    assert "gave no .json file" in complaint()
    server.put("/sd/vae/config.json", (tiny_sd[0] / "vae/config.json").read_bytes())
    server.put(f"/sd/{UNET}", pickle.dumps({"weights": [1, 2]}))
    assert "gave no .safetensors file" in complaint()


def test_staged_again_nothing_is_fetched_and_the_card_is_the_same(world, server, mirror):
    describe(spec_of(mirror))
    staging.stage("far")
    card, asked = Path("data/foundations/far.json").read_bytes(), len(server.asked)
    staging.stage("far")
    assert Path("data/foundations/far.json").read_bytes() == card and len(server.asked) == asked


def test_a_workflow_that_removes_the_card_first_loses_nothing(world, server, mirror):
    describe(spec_of(mirror))
    staging.stage("far")
    before, asked = told(), len(server.asked)
    Path("data/foundations/far.json").unlink()
    server.put("/sd/open_clip_config.json", b"{}")
    staging.stage("far")
    assert told() == before and len(server.asked) == asked


def test_a_staged_file_that_changed_is_told_at_loading_and_mended(world, mirror):
    describe(spec_of(mirror))
    staging.stage("far")
    path = Path("data/foundations/far") / UNET
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        files.ChecksumError, match="changed after it was staged. Stage it again: mperceiver foundation far"
    ) as refused:
        towers.load("far")
    assert files.sha256(path) in str(refused.value) and told()[UNET]["sha256"] in str(refused.value)
    staging.stage("far")
    towers.load("far")


def test_a_new_time_alone_is_hashed_once(world, mirror, monkeypatch):
    """After a checkout or a copy all times are new."""
    describe(spec_of(mirror))
    staging.stage("far")
    hashed = []
    really = files.sha256
    monkeypatch.setattr(files, "sha256", lambda path: hashed.append(Path(path).name) or really(path))
    digests = {path: entry["sha256"] for path, entry in told().items()}
    files.verify_checksums(Path("data/foundations/far"), digests, "again")
    assert hashed == []
    os.utime(Path("data/foundations/far") / UNET, (1, 1))
    files.verify_checksums(Path("data/foundations/far"), digests, "again")
    files.verify_checksums(Path("data/foundations/far"), digests, "again")
    assert hashed == [Path(UNET).name]


# ---------------------------------------------------------------- a folder of one's own


@pytest.mark.parametrize("copied", [0, staging.COPIED_BYTES])
def test_a_local_folder_is_taken_before_any_mirror(world, server, tiny_sd, tmp_path, monkeypatch, copied):
    monkeypatch.setattr(staging, "COPIED_BYTES", copied)
    shutil.copytree(tiny_sd[0], tmp_path / "own")
    describe(spec_of(f"{server.url}/gone") | {"local": str(tmp_path / "own")})
    staging.stage("far")
    assert server.asked == [] and {entry["from"] for entry in told().values()} == {f"local {tmp_path / 'own'}"}
    own, staged = tmp_path / "own" / UNET, Path("data/foundations/far") / UNET
    assert own.samefile(staged) == (copied == 0), "a link, not a second copy"
    towers.load("far")
    if copied == 0:
        os.utime(own)
        own.write_bytes(own.read_bytes()[:-1] + b"x")
        with pytest.raises(files.ChecksumError, match="changed after it was staged"):
            towers.load("far")


def test_a_local_folder_with_some_of_the_files(world, mirror, tiny_sd, tmp_path):
    shutil.copytree(tiny_sd[0] / "unet", tmp_path / "own/unet")
    describe(spec_of(mirror) | {"local": str(tmp_path / "own")})
    staging.stage("far")
    assert told()[UNET]["from"].startswith("local") and told()["vae/config.json"]["from"] == mirror


def test_a_local_file_that_is_another_one_is_refused(world, server, mirror, tiny_sd, tmp_path):
    shutil.copytree(tiny_sd[0], tmp_path / "own")
    (tmp_path / "own" / UNET).write_bytes(b"mine")
    describe(spec_of(mirror, digests={UNET: "a" * 64}) | {"local": str(tmp_path / "own")})
    text = complaint()
    assert "a" * 64 in text and digest(b"mine") in text and str(tmp_path / "own" / UNET) in text
    assert server.asked == [], "nothing else is taken instead"


# ---------------------------------------------------------------- interrupted, and two at once


def test_interrupted_it_keeps_what_it_has_and_goes_on(world, server, mirror, tiny_sd):
    describe(spec_of([{"url": f"{server.url}/gone"}, {"url": mirror}]))
    served = server.files[f"/sd/{UNET}"]
    served.cuts = [len(served.body) // 2, *[0] * 20]
    complaint()
    served.cuts.clear()
    got = [path for method, path, _ in server.asked]
    server.asked.clear()
    staging.stage("far")
    assert {entry["from"] for entry in told().values()} == {mirror}, "also of what had come before"
    (again,) = server.gets(f"/sd/{UNET}")
    assert again["Range"] == f"bytes={len(served.body) // 2}-"
    assert "/sd/vae/diffusion_pytorch_model.safetensors" in got
    assert "/sd/vae/diffusion_pytorch_model.safetensors" not in [path for _, path, _ in server.asked]
    towers.load("far")


def test_what_is_wanted_no_more_does_not_come_along(world, server, mirror, tiny_sd, tmp_path):
    describe(spec_of(mirror))
    served = server.files[f"/sd/{UNET}"]
    served.cuts = [1000, *[0] * 20]
    complaint()
    shutil.copytree(tiny_sd[0], tmp_path / "own")
    describe(spec_of(mirror) | {"local": str(tmp_path / "own")})
    staging.stage("far")
    inside = {
        p.relative_to("data/foundations/far").as_posix() for p in Path("data/foundations/far").rglob("*") if p.is_file()
    }
    assert inside == {*told(), files.CHECKSUM_CACHE, files.MANIFEST}


def test_two_processes_fetch_each_file_once(world, server, mirror):
    describe(spec_of(mirror))
    program = (
        "from mperceiver import commits\nfrom mperceiver.foundations import staging\n"
        f"commits.current = lambda: {COMMIT!r}\n"
        "print(staging.stage('far'))"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", program], stdout=-1, text=True) for _ in range(2)]
    assert [job.communicate(timeout=120)[0].strip() for job in jobs] == ["data/foundations/far.json"] * 2
    asked = [path for _, path, _ in server.asked]
    assert len(asked) == len(set(asked)) == 9
    assert lineage.verify("data/foundations/far.json") == []


# ---------------------------------------------------------------- what a file of config/foundations may say


@pytest.mark.parametrize("name", ["unet/weights.bin", "v2-1.ckpt", "a/b.pt", "x.pth", "notes.txt"])
def test_pickles_are_refused(world, name):
    described = {
        "title": "t",
        "licence": "l",
        "parts": [{"mirrors": [{"url": "http://127.0.0.1"}], "files": {name: {}}}],
    }
    describe(described)
    assert "only .safetensors and .json files are accepted" in complaint()
    described["parts"][0]["files"] = {"a.safetensors": {"from": name}}
    describe(described)
    assert "only .safetensors and .json files are accepted" in complaint()


def test_pickles_in_a_folder_are_passed_over(world, tmp_path, capsys):
    shutil.copytree(PROJECT / "assets/foundations/mini", tmp_path / "own")
    (tmp_path / "own" / shipped.CARD).unlink()
    (tmp_path / "own/unet/model.bin").write_bytes(b"x")
    describe({"title": "t", "licence": "l", "local": str(tmp_path / "own")})
    staging.stage("far")
    assert "unet/model.bin" not in told() and "passed over unet/model.bin" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../up.json", "/etc/passwd", "unet/weights.bin"])
def test_a_card_that_came_with_weights_is_no_way_out(world, tmp_path, name):
    (tmp_path / "own").mkdir()
    card = {"verb": "foundation --build", "inputs": {}, "outputs": {name: "0" * 64}}
    (tmp_path / "own" / shipped.CARD).write_text(json.dumps(card), encoding="utf-8")
    describe({"title": "t", "licence": "l", "local": str(tmp_path / "own")})
    assert "only .safetensors and .json inside its folder are taken" in complaint()


@pytest.mark.parametrize(
    ("mirror", "message"),
    [
        ({}, "exactly one of hub, url, folder, package, drive, manual"),
        ({"hub": "a/b", "url": "http://x"}, "one of"),
        ({"url": "http://x", "revision": "v1"}, "belong to `hub`"),
        ({"url": "ftp://x"}, "http"),
        ({"hub": "no-owner"}, "hub"),
    ],
)
def test_a_mirror_is_one_place(world, mirror, message):
    describe({"title": "t", "licence": "l", "parts": [{"mirrors": [mirror], "files": {"a.json": {}}}]})
    assert message in complaint()


def test_a_file_stands_in_one_part_and_stays_in_its_folder(world):
    part = {"mirrors": [{"url": "http://127.0.0.1"}], "files": {"a.json": {}}}
    describe({"title": "t", "licence": "l", "parts": [part, part]})
    assert "a.json is in two parts" in complaint()
    describe({"title": "t", "licence": "l", "parts": [part | {"files": {"../a.json": {}}}]})
    assert "not a safe relative path" in complaint()
