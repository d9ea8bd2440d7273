"""Every kind of YAML file under ``config/`` as a typed model.

A name in a path is the stem of a file here: ``results/scores/demo/demo-mid6.csv`` exists because there are
``config/methods/demo.yaml`` and ``config/datasets/demo-mid6.yaml``. This is the only module that reads YAML, and it imports
no torch, since Snakemake imports it at each start and in each cluster job. Unknown keys are refused; an error names the
file and the key. Any file may say `like: NAME`: it then takes every key it does not give from the file of that name beside it.
"""

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

# The nine degradations in the order of Fig. 8 of the paper; the predictor's classes and every prompt pool use it.
TASKS = ["haze", "snow", "gaussian-noise", "rain", "motion-blur", "defocus", "real-noise", "raindrop", "low-light"]
STAGES = ["predictor", "branches", "drm", "network"]
MetricName = Literal["psnr", "ssim", "lpips", "niqe"]  # the keys of METRICS in mperceiver/metrics.py
METRIC_NAMES = list(get_args(MetricName))
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
# YAML reads a bare `no` as false.
Precision = Annotated[Literal["no", "bf16", "fp16"], BeforeValidator(lambda value: "no" if value is False else value)]


class ConfigError(ValueError):
    """A configuration file is missing or wrong; the message says which file, which key and what to do."""


class Model(BaseModel):
    """What all kinds share: unknown keys are refused, and what was read does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=())


# ---------------------------------------------------------------- foundation


class Tokens(Model):
    """Token ids of the spliced prompt (section 3.2; Eq. 3). The placeholders' embeddings are replaced by prompts."""

    start: int = Field(49406, description="start-of-text id")
    end: int = Field(49407, description="end-of-text id")
    pad: int = Field(0, description="padding id (0 in open_clip, not the end id)")
    textual: int = Field(343, description="placeholder of a textual prompt token")
    image: int = Field(265, description="placeholder of a cross-modal (CM-Adapter) token")


class Phase(Model):
    """A stretch of a training at one batch size and crop."""

    share: Share = Field(1.0, description="part of all the steps, phases in order; the shares add up to 1")
    batch: Positive = Field(description="pictures a step and process")
    crop_px: Positive = Field(description="side of the square crop, in picture pixels")


class Build(Model):
    """How a foundation is pre-trained from nothing by this project (`mperceiver foundation --build`)."""

    seed: int = Field(0, description="of the first weights and of all that is drawn")
    pictures: list[Name] = Field(description="datasets of clean pictures to learn from, drawn from equally")
    degradations: Name = Field(description="dataset whose degradations the CLIP is taught to tell apart")
    vae_widths: list[Positive] = Field(description="AutoencoderKL block_out_channels, two or more levels")
    unet_widths: list[Positive] = Field(description="UNet2DConditionModel block_out_channels, four scales")
    unet_heads: list[Positive] = Field(description="attention heads of each scale")
    text_width: Positive = Field(
        64, description="channels of the CLIP text encoder, and of the U-Net's cross-attention"
    )
    text_layers: Positive = Field(3, description="layers of the CLIP text encoder")
    text_heads: Positive = Field(2, description="attention heads of a layer of the CLIP text encoder")
    context_tokens: Positive = Field(12, description="length of a prompt, start, end and padding included")
    clip_px: Positive = Field(64, description="side of the picture that the CLIP image encoder sees")
    clip_width: Positive = Field(8, description="channels of the CLIP image encoder's first level")
    prediction: Literal["epsilon", "v_prediction"] = Field(
        "v_prediction", description="what the U-Net predicts: the noise (Eq. 1 of the paper), or v"
    )
    vae: "Stage" = Field(description="the VAE, on small crops")
    vae_larger: "Stage" = Field(description="the VAE once more, on larger crops")
    clip: "Stage" = Field(description="the CLIP, to tell degradations apart")
    unet: "Stage" = Field(description="the U-Net, on latents of clean pictures")


class Foundation(Model):
    """config/foundations/<name>.yaml: the frozen Stable Diffusion and CLIP."""

    title: str = Field(description="what it is, in a line")
    licence: str = Field(description="licence of the weights")
    citation: str = Field("", description="whom to cite for it")
    local: str | None = Field(None, description="folder with the weights in diffusers' layout, relative to the project")
    tokens: Tokens = Field(Tokens(), description="token ids of its text encoder")
    trunk_norm: bool = Field(
        True,
        description="false: the last norm and activation of the VAE's encoder and decoder are identities (tiny VAEs)",
    )
    build: Build | None = Field(None, description="pre-training recipe, where the project makes this foundation itself")


# ---------------------------------------------------------------- dataset


class PackageSource(Model):
    """Pictures that ship inside an installed Python package."""

    source: Literal["package"] = Field(description="this kind of source")
    package: str = Field(description="import name of the package")
    files: dict[str, str] = Field(
        description="picture id: path inside the package, or other_package:path for one inside another package"
    )
    sha256: dict[str, str] = Field(default_factory=dict, description="picture id: SHA-256 of the file")


class GeneratedSource(Model):
    """Pictures drawn by a seeded generator."""

    source: Literal["generated"] = Field(description="this kind of source")
    generator: Name = Field(description="a key of GENERATORS in mperceiver/data/generated.py")
    count: Positive = Field(description="number of pictures")
    size_px: Positive = Field(description="side of each, which is square")


class LocalSource(Model):
    """A folder: absolute, or looked for inside each folder of the `mirror` setting."""

    source: Literal["local"] = Field(description="this kind of source")
    folder: str = Field(description="an absolute path, or one inside a mirror folder")
    glob: str = Field("*", description="pictures inside the folder")
    sha256: str | None = Field(
        None, description="SHA-256 over the lines '<sha256>  <basename>' of the folder's pictures, sorted by basename"
    )


Source = Annotated[PackageSource | GeneratedSource | LocalSource, Field(discriminator="source")]


class Dataset(Model):
    """config/datasets/<name>.yaml: clean pictures from a source, or pairs made from them by degradations."""

    title: str = Field(description="what it is, in a line")
    licence: str = Field(description="licence or terms of use of the pictures")
    citation: str = Field("", description="whom to cite for it")
    sources: list[Source] = Field(default_factory=list, description="tried in order; the first that is there is taken")
    expected: Positive | None = Field(None, description="number of pictures a download must have")
    from_: list[Name] = Field(
        default_factory=list, alias="from", description="datasets whose pictures are the ground truth of this one"
    )
    degradations: dict[Name, dict[Name, dict[str, Any]]] = Field(
        default_factory=dict,
        description="task: its layers in order, each a key of DEGRADATIONS with its numbers (a scalar, a [low, high] "
        "range, or {choices: [...]})",
    )
    every: bool = Field(
        True, description="true: each crop is degraded in every way; false: the ways take turns over the crops"
    )
    crop_px: Positive | None = Field(None, description="cut square crops of this side; none: whole pictures")
    crops: Positive | None = Field(None, description="crops in all, drawn evenly over the pictures (needs crop_px)")
    seed: int = Field(0, description="a picture's own seed is a hash of the dataset's name, the picture's id and this")
    protocol: Name = Field("rgb", description="how restored pictures of this dataset are scored")

    @model_validator(mode="after")
    def _one_kind(self):
        if bool(self.sources) == bool(self.from_):
            raise ValueError("give either `sources` (pictures from somewhere) or `from` (pairs made of other datasets)")
        if bool(self.from_) != bool(self.degradations):
            raise ValueError("`from` and `degradations` go together")
        if (self.crops is None) != (self.crop_px is None):
            raise ValueError("`crops` and `crop_px` go together")
        return self


# ---------------------------------------------------------------- run


class DrmConfig(Model):
    """Detail refinement module in the VAE decoder (section 3.3)."""

    levels: list[int] = Field([2, 1], description="decoder levels it joins, 0 = full resolution")
    widths: dict[int, Positive] = Field(
        default_factory=dict, description="level: channels inside (default the level's own)"
    )
    naf_blocks: int = Field(2, ge=0, description="NAF blocks at each level")
    swin_blocks: dict[int, int] = Field(default_factory=dict, description="level: SwinBlocks there (default 2)")
    window: Positive = Field(8, description="side of a SwinBlock's attention window, in that level's pixels")
    head_width: Positive = Field(32, description="channels of one attention head in a SwinBlock")


class ModelConfig(Model):
    """Widths and switches of MPerceiver's modules; the defaults are the paper's scale."""

    predictor_hidden: Positive = Field(512, description="hidden channels of the degradation predictor")
    tp_tokens: Positive = Field(16, description="L, tokens of a textual prompt")
    cm_tokens: Positive = Field(16, description="tokens the CM-Adapter makes of the CLIP embedding")
    cm_heads: Positive = Field(8, description="attention heads of the CM-Adapter")
    vp_tokens: Positive = Field(24, description="M, tokens of a visual prompt")
    vp_width: Positive = Field(512, description="channels of a visual prompt")
    vp_heads: Positive = Field(8, description="heads of the attention to the visual prompts")
    vp_head_width: Positive = Field(64, description="channels of one of those heads")
    ir_widths: list[Positive] = Field([128, 256, 384, 512], description="IR-Adapter channels of its four scales")
    ir_feature_width: Positive = Field(512, description="channels of f_k after the VP modulator")
    ir_heads: Positive = Field(4, description="attention heads of the IR-Adapter")
    modulator_hidden: Positive = Field(128, description="channels inside an AdaIN modulator (Eq. 5)")
    modulation: Literal["release", "release_zero", "identity_gate"] = Field(
        "release_zero",
        description="AdaIN modulation as in the authors' release; the same, its first convolution zero at the start as the "
        "paper draws it; or through a gate that starts as the identity, which learns sooner on a small budget",
    )
    textual: bool = Field(True, description="textual branch: CM-Adapter and TP pool (else an empty prompt)")
    visual: bool = Field(True, description="visual branch: IR-Adapter, VP pools and AdaIN modulation")
    tp_pool: bool = Field(
        True, description="the pool of textual prompts (else the textual branch has the CM-Adapter only)"
    )
    vp_pool: bool = Field(
        True, description="the pools of visual prompts (else the visual branch has the IR-Adapter only)"
    )
    prompt_order: Literal["tp_first", "cm_first"] = Field(
        "tp_first", description="textual prompt before the CM-Adapter's tokens (the release), or after them (the paper)"
    )
    drm: DrmConfig = Field(DrmConfig(), description="the detail refinement module")


class Losses(Model):
    """Weights of the losses of a stage that makes pictures (section 3.3)."""

    l1: float = Field(1.0, ge=0, description="mean absolute error")
    perceptual: float = Field(0.1, ge=0, description="LPIPS")
    perceptual_network: Literal["alex", "vgg"] = Field("vgg", description="trunk of the perceptual loss")
    perceptual_every: Positive = Field(1, description="count the perceptual term at every n-th step, n times as heavy")
    colour: float = Field(0.2, ge=0, description="1 - cos of the angle between RGB vectors (DeepUPE)")
    adversarial: float = Field(0.025, ge=0, description="hinge PatchGAN; 0 switches it off")
    adversarial_from_step: int = Field(500, ge=0, description="no adversarial term before this step")


class Stage(Model):
    """One stage of training."""

    steps: Positive = Field(description="optimiser steps")
    phases: list[Phase] = Field(description="batch and crop over the course of the training")
    lr: float = Field(
        1e-4, gt=0, description="learning rate of AdamW after the warm-up; from there it falls by a cosine"
    )
    lr_end: float = Field(1e-6, ge=0, description="end of the cosine")
    warmup_steps: int = Field(0, ge=0, description="steps over which the learning rate rises from 0")
    betas: tuple[float, float] = Field((0.9, 0.999), description="of AdamW")
    weight_decay: float = Field(0.01, ge=0, description="not applied to prompts, norms and biases")
    clip_norm: float = Field(1.0, gt=0, description="the gradient's norm is cut to this")
    accumulate: Positive = Field(1, description="batches a step")
    precision: Precision = Field("no", description="mixed precision of the forward pass; no: float32 throughout")
    flip: bool = Field(True, description="random horizontal flips")
    save_every_steps: Positive = Field(200, description="steps between two resume states")
    gamma: float = Field(2.0, ge=0, description="focal loss's focusing parameter (predictor)")
    losses: Losses = Field(Losses(), description="drm and network stages")

    @model_validator(mode="after")
    def _shares(self):
        if abs(sum(phase.share for phase in self.phases) - 1) > 1e-6:
            raise ValueError(f"the phases' shares add up to {sum(p.share for p in self.phases):g}, not 1")
        return self


class NetworkStage(Stage):
    """A restoration network trained as a baseline by the same loop on the same pairs."""

    architecture: Name = Field(description="a key of ARCHITECTURES in mperceiver/models/baselines/")
    arguments: dict[str, Any] = Field(default_factory=dict, description="passed to the architecture")


class Run(Model):
    """config/runs/<name>.yaml: how weights are made."""

    title: str = Field(description="what it is, in a line")
    foundation: Name | None = Field(None, description="the frozen weights it stands on; a baseline has none")
    train: list[Name] = Field(description="training datasets")
    tasks: list[Name] = Field(TASKS, description="the degradation classes, in order")
    seed: int = Field(0, description="of the first weights and of all that is drawn")
    model: ModelConfig = Field(ModelConfig(), description="widths and switches of the modules")
    predictor: Stage | None = Field(None, description="stage 1: the degradation predictor")
    branches: Stage | None = Field(None, description="stage 2: the textual and the visual branch")
    drm: Stage | None = Field(None, description="stage 3: the detail refinement module")
    network: NetworkStage | None = Field(None, description="a baseline's one stage")
    latents: "Sampler | None" = Field(None, description="how the DRM's training latents are sampled by stage 2")
    reuse: dict[Literal["predictor", "branches", "drm"], Name] = Field(
        default_factory=dict, description="stage: run whose weights of that stage are taken as they are"
    )
    start_from: Name | None = Field(None, description="run whose weights the trained stages start from (few-shot)")

    @model_validator(mode="after")
    def _stages(self):
        if self.network is None and self.foundation is None:
            raise ValueError("a run of MPerceiver names its `foundation`; a baseline has a `network` stage")
        both = [stage for stage in self.reuse if getattr(self, stage) is not None]
        if both:
            raise ValueError(f"{both[0]} is both trained and reused; drop one of them")
        if self.drm is not None and self.latents is None:
            raise ValueError("a run with a `drm` stage says in `latents` how its latents are sampled")
        return self


# ---------------------------------------------------------------- method


class Sampler(Model):
    """DDIM on the foundation's schedule (section 4.1: 50 steps)."""

    steps: Positive = Field(50, description="steps of DDIM")
    eta: float = Field(0.0, ge=0, le=1, description="noise put back at each step: 0 is DDIM, 1 is DDPM")
    spacing: Literal["leading", "trailing"] = Field(
        "leading", description="which of the schedule's steps are gone through; trailing begins at the very last one"
    )
    init: Literal["noise", "lq_noised"] = Field(
        "noise", description="pure noise, or the LQ latent noised to the first t"
    )
    strength: Share = Field(1.0, description="share of the schedule gone through; below 1 only with init lq_noised")
    last: Literal["x0", "release"] = Field(
        "x0", description="return the predicted x0, or stop at alpha_0 as the release"
    )
    seed: int = Field(
        42, description="a picture's start noise comes from a hash of the dataset, the picture's id and this"
    )

    @model_validator(mode="after")
    def _start(self):
        if self.strength < 1 and self.init == "noise":
            raise ValueError("`strength` below 1 starts from the picture: it needs `init: lq_noised`")
        return self


class Method(Model):
    """config/methods/<name>.yaml: how a picture is restored."""

    title: str = Field(description="its row's label in tables")
    kind: Literal["identity", "mperceiver", "network", "vae"] = Field(
        description="identity: the degraded picture itself; mperceiver: this project's model; network: a baseline trained "
        "here; vae: encode-decode of the ground truth, the ceiling of any method without the DRM"
    )
    run: Name | None = Field(None, description="run whose weights are used")
    foundation: Name | None = Field(None, description="for kind vae")
    sampler: Sampler = Field(Sampler(), description="for kind mperceiver")
    drm: bool = Field(True, description="for kind mperceiver: decode with the detail refinement module")
    self_ensemble: Literal["none", "flip4", "geometric8"] = Field(
        "none", description="mean over the mirrored (4), or the mirrored and turned (8), views of a picture"
    )
    tile_px: Positive = Field(512, description="larger pictures are restored in overlapping tiles of this side")
    overlap_px: Positive = Field(64, description="of two neighbouring tiles")
    citation: str = Field("", description="whom to cite for it")

    @model_validator(mode="after")
    def _kind(self):
        if self.kind in ("mperceiver", "network") and self.run is None:
            raise ValueError(f"a method of kind {self.kind} names its `run`")
        if self.kind == "vae" and self.foundation is None:
            raise ValueError("a method of kind vae names its `foundation`")
        return self


# ---------------------------------------------------------------- protocol, table, figure, experiment


class Protocol(Model):
    """config/protocols/<name>.yaml: how a picture is scored."""

    title: str = Field(description="the protocol in words, printed under tables")
    channel: Literal["rgb", "y"] = Field("rgb", description="y: BT.601 luma, for PSNR and SSIM")
    border_px: int = Field(0, ge=0, description="cropped from each side before scoring")
    quantised: bool = Field(True, description="round to 8 bit before scoring")
    ssim: Literal["gaussian"] = Field("gaussian", description="11x11 window, sigma 1.5, mean over channels")
    lpips: Literal["alex", "vgg"] = Field("alex", description="trunk of LPIPS, which is always on RGB")
    metrics: list[MetricName] = Field(
        ["psnr", "ssim", "lpips"], description="what is computed, in the order of the score file's columns"
    )


class Rows(Model):
    """A group of a table's rows."""

    title: str = Field(description="heading of the group of rows")
    methods: list[Name] = Field(description="one row each, from top to bottom")


class Column(Model):
    """A column of a table, one for each of its metrics."""

    dataset: Name = Field(description="the dataset that is restored and scored")
    task: Name | None = Field(None, description="only the pictures of this task")
    label: str = Field(description="heading")
    metrics: list[MetricName] = Field(
        ["psnr", "ssim"], description="each of them one that the dataset's protocol computes"
    )


class Table(Model):
    """config/tables/<name>.yaml: rows of methods, columns of datasets and metrics."""

    title: str = Field(description="heading")
    caption: str = Field(description="what a reader must know to read it")
    rows: list[Rows] = Field(description="groups of rows, from top to bottom")
    columns: list[Column] = Field(description="from left to right")
    average: bool = Field(False, description="append the mean over the columns")


class Panel(Model):
    """A row of a visual comparison."""

    dataset: Name = Field(description="the dataset that the picture is in")
    picture: str = Field(description="picture id inside the dataset")


class Figure(Model):
    """config/figures/<name>.yaml: a visual comparison or a plot."""

    title: str = Field(description="heading")
    caption: str = Field(description="what a reader must know to read it")
    kind: Literal["comparison", "curves", "bars"] = Field(
        description="pictures side by side, training curves, or a metric as bars"
    )
    methods: list[Name] = Field(default_factory=list, description="comparison: columns; bars: series")
    panels: list[Panel] = Field(default_factory=list, description="comparison: rows")
    runs: list[Name] = Field(default_factory=list, description="curves: runs whose training curves are drawn")
    columns: list[Column] = Field(default_factory=list, description="bars: one group each (first metric)")


class Experiment(Model):
    """config/<name>.yaml: which tables and figures to build."""

    title: str = Field(description="heading of the report")
    tables: list[Name] = Field(description="in the report's order")
    figures: list[Name] = Field(default_factory=list, description="in the report's order")
    mirror: list[str] = Field(
        default_factory=list,
        description="folders with local copies of datasets, looked into first; $MPERCEIVER_MIRROR (paths joined by ':') "
        "comes before them",
    )


KINDS = {
    "foundations": Foundation,
    "datasets": Dataset,
    "runs": Run,
    "methods": Method,
    "protocols": Protocol,
    "tables": Table,
    "figures": Figure,
}
Run.model_rebuild()
Build.model_rebuild()
Foundation.model_rebuild()


# ---------------------------------------------------------------- reading


def parse(path: Path, model: type[Model]) -> Any:
    """Read one YAML file as ``model``. Raises ConfigError naming the file, the key, the value and the nearest known key."""
    raw = _read(path)
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"]) or "(the whole file)"
            if problem["type"] == "extra_forbidden":
                near = difflib.get_close_matches(str(problem["loc"][-1]), _keys_at(model, problem["loc"]), n=1)
                lines.append(f"  {key}: unknown key" + (f" (did you mean `{near[0]}`?)" if near else ""))
            else:
                lines.append(f"  {key}: {problem['msg']}, got {problem['input']!r:.80}")
        text = "\n".join(lines)
        raise ConfigError(f"{path}: {len(lines)} problem(s); every key stands in config/README.md\n{text}") from None


def _keys_at(model: type[Model], place: tuple[int | str, ...]) -> list[str]:
    """The keys that may stand where the last one of ``place`` does, e.g. ("sources", 0, "package", "files")."""
    owners = [model]
    for part in place[:-1]:
        fields = [
            field for owner in owners for name, field in owner.model_fields.items() if part in (name, field.alias)
        ]
        inside = [found for field in fields for found in _models_in(field.annotation)]
        tagged = [m for m in owners if "source" in m.model_fields and part == get_args(_tag(m))[0]]
        owners = inside or tagged or owners  # neither: an index of a list, or a key that the user chose
    return ["like", *(field.alias or name for owner in owners for name, field in owner.model_fields.items())]


def _tag(model: type[Model]) -> Any:
    return model.model_fields["source"].annotation


def _models_in(annotation: Any) -> list[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]


class _Loader(yaml.SafeLoader):
    """Plain YAML, but a key that stands twice in one place is refused: YAML would silently take the last one."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        first = {key.value: key for key in reversed(keys)}
        for key in keys:
            if first[key.value] is not key:
                raise yaml.MarkedYAMLError(problem=f"`{key.value}` stands twice", problem_mark=key.start_mark)
        return node


def _yaml(path: Path) -> Any:
    loader = _Loader(path.read_text())
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _read(path: Path, seen: tuple[Path, ...] = ()) -> Any:
    """YAML of a file; with `like: NAME`, laid over that of NAME beside it, key by key (a null takes a key away)."""
    try:
        raw = _yaml(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date that does not exist
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(raw, dict) or "like" not in raw:
        return raw
    if not isinstance(raw["like"], str) or not NAME.fullmatch(raw["like"]):
        raise ConfigError(f"{path}: like: {raw['like']!r} is not a name: the stem of a file beside this one")
    other = path.with_name(f"{raw['like']}.yaml")
    if not other.is_file():
        raise ConfigError(f"{path}: like: {raw['like']}: there is no {other}")
    if other in (*seen, path):
        raise ConfigError(f"{path}: `like` goes round in a circle: {' -> '.join(map(str, (*seen, path, other)))}")
    return _laid_over(_read(other, (*seen, path)), {key: value for key, value in raw.items() if key != "like"})


def _laid_over(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    merged = below | {key: _laid_over(below.get(key), value) for key, value in above.items()}
    return {key: value for key, value in merged.items() if value is not None}


def files_of(kind: str, name: str) -> list[str]:
    """The file that describes ``name`` and those it is `like`. Raises ConfigError as ``load`` does."""
    load(kind, name)
    found = [path_of(kind, name)]
    while "like" in (raw := _yaml(found[-1])):
        found.append(path_of(kind, raw["like"]))
    return [str(path) for path in found]


def path_of(kind: str, name: str) -> Path:
    """The file that describes ``name``: config/<kind>/<name>.yaml, relative to the working directory."""
    return Path("config") / kind / f"{name}.yaml"


def load(kind: str, name: str) -> Any:
    """Load config/<kind>/<name>.yaml. Raises ConfigError; a name that does not exist lists the nearest ones."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is not a name: lower-case letters, digits and single hyphens only")
    path = path_of(kind, name)
    if not path.is_file():
        known = names(kind)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:8]
        raise ConfigError(f"{path}: no such file. Known {kind}: {', '.join(near) or 'none'} (see ls {path.parent})")
    return parse(path, KINDS[kind])


def names(kind: str) -> list[str]:
    """The stems of all files of a kind, sorted."""
    return sorted(path.stem for path in (Path("config") / kind).glob("*.yaml"))


def mirrors(experiment: Experiment | None = None) -> list[Path]:
    """Folders with local copies of datasets, first to be looked into first."""
    listed = [part for part in os.environ.get("MPERCEIVER_MIRROR", "").split(os.pathsep) if part]
    return [Path(part).expanduser() for part in listed + (list(experiment.mirror) if experiment else [])]


# ---------------------------------------------------------------- what depends on what


def weights_of(run_name: str, seen: tuple[str, ...] = ()) -> dict[str, str]:
    """Stage -> name of the run that trains its weights, following ``reuse``."""
    run = load("runs", run_name)
    if run_name in seen:
        raise ConfigError(
            f"{path_of('runs', run_name)}: `reuse` goes round in a circle: {' -> '.join((*seen, run_name))}"
        )
    found = {stage: run_name for stage in STAGES if getattr(run, stage) is not None}
    for stage, other in run.reuse.items():
        owner = weights_of(other, (*seen, run_name)).get(stage)
        if owner is None:
            raise ConfigError(f"{path_of('runs', run_name)}: reuse.{stage}: run {other} has no {stage} stage")
        found[stage] = owner
    return found


def method_weights(method_name: str) -> dict[str, str]:
    """Stage -> run of every weight file a method needs (the DRM only where the method uses it)."""
    method = load("methods", method_name)
    if method.run is None:
        return {}
    found = weights_of(method.run)
    if method.kind == "network":
        wanted = ["network"]
    else:
        wanted = ["predictor", "branches", "drm"] if method.drm else ["predictor", "branches"]
    missing = [stage for stage in wanted if stage not in found]
    if missing:
        raise ConfigError(
            f"{path_of('methods', method_name)}: run {method.run} trains no {missing[0]}"
            + ("; set `drm: false` or add a drm stage to the run" if missing[0] == "drm" else "")
        )
    return {stage: found[stage] for stage in wanted}


def method_foundation(method_name: str) -> str | None:
    """The foundation a method stands on, if any."""
    method = load("methods", method_name)
    return method.foundation or (load("runs", method.run).foundation if method.run else None)


def stage_inputs(run_name: str, stage: str) -> list[str]:
    """Files and cards a training stage stands on; the workflow's inputs and the card's are this one list."""
    run = load("runs", run_name)
    found = files_of("runs", run_name) + [f"data/prepared/{name}.json" for name in run.train]
    if stage != "network":
        found.append(f"data/foundations/{run.foundation}.json")
        found += [f"data/latents/{run.foundation}/{name}.json" for name in run.train]
        owners = weights_of(run_name)
        for before in STAGES[: STAGES.index(stage)]:
            if before not in owners:
                raise ConfigError(f"{path_of('runs', run_name)}: stage {stage} needs a {before}; train or reuse one")
            found.append(weights_card(owners[before], before))
    if run.start_from:
        start = weights_of(run.start_from).get(stage)
        if start is None:
            raise ConfigError(f"{path_of('runs', run_name)}: start_from: run {run.start_from} has no {stage} stage")
        found.append(weights_card(start, stage))
    return found


def weights_card(run_name: str, stage: str) -> str:
    """The card of the weights that a run trained in a stage."""
    return f"results/runs/{run_name}/{stage}.json"


def restore_inputs(method_name: str, dataset_name: str) -> list[str]:
    """Files and cards that restoring a dataset by a method stands on."""
    found = [*files_of("methods", method_name), f"data/prepared/{dataset_name}.json"]
    foundation = method_foundation(method_name)
    if foundation:
        found.append(f"data/foundations/{foundation}.json")
    return found + [weights_card(run, stage) for stage, run in method_weights(method_name).items()]


def score_inputs(method_name: str, dataset_name: str) -> list[str]:
    """Files and cards that a score stands on."""
    protocol = load("datasets", dataset_name).protocol
    return [
        f"results/restored/{method_name}/{dataset_name}.json",
        f"data/prepared/{dataset_name}.json",
        *files_of("protocols", protocol),
    ]


def table_inputs(name: str) -> list[str]:
    """The table's file, the score cards of its cells, and the files whose words it prints."""
    table = load("tables", name)
    found = files_of("tables", name)
    found += [f"results/scores/{method}/{dataset}.json" for method, dataset in cells(table)]
    found += [file for rows in table.rows for method in rows.methods for file in files_of("methods", method)]
    protocols = [load("datasets", column.dataset).protocol for column in table.columns]
    return list(dict.fromkeys([*found, *(file for protocol in protocols for file in files_of("protocols", protocol))]))


def figure_inputs(name: str) -> list[str]:
    """The figure's file and the cards of what it shows."""
    figure = load("figures", name)
    found = files_of("figures", name)
    for panel in figure.panels:
        found += [f"data/prepared/{panel.dataset}.json"] + [
            f"results/scores/{m}/{panel.dataset}.json" for m in figure.methods
        ]
    found += [
        f"results/scores/{method}/{column.dataset}.json" for column in figure.columns for method in figure.methods
    ]
    found += [
        weights_card(run, stage) for run in figure.runs for stage, owner in weights_of(run).items() if owner == run
    ]
    return list(dict.fromkeys(found))


def pictures_of(dataset_name: str) -> list[str]:
    """The datasets whose raw pictures a dataset is made of: itself, or what stands in ``from``."""
    return load("datasets", dataset_name).from_ or [dataset_name]


def cells(table: Table) -> list[tuple[str, str]]:
    """All (method, dataset) pairs a table needs, without repeats."""
    return list(dict.fromkeys((m, c.dataset) for rows in table.rows for m in rows.methods for c in table.columns))
