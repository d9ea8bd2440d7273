"""The whole paper in miniature: `python tests/support/paper.py FOLDER`, then there `snakemake -s …/Snakefile --configfile config/paper.yaml`.

A copy of config/, in which only what must be small is replaced, and data/manual/ with every dataset that the paper needs: a
few photographs in the true layout of its archives. The foundation is the committed mini one under the name sd21; the Inception
of FID has random weights, so that numbers of FID mean nothing there.
"""

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from mperceiver import config
from mperceiver.config.experiments import Experiment
from mperceiver.config.pairs import Example
from mperceiver.degradations import DEGRADATIONS, mix
from support import PROJECT, checkpoints, examples, rivals

PX = 96  # side of a picture
LARGER = {"ssid-test": 192}  # NIQE looks at blocks of 96 px, several of them
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png")
# Raw datasets of clean pictures, which lie there as they are.
LOOSE = {
    "cbsd68": ("101085.jpg", "101087.jpg"),
    "kodak24": ("kodim01.png", "kodim02.png"),
    "kodak": ("kodim01.png", "kodim02.png"),
    "mcmaster": ("1.tif", "2.tif"),
    "live1": ("bikes.bmp", "buildings.bmp"),
    "bsds500-test": ("100007.jpg", "200.jpg"),
}
# Root folders that the examples have in one of two datasets of the same archive. Here that is one archive, without them.
ROOTS = ("NH-HAZE/", "Dense/")
# How the degraded pictures of ready-made pairs are made, where a degradation's own numbers are for larger ones.
NUMBERS = {"motion-blur": {"length_px": 8.0}, "raindrop": {"radius_px": 6.0}, "rain": {"length_px": 12.0}}
WAYS = {"rain-raindrop": ("rain", "raindrop")}
PLAIN = ("haze", "rain", "snow", "low-light")  # what the composites of CDD-11 are named by, such as low-light-haze-rain

RUNS = {
    "mperceiver": """
like: smoke
title: MPerceiver on the mini foundation, a few steps on the tasks of the paper
""",
    "smoke": """
title: What is small in this world
seed: 0
model:
  predictor_hidden: 16
  tp_tokens: 2
  cm_tokens: 2
  cm_heads: 2
  vp_tokens: 2
  vp_width: 16
  vp_heads: 2
  vp_head_width: 8
  ir_widths: [16, 16, 32, 32]
  ir_feature_width: 16
  ir_heads: 2
  modulator_hidden: 8
  drm: {levels: [2, 1, 0], widths: {2: 16, 1: 16, 0: 8}, naf_blocks: {2: 1, 1: 1, 0: 1}, swin_blocks: {2: 1, 1: 1, 0: 0}, window: 4, head_width: 8}
predictor: {steps: 100, lr: 3.0e-3, phases: [{batch: 18, crop_px: 64}]}
branches: {steps: 12, lr: 2.0e-3, phases: [{batch: 2, crop_px: 64}]}
latents: {steps: 2, spacing: trailing}
drm:
  steps: 12
  lr: 2.0e-3
  phases: [{batch: 1, crop_px: 64}]
  losses: {perceptual: 0, adversarial: 0}
""",
    "mperceiver-jpeg": """
title: Few-shot, MPerceiver fine-tuned on a few photographs as JPEG at quality 10
like: mperceiver
train: [div2k-first100-jpeg-10]
start_from: mperceiver
reuse: {predictor: mperceiver}
predictor: null
branches: {steps: 4}
drm: {steps: 4}
""",
    "nafnet-a": """
title: NAFNet on the pairs of MPerceiver, a few steps
like: mperceiver
foundation: null
model: null
predictor: null
branches: null
drm: null
latents: null
network:
  architecture: nafnet
  arguments: {width: 8, middle_blocks: 1, encoder_blocks: [1], decoder_blocks: [1]}
  steps: 40
  lr: 1.0e-3
  phases: [{batch: 2, crop_px: 64}]
  losses: {perceptual: 0, colour: 0, adversarial: 0}
""",
}
# The committed runs of the other methods, and the few-shot ones that are like them -> what stands in the place of their networks.
RIVALS = {
    "airnet-a": "airnet",
    "da-clip-a": "da-clip",
    "promptir-a": "promptir",
    "restormer-a": "restormer",
    "transweather-a": "transweather",
    "wgws-general-a": "wgws-general",
    "wgws-a": "wgws",
}
# These have no skip from the input to the output. After a few steps only, RealBlur's protocol could not align what they return.
STEPS_OF_RIVALS = {"airnet": 150, "transweather": 150}
FEW_SHOT = ("airnet-jpeg", "transweather-jpeg", "wgws-jpeg")
FOUNDATIONS = {
    "sd21": """
like: mini
title: the mini foundation in the place of Stable Diffusion 2.1
""",
    "inception-fid": """
title: An Inception of random weights, so FID means nothing here
licence: Apache-2.0
local: inception
parts:
  - mirrors: [{folder: inception}]
    files:
      pt_inception-2015-12-05-6726825d.pth: {tensors_only: true}
""",
}
# The sampler's steps of the full method, a tenth of the paper's. The other methods take them over, but for those of the figure of steps.
STEPS = ("sampler: {steps: 50}\n", "sampler: {steps: 5}\n")
# Lines of a dataset's file -> what they are in miniature. Its pairing rules and its protocol stay as they are.
SMALLER = {
    r"(?m)^expected: .*\n": "",
    r"crop_px: 512, crops: \d+": "crop_px: 64, crops: 1",
    r"short_side_px: 512": "short_side_px: 64",
    r"sample: \{count: \d+\}": "sample: {count: 2}",
}
SMALL_KEYS = {"expected", "encode", "short_side_px", "sample"}


def build(folder: Path, *experiments: str) -> None:
    """Make the world in ``folder``, which is new, with the datasets that ``experiments`` need: config/<experiment>.yaml."""
    shutil.copytree(PROJECT / "config", folder / "config")
    (folder / "config/paper.yaml").write_text(_experiment(), encoding="utf-8")
    train = yaml.safe_load((PROJECT / "config/runs/mperceiver.yaml").read_text(encoding="utf-8"))
    kept = yaml.safe_dump({key: train[key] for key in ("foundation", "train")})
    for name, text in RUNS.items():
        text = text.lstrip() + (kept if name == "smoke" else "")
        (folder / f"config/runs/{name}.yaml").write_text(text, encoding="utf-8")
    for name, rival in RIVALS.items():
        run = yaml.safe_load((PROJECT / f"config/runs/{name}.yaml").read_text(encoding="utf-8"))
        kept = {key: run[key] for key in ("title", "foundation", "tasks", "start_from") if key in run}
        world = {"foundation": "sd21", "train": train["train"]} | (
            {} if run.get("foundation") else {"foundation": None}
        )
        small = yaml.safe_load(rivals.run(rival, steps=STEPS_OF_RIVALS.get(rival, 10)))
        if rival in STEPS_OF_RIVALS:
            small["network"]["lr"] = 1e-2
        text = yaml.safe_dump(world | small | kept, sort_keys=False)
        (folder / f"config/runs/{name}.yaml").write_text(text, encoding="utf-8")
    for name in FEW_SHOT:
        path = folder / f"config/runs/{name}.yaml"
        path.write_text(path.read_text(encoding="utf-8").replace("steps: 10000", "steps: 4"), encoding="utf-8")
    for name, text in FOUNDATIONS.items():
        (folder / f"config/foundations/{name}.yaml").write_text(text.lstrip(), encoding="utf-8")
    checkpoints.put_small_networks(folder)
    table = folder / "config/tables/efficiency.yaml"
    table.write_text(smaller_costs(table.read_text(encoding="utf-8")), encoding="utf-8")
    method = folder / "config/methods/mperceiver.yaml"
    method.write_text(method.read_text(encoding="utf-8").replace(*STEPS), encoding="utf-8")
    if "paper" not in experiments:
        _fewer_steps(folder)
    here = Path.cwd()
    os.chdir(folder)
    try:
        datasets = set().union(*map(needed, experiments))
        _datasets(datasets)
        if any("fid" in config.load("protocols", config.load("datasets", name).protocol).metrics for name in datasets):
            _inception(Path("inception"))
    finally:
        os.chdir(here)


def _fewer_steps(folder: Path) -> None:
    """Train for four steps at most: only the paper's RealBlur is aligned before it is scored, which needs a picture to be seen."""
    for name in [*RUNS, *RIVALS]:
        path = folder / f"config/runs/{name}.yaml"
        text = re.sub(
            r"\bsteps: (\d+)", lambda found: f"steps: {min(int(found[1]), 4)}", path.read_text(encoding="utf-8")
        )
        path.write_text(text, encoding="utf-8")


def _experiment() -> str:
    """config/paper.yaml with a title that says that its numbers are not the paper's."""
    text = (PROJECT / "config/paper.yaml").read_text(encoding="utf-8")
    return re.sub(
        "(?m)^title: .*$",
        "title: A miniature of the paper's tables (a few pictures, smoke-size weights, FID by random weights)",
        text,
    )


def smaller_costs(table: str) -> str:
    """The text of config/tables/efficiency.yaml with pictures of 64, 96 and 128 px a side."""
    for paper, px in {"1024": "128", "512": "96", "256": "64"}.items():
        table = table.replace(f"{paper} px", f"{px} px").replace(f"px: {paper}", f"px: {px}")
    return table


def _inception(folder: Path) -> None:
    import torch

    from mperceiver.metrics import fid

    torch.manual_seed(0)
    network = fid.build()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):  # so that features keep their magnitude from layer to layer
            torch.nn.init.kaiming_normal_(module.weight)
    folder.mkdir()
    torch.save(network.state_dict(), folder / "pt_inception-2015-12-05-6726825d.pth")


# ---------------------------------------------------------------- datasets


def needed(name: str = "paper") -> set[str]:
    """The datasets with ready-made pairs that the experiment config/<name>.yaml needs."""
    experiment = config.parse(Path(f"config/{name}.yaml"), Experiment)
    inputs: dict = {"scores": config.score_inputs, "restored": config.restore_inputs, "runs": config.stage_inputs}
    inputs["costs"] = config.measure_inputs
    waiting = [path for name in experiment.tables for path in config.table_inputs(name)]
    waiting += [path for name in experiment.figures for path in config.figure_inputs(name)]
    found = set()
    for path in waiting:  # grows as it goes
        top, kind, *stems = Path(path).with_suffix("").parts
        below = []
        if top == "results":
            below = inputs[kind](*stems)
        elif (top, kind) == ("data", "prepared"):
            found.add(stems[0])
            below = config.prepare_inputs(stems[0])
        waiting += [path for path in below if path not in waiting]
    return {name for name in found if config.load("datasets", name).pairs}


def _datasets(names: Iterable[str]) -> None:
    raw: dict[str, dict[str, dict[str, bytes]]] = {}

    def add(origin: str, files: dict[str, dict[str, bytes]]) -> None:
        for archive, members in files.items():
            raw.setdefault(origin, {}).setdefault(archive, {}).update(members)

    degraded = _degraded()
    for name in sorted(names):
        made = partial(_member, name, degraded, LARGER.get(name, PX))
        for origin, files in examples.raw_files(_example(name), made).items():
            add(origin, files)
    for origin, names in LOOSE.items():
        add(origin, {".": {name: examples.encoded(name, clean(f"{origin} {name}")) for name in names}})
    for origin, files in raw.items():
        examples.write(Path("data/manual") / origin, files)
        names = [name for archive, members in files.items() for name in (members if archive == "." else [archive])]
        _brought(origin, sorted(names))
    for path in Path("config/datasets").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        for pattern, small in SMALLER.items():
            text = re.sub(pattern, small, text)
        path.write_text(text, encoding="utf-8")


def _brought(origin: str, names: list[str]) -> None:
    """A raw dataset comes from data/manual/, under the names of its miniature."""
    path = Path(f"config/datasets/{origin}.yaml")
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    words = {key: spec[key] for key in ("title", "licence", "citation", "page") if key in spec}
    source = {"source": "manual", "page": spec.get("page", "https://example.org"), "terms": "none: made for a test"}
    source["files"] = [{"name": name} for name in names]
    path.write_text(yaml.safe_dump(words | {"sources": [source]}, sort_keys=False), encoding="utf-8")


def _degraded() -> dict[str, tuple[str, str]]:
    """Degraded member -> its ground truth and its task, of all examples: several are of the same archives."""
    return {
        pair.lq: (pair.gt or f"{pair.lq} clean", pair.task or config.load("datasets", name).pairs.task)
        for name in examples.all_examples()
        for pair in _example(name).pairs
        if pair.lq != pair.gt
    }


def _example(name: str) -> Example:
    """The example of a dataset, without the root folders in ROOTS."""

    def without_root(member: str) -> str:
        for root in ROOTS:
            member = member.removeprefix(root)
        return member

    example = config.load("datasets", name).example
    files = {
        origin: {archive: [without_root(member) for member in members] for archive, members in archives.items()}
        for origin, archives in example.files.items()
    }
    pairs = [
        pair.model_copy(update={"lq": without_root(pair.lq), "gt": pair.gt and without_root(pair.gt)})
        for pair in example.pairs
    ]
    return example.model_copy(update={"files": files, "pairs": pairs})


def _member(name: str, degraded: dict[str, tuple[str, str]], px: int, member: str) -> bytes:
    """A file of an archive of a dataset: a photograph, degraded if it is the lq of a pair; or a MATLAB file of several."""
    if array := _example(name).arrays.get(member):
        return examples.matlab_file(array.key, _array(name, member, array.shape[:-3]))
    source, task = degraded.get(member, (member, None))
    picture = clean(source, px)
    return examples.encoded(member, worse(picture, task, member) if task else picture)


def _array(name: str, member: str, shape: list[int]) -> np.ndarray:
    """The pictures of a MATLAB file, (*shape, H, W, 3): the degraded ones, or their ground truths."""
    pairs = config.load("datasets", name).pairs
    keys = [f"{name} {i}" for i in range(int(np.prod(shape)))]
    pictures = [clean(key) for key in keys]
    if Path(member).name == Path(pairs.arrays.lq).name:
        pictures = [worse(picture, pairs.task, key) for picture, key in zip(pictures, keys, strict=True)]
    return np.stack(pictures).reshape(*shape, PX, PX, 3)


def clean(key: str, px: int = PX) -> np.ndarray:
    """A piece of a photograph, (px, px, 3) uint8, which one and where being a hash of ``key``."""
    rng = np.random.default_rng(_hash(key))
    whole = photograph(PHOTOGRAPHS[rng.integers(len(PHOTOGRAPHS))])
    top, left = (int(rng.integers(side - px + 1)) for side in whole.shape[:2])
    return whole[top : top + px, left : left + px]


def worse(picture: np.ndarray, task: str, key: str) -> np.ndarray:
    composite = [task] if task in DEGRADATIONS else [name for name in PLAIN if name in task]
    names = WAYS.get(task, composite)
    layers = [(name, NUMBERS.get(name, {})) for name in names]
    return mix.degrade(picture.astype(np.float32) / 255, layers, _hash(key))[0]


@cache
def photograph(name: str) -> np.ndarray:
    """One of scikit-image's, its shorter side 240 px."""
    import skimage

    with Image.open(Path(skimage.__file__).parent / "data" / name) as file:
        picture = file.convert("RGB")
    scale = 240 / min(picture.size)
    return np.array(picture.resize([round(side * scale) for side in picture.size], Image.Resampling.LANCZOS))


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big")


if __name__ == "__main__":
    build(Path(sys.argv[1]), "paper")
    print(sys.argv[1])
