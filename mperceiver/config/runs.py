"""config/runs/: how weights are made."""

from typing import Any, Literal

from pydantic import Field, model_validator

from mperceiver.config.base import STAGES, TASKS, Model, Name, Positive, Precision, Share
from mperceiver.config.samplers import Sampler


class Phase(Model):
    """A stretch of a training at one batch size and crop."""

    share: Share = Field(1.0, description="part of all the steps, phases in order; the shares add up to 1")
    batch: Positive = Field(description="pictures that are computed at once")
    crop_px: Positive = Field(description="side of the square crop, in picture pixels")


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
    accumulate: Positive = Field(
        1, description="batches a step; several processes (GPUs) share them, each the same number"
    )
    precision: Precision = Field("no", description="mixed precision of the forward pass; no: float32 throughout")
    channels_last: bool = Field(False, description="memory layout of convolutions: faster on GPUs with tensor cores")
    gradient_checkpointing: bool = Field(
        False, description="keep the blocks' inputs only and compute their insides again for the gradient: less memory"
    )
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="keep a moving average of the weights, which falls off by this a step, and save it",
    )
    flip: bool = Field(True, description="random horizontal flips")
    only: list[str] = Field(
        default_factory=list,
        description="train only these of its modules, by their names in the weights file (`ir_adapter`, `textual.tp_pool`), "
        "the others staying as they are in the run it starts from; none: all",
    )
    save_every_steps: Positive = Field(200, description="steps between two resume states")
    save_every_minutes: float | None = Field(
        None, gt=0, exclude=True, description="minutes after which one is written all the same; in no card"
    )
    trackers: list[Literal["tensorboard", "dvclive"]] = Field(
        [], exclude=True, description="told the curve while it grows, in results/trackers/; in no card"
    )
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
    cached: bool = Field(
        True,
        description="predictor and branches learn on data/latents, the frozen towers' work on fixed crops; false: on random "
        "crops, the towers working at each step (the drm always learns on the fixed ones, whose latents stage 2 samples)",
    )
    seed: int = Field(0, description="of the first weights and of all that is drawn")
    model: ModelConfig = Field(ModelConfig(), description="widths and switches of the modules")
    predictor: Stage | None = Field(None, description="stage 1: the degradation predictor")
    branches: Stage | None = Field(None, description="stage 2: the textual and the visual branch")
    drm: Stage | None = Field(None, description="stage 3: the detail refinement module")
    network: NetworkStage | None = Field(None, description="a baseline's one stage")
    latents: Sampler | None = Field(None, description="how the DRM's training latents are sampled by stage 2")
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
        if self.branches is not None and not (self.model.textual or self.model.visual):
            raise ValueError(
                "the model has neither branch (`textual`, `visual`): there is nothing to train in `branches`"
            )
        trained = {stage: getattr(self, stage) for stage in STAGES if getattr(self, stage) is not None}
        part = next((stage for stage, spec in trained.items() if spec.only), None)
        if part and not self.start_from:
            raise ValueError(f"{part}.only leaves modules as they are in a run: name it in `start_from`")
        return self
