"""What is staged can be loaded: a folder that lacks something, or holds something else under its name, is refused when it is staged."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from mperceiver import commits, lineage, paths
from mperceiver.foundations import complete, staging

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A whole foundation in a folder `own`, which `far` names."""
    (tmp_path / "config/foundations").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    for path in complete.NEEDED:
        (Path("own") / path).parent.mkdir(parents=True, exist_ok=True)
        whole = b'{"a": 1}' if path.endswith(".json") else save({"weight": np.arange(6, dtype=np.float32)})
        (Path("own") / path).write_bytes(whole)
    Path("config/foundations/far.yaml").write_text("title: t\nlicence: l\nlocal: own\n", encoding="utf-8")
    return Path("own")


def refused() -> str:
    with pytest.raises(lineage.LineageError) as caught:
        staging.stage("far")
    assert not paths.foundation_folder("far").exists() and not paths.foundation_card("far").exists()
    return str(caught.value)


def test_a_whole_folder_is_staged(own):
    staging.stage("far")
    assert {*complete.NEEDED} <= {*lineage.read_card("data/foundations/far.json")["result"]["files"]}


@pytest.mark.parametrize("path", complete.NEEDED)
def test_each_file_is_needed(own, path):
    (own / path).unlink()
    assert f"\n  {path}" in refused()


def test_an_empty_folder_and_one_without_a_part(own):
    shutil.rmtree(own / "unet")
    text = refused()
    assert (
        "own is not whole" in text
        and f"{UNET} (there is no file in unet/)" in text
        and "mperceiver foundation far" in text
    )
    shutil.rmtree(own)
    own.mkdir()
    assert all(path in refused() for path in complete.NEEDED)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ("diffusion_pytorch_model.fp16.safetensors", "a variant such as fp16 is not read"),
        ("diffusion_pytorch_model.non_ema.safetensors", "a variant such as fp16 is not read"),
        ("diffusion_pytorch_model.bin", "a pickle, which can run code"),
        ("model.ckpt", "a pickle, which can run code"),
    ],
)
def test_what_there_is_instead_is_named(own, other, words):
    (own / UNET).rename(own / "unet" / other)
    assert f"{UNET} (there is {other}: {words}" in refused()


@pytest.mark.parametrize("path", [UNET, "image_encoder/open_clip_model.safetensors", "vae/config.json"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "pointer of git-lfs.*git lfs pull",
        ),
        (b"\n<!DOCTYPE html><html>log in</html>", "a web page"),
        (b"\xff" * 100, "cut short or damaged|not what its name says"),
        (None, "cut short or damaged|not what its name says"),
    ],
)
def test_what_is_not_what_its_name_says(own, path, content, words):
    import re

    whole = (own / path).read_bytes()
    (own / path).write_bytes(whole[:-1] if content is None else content)
    text = refused()
    assert path in text and re.search(words, text) and "mperceiver foundation far" in text
    (own / path).write_bytes(whole)
    staging.stage("far")


def test_weights_in_several_files(own):
    (own / UNET).rename(own / "unet/diffusion_pytorch_model-00001-of-00002.safetensors")
    shards = [f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = own / f"{UNET}.index.json"
    index.write_text(json.dumps({"weight_map": {f"w{i}": shard for i, shard in enumerate(shards)}}), encoding="utf-8")
    assert f"names {shards[1]}, which is not there" in refused()
    shutil.copyfile(own / "unet" / shards[0], own / "unet" / shards[1])
    staging.stage("far")


def test_a_mirror_that_gives_a_page_is_passed_over(own, server):
    Path("config/foundations/far.yaml").write_text(
        "title: t\nlicence: l\nparts:\n  - mirrors: [{url: '"
        + server.url
        + "/bad'}, {folder: own}]\n    files:\n"
        + "".join(f"      {path}: {{}}\n" for path in complete.NEEDED),
        encoding="utf-8",
    )
    for path in complete.NEEDED:
        server.put(
            f"/bad/{path}",
            b"<html>no</html>" if path.endswith(".json") else b"version https://git-lfs.github.com/spec/v1\n",
        )
    staging.stage("far")
    files = lineage.read_card("data/foundations/far.json")["result"]["files"]
    assert {entry["from"] for entry in files.values()} == {"folder own"}


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("data/foundations/sd21/unet/config.json", "mperceiver foundation sd21"),
        ("data/foundations/sd21.json", "mperceiver foundation sd21"),
        ("data/raw/rain/a/b.png", "mperceiver download rain"),
        ("data/prepared/rain.arrow", "mperceiver prepare rain"),
        ("data/latents/sd21/rain.arrow", "snakemake --cores all -f data/latents/sd21/rain.json"),
        ("results/restored/ours/rain/a.png", "snakemake --cores all -f results/restored/ours/rain.json"),
        ("results/scores/ours/rain.csv", "snakemake --cores all -f results/scores/ours/rain.json"),
        ("results/tables/main.html", "snakemake --cores all -f results/tables/main.json"),
        ("results/runs/ours/drm.safetensors", "snakemake --cores all results/runs/ours/drm.safetensors"),
        ("results/report/night/index.html", "snakemake --cores all --configfile config/night.yaml"),
        ("data/manual/rain/set.zip", None),
        ("results/logs/x.log", None),
        ("data/features/a/b.safetensors", None),
        ("elsewhere/a.png", None),
    ],
)
def test_the_command_that_makes_a_file_can_make_it(path, command):
    assert paths.command_for(path) == command
