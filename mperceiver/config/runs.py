"""config/runs/: how weights are trained."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mperceiver.config.base import STAGES, TASKS, Model, Name, Names, Positive, Precision, Sha256, Share, without
from mperceiver.config.modules import ModelConfig
from mperceiver.config.protocols import SSIM_SIDE
from mperceiver.config.samplers import Sampler


class Phase(Model):
    """A part of a training with one batch size and one crop size."""

    share: Share = Field(
        1.0, description="share of the stage's steps; phases follow each other, and their shares add up to 1"
    )
    batch: Positive = Field(description="pictures in a forward pass")
    crop_px: Positive = Field(description="side of the square crop, in pixels of the picture")


class Losses(Model):
    """Weights of the losses of a stage whose output is a picture (section 3.3)."""

    l1: float = Field(1.0, ge=0, description="weight of the mean absolute error")
    smooth_l1: float = Field(
        0.0,
        ge=0,
        description="weight of smooth L1: half the squared error where it is below 1, beyond that the error less 0.5",
    )
    psnr: float = Field(
        0.0,
        ge=0,
        description="weight of the negated PSNR in dB, mean over the pictures of a batch, as NAFNet is trained with, but 40 dB at "
        "most; it counts a decibel of a nearly sound picture as much as one of a ruined picture, which L1 does not",
    )
    ssim: float = Field(
        0.0,
        ge=0,
        description="weight of 1 - SSIM over the RGB channels, whose 11x11 Gaussian window leaves out the borders; it keeps faint "
        "texture, which L1 and PSNR hardly count",
    )
    vgg: float = Field(
        0.0,
        ge=0,
        description="weight of the mean of the squared errors of VGG16's features at relu1_2, relu2_2 and relu3_3, as the "
        "published trainings of TransWeather and WGWS-Net have it: the pictures are not normalised",
    )
    perceptual: float = Field(0.1, ge=0, description="weight of the perceptual loss, LPIPS")
    perceptual_network: Literal["alex", "vgg"] = Field("vgg", description="network of the perceptual loss")
    perceptual_every: Positive = Field(
        1, description="compute the perceptual loss at every n-th step only, with n times its weight"
    )
    colour: float = Field(
        0.2, ge=0, description="weight of the colour loss: 1 - cos of the angle between RGB vectors (DeepUPE)"
    )
    adversarial: float = Field(0.025, ge=0, description="weight of the hinge loss of a PatchGAN; 0 switches it off")
    adversarial_from_step: int = Field(500, ge=0, description="first step with the adversarial loss")


class Stage(Model):
    """One stage of training."""

    steps: Positive = Field(description="number of optimiser steps")
    cpu_seconds: float | None = Field(
        None,
        gt=0,
        description="stop after these seconds of CPU time of the training's process, if `steps` are not done before; learning rate "
        "and phases then follow the time. For comparisons at equal cost; such a training is not repeatable to the bit",
    )
    phases: list[Phase] = Field(description="batch size and crop size over the course of the training")
    lr: float = Field(
        1e-4, gt=0, description="learning rate of AdamW at the end of the warm-up, the start of a cosine decay"
    )
    lr_end: float = Field(1e-6, ge=0, description="learning rate at the end of the cosine decay")
    warmup_steps: int = Field(0, ge=0, description="steps over which the learning rate rises linearly from 0")
    betas: tuple[float, float] = Field((0.9, 0.999), description="AdamW's betas")
    weight_decay: float = Field(
        0.01, ge=0, description="AdamW's weight decay; prompts, norm layers and biases have none"
    )
    clip_norm: float = Field(1.0, gt=0, description="the gradient is scaled down to at most this norm")
    accumulate: Positive = Field(
        1,
        description="batches whose gradients make one step; with several processes (GPUs) each computes an equal share of them",
    )
    cpu_processes: Positive = Field(
        1,
        exclude=True,
        description="without a GPU and without a launcher: the number of processes that share each step, a core each, where the "
        "training has so many cores; it divides `accumulate`. Left out of cards, since it changes weights by rounding only",
    )
    precision: Precision = Field("no", description="mixed precision of the forward pass; no: float32")
    channels_last: bool = Field(
        False,
        description="store convolutions in PyTorch's channels-last memory format, which is faster on GPUs with tensor cores and on CPUs (not in the predictor)",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="save memory: keep only the blocks' inputs, and recompute their activations for the gradient (branches and drm only)",
    )
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="keep an exponential moving average of the weights with this decay a step, and save it in place of the "
        "weights",
    )
    flip: bool = Field(
        True,
        description="mirror pictures left to right at random (network; predictor and branches with `cached: false`; cached crops are mirrored by "
        "`encode.flip` of the dataset)",
    )
    only: list[str] = Field(
        default_factory=list,
        description="train only these modules, by their names in the weights file (`ir_adapter`, `textual.tp_pool`), and keep "
        "the others as they are in the run of `start_from`; none: train all",
    )
    save_every_steps: Positive = Field(200, description="steps between two resume states")
    save_every_minutes: float | None = Field(
        None,
        gt=0,
        exclude=True,
        description="minutes after which a resume state is saved in any case; left out of cards",
    )
    trackers: list[Literal["tensorboard", "dvclive"]] = Field(
        [], exclude=True, description="log the training curve with these, in results/trackers/; left out of cards"
    )
    task_weights: dict[Name, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description="degradation: how often its pictures are drawn, relative to those of a degradation that is not named (not in the "
        "predictor, whose batches have as many of each)",
    )
    judged_crops: int = Field(
        0,
        ge=0,
        description="above 1: each training crop has the P of a picture of 1, 2, 4, ... or this number of crops, the number drawn at random: the crop "
        "itself and others of the same picture, at most `encode.crops` of the dataset. A photograph is judged by all of its crops, so its P is surer than "
        "that of one (drm only)",
    )
    judged_folds: int | None = Field(
        None,
        ge=2,
        description="P of each training crop comes from a predictor that has not seen its photograph: so many predictors are trained as stage 1 was, each "
        "without another part of the photographs. The predictor of stage 1 knows the training's photographs: there it is surer, and far more often "
        "right, than on others. A predictor of the same datasets, tasks and `model` is needed. none: P by the predictor of stage 1 (drm only)",
    )
    gamma: float = Field(2.0, ge=0, description="focusing parameter of the focal loss (predictor only)")
    losses: Losses = Field(
        Losses(),
        description="weights of the losses (drm and network only, and not da-clip, which has losses of its own)",
    )

    @model_validator(mode="after")
    def _check_values(self) -> "Stage":
        if abs(sum(phase.share for phase in self.phases) - 1) > 1e-6:
            raise ValueError(f"the phases' shares add up to {sum(p.share for p in self.phases):g}, not 1")
        smallest = min(phase.crop_px for phase in self.phases)
        if self.losses.ssim and smallest < SSIM_SIDE:
            raise ValueError(
                f"losses.ssim needs crops of {SSIM_SIDE} px or more, the side of SSIM's window; phases have one of {smallest} px"
            )
        if self.accumulate % self.cpu_processes:
            raise ValueError(
                f"cpu_processes is {self.cpu_processes}, which does not divide accumulate, {self.accumulate}"
            )
        if self.cpu_seconds is not None and self.cpu_processes > 1:
            raise ValueError(f"cpu_seconds is the CPU time of one process, but cpu_processes is {self.cpu_processes}")
        return self


# Key of a stage -> the stages that read it. A key that is not here is one of every stage.
READ_BY: dict[str, tuple[str, ...]] = {
    "channels_last": ("branches", "drm", "network"),
    "task_weights": ("branches", "drm", "network"),
    "gradient_checkpointing": ("branches", "drm"),
    "judged_crops": ("drm",),
    "judged_folds": ("drm",),
    "gamma": ("predictor",),
    "losses": ("drm", "network"),
    "flip": ("predictor", "branches", "network"),  # of the first two with `cached: false` only
}
OWN_LOSSES = ("da-clip",)  # architectures that are trained with losses of their own, and with none of `losses`
NO_LOSSES = Losses(l1=0, perceptual=0, colour=0, adversarial=0)


class NetworkStage(Stage):
    """Training of a restoration network as a baseline, by the same loop on the same pairs."""

    architecture: Name = Field(description="key of ARCHITECTURES in mperceiver/models/baselines/")
    arguments: dict[str, Any] = Field(default_factory=dict, description="arguments of the architecture's function")

    @model_validator(mode="before")
    @classmethod
    def _set_no_losses(cls, values: Any) -> Any:
        """Set the weights of all ``losses`` to 0 for an architecture in OWN_LOSSES; a file must not give them."""
        if not isinstance(values, dict) or values.get("architecture") not in OWN_LOSSES:
            return values
        if values.get("losses") is not None:
            raise ValueError(
                f"losses does nothing: {values['architecture']} has losses of its own; {without('losses', ' in `network`')}"
            )
        return values | {"losses": NO_LOSSES}


class Published(Model):
    """A published checkpoint that a run's weights were converted from."""

    file: str = Field(description="its name")
    sha256: Sha256 = Field(description="its SHA-256")


class Run(Model):
    """config/runs/<name>.yaml: how weights are trained."""

    title: str = Field(description="what it is, in a line")
    foundation: Name | None = Field(None, description="frozen weights it is trained with; a baseline has none")
    train: Names = Field(description="training datasets")
    tasks: Names = Field(TASKS, description="degradation classes, in order")
    cached: bool = Field(
        True,
        description="true: predictor and branches train on fixed crops, whose latents and CLIP embeddings are cached in "
        "data/latents; false: on random crops, encoded at each step. The drm always trains on the fixed crops, with latents "
        "sampled by stage 2",
    )
    seed: int = Field(0, description="seed of the initial weights and of all random numbers of the training")
    model: ModelConfig = Field(ModelConfig(), description="widths and switches of the modules")
    predictor: Stage | None = Field(None, description="stage 1: the degradation predictor")
    branches: Stage | None = Field(None, description="stage 2: the textual and the visual branch")
    drm: Stage | None = Field(None, description="stage 3: the detail refinement module")
    network: NetworkStage | None = Field(None, description="the only stage of a baseline")
    latents: Sampler | None = Field(
        None, description="how stage 2 samples the latents on which the drm stage is trained"
    )
    published: Published | None = Field(
        None, description="the checkpoint that `mperceiver convert` made the weights of; nothing is trained then"
    )
    reuse: dict[Literal["predictor", "branches", "drm"], Name] = Field(
        default_factory=dict, description="stage: run whose weights of that stage are used unchanged"
    )
    start_from: Name | None = Field(
        None, description="run whose weights are the initial weights of the trained stages (few-shot)"
    )

    @model_validator(mode="after")
    def _check_stages(self) -> "Run":
        if self.network is None and self.foundation is None:
            raise ValueError("a run needs a `foundation` (MPerceiver) or a `network` stage (a baseline)")
        twice = [stage for stage in self.reuse if getattr(self, stage) is not None]
        if twice:
            raise ValueError(f"{twice[0]} is both trained and reused; remove one of the two")
        if self.drm is not None and self.latents is None:
            raise ValueError("a run with a `drm` stage needs `latents`: how its training latents are sampled")
        if self.branches is not None and not (self.model.textual or self.model.visual):
            raise ValueError(
                "`branches` has nothing to train: the model has neither branch (`textual: false`, `visual: false`)"
            )
        self._check_keys()
        if self.drm is not None and self.drm.judged_folds and self.start_from:
            raise ValueError(
                f"drm.judged_folds: a predictor that starts from run {self.start_from} may have seen every photograph; remove one of the two"
            )
        partly = [stage for stage in STAGES if (spec := getattr(self, stage)) is not None and spec.only]
        if partly and not self.start_from:
            raise ValueError(f"{partly[0]}.only needs `start_from`: the run with the modules that are not trained")
        return self

    def _check_keys(self) -> None:
        """Raise ValueError for a key with another value than its default that nothing reads: one of a stage, or one of MPerceiver's in a baseline."""
        trained = [stage for stage in STAGES if getattr(self, stage) is not None]
        for stage in trained:
            for key, stages in READ_BY.items():
                unread = stage not in stages or (key == "flip" and stage != "network" and self.cached)
                if unread and getattr(self, stage).is_set(key):
                    raise ValueError(
                        f"{stage}.{key} does nothing: see the key's description; {without(key, f' in `{stage}`')}"
                    )
        if self.drm is None and self.is_set("latents"):
            raise ValueError(
                f"`latents` does nothing in a run that trains no `drm`, the stage that learns on them; {without('latents')}"
            )
        if trained == ["network"] and not self.reuse:
            for key in ("cached", "model"):
                if self.is_set(key):
                    raise ValueError(f"`{key}` does nothing in a run whose only stage is `network`; {without(key)}")
