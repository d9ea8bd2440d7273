"""`model` in config/runs/: widths and switches of MPerceiver's modules."""

from typing import Literal

from pydantic import Field, model_validator

from mperceiver.config.base import Count, Model, Positive


class DrmConfig(Model):
    """Detail refinement module (DRM) in the VAE decoder (section 3.3)."""

    levels: list[int] = Field([2, 1], description="decoder levels that it refines; 0 is full resolution")
    widths: dict[int, Positive] = Field(
        default_factory=dict, description="level: channels inside the module; default: the level's own channels"
    )
    naf_blocks: dict[int, Count] = Field(default_factory=dict, description="level: number of NAFBlocks; default 2")
    swin_blocks: dict[int, Count] = Field(default_factory=dict, description="level: number of SwinBlocks; default 2")
    coarser_blocks: list[Positive] = Field(
        [],
        description="number of NAFBlocks at further scales below the coarsest level, each with half the side and twice the channels of "
        "the one before, as in NAFNet's U-Net; that many on the way down and, but for the last, again on the way up. They see "
        "far: blur, drops and darkness are larger than a window",
    )
    hand_on: bool = Field(
        False,
        description="a level also gets the features that the next coarser level has inside, and not only what the decoder makes of them",
    )
    gate: bool = Field(
        False,
        description="the module predicts for each pixel and colour which part of the degraded picture passes as it is: what is not "
        "degraded need not come back through the VAE; needs level 0",
    )
    window: Positive = Field(8, description="side of a SwinBlock's attention window, in pixels of its level")
    head_width: Positive = Field(32, description="channels of an attention head in a SwinBlock")

    @model_validator(mode="after")
    def _check_levels(self) -> "DrmConfig":
        for key in ("widths", "naf_blocks", "swin_blocks"):
            if strange := sorted(set(getattr(self, key)) - set(self.levels)):
                raise ValueError(f"{key} names level {strange[0]}, which is none of `levels`, {self.levels}")
        if self.gate and 0 not in self.levels:
            raise ValueError(f"gate: needs level 0, which is none of `levels`, {self.levels}")
        return self


class ModelConfig(Model):
    """Widths and switches of MPerceiver's modules; the defaults have the paper's scale."""

    predictor_hidden: Positive = Field(512, description="hidden channels of the degradation predictor")
    predictor_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of those channels that are set to zero at random in each step of the predictor's training; keeps a wide one "
        "from learning the training pictures by heart",
    )
    predictor_clean: bool = Field(
        False,
        description="the predictor has one class more, for clean pictures (`clean_share` of a dataset); its probability is shared out evenly "
        "among the degradations. Without it such pictures count as those of their task",
    )
    predictor_temperature: float = Field(
        1.0,
        gt=0,
        description="where a picture is judged by several crops (`clip_crop_px` of a method), the mean of their logits is divided by this; a "
        "mean of crops is right more often than its softmax says (temperature scaling, arXiv:1706.04599)",
    )
    tp_tokens: Positive = Field(16, description="L, the number of tokens of a textual prompt")
    cm_tokens: Positive = Field(16, description="number of tokens that the CM-Adapter makes from the CLIP embedding")
    cm_heads: Positive = Field(8, description="attention heads of the CM-Adapter")
    vp_tokens: Positive = Field(24, description="M, the number of tokens of a visual prompt")
    vp_width: Positive | Literal["scale"] = Field(
        512,
        description="channels of a visual prompt at every scale, as in the authors' release; scale: those of the IR-Adapter at the "
        "prompt's scale, the C_k of section 3.2 of the paper",
    )
    vp_heads: Positive = Field(8, description="heads of the attention to the visual prompts")
    vp_head_width: Positive = Field(64, description="channels of a head of that attention")
    ir_widths: list[Positive] = Field(
        [128, 256, 384, 512], description="channels of the IR-Adapter at each of its four scales"
    )
    ir_feature_width: Positive = Field(512, description="channels of f_k, the VP modulator's output")
    ir_heads: Positive = Field(4, description="attention heads of the IR-Adapter")
    modulator_hidden: Positive = Field(128, description="channels inside an AdaIN modulator (Eq. 5)")
    modulation: Literal["release", "release_zero", "identity_gate"] = Field(
        "release_zero",
        description="form of the AdaIN modulation; release: as in the authors' release; release_zero: the same, its first "
        "convolution initialised to zero as the paper draws it; identity_gate: with a gate that starts as the identity, which "
        "learns faster in a short training",
    )
    textual: bool = Field(
        True, description="use the textual branch (CM-Adapter and TP pool); false: the prompt is empty"
    )
    visual: bool = Field(True, description="use the visual branch (IR-Adapter, VP pools and AdaIN modulation)")
    tp_pool: bool = Field(
        True, description="use the pool of textual prompts; false: the textual branch has the CM-Adapter only"
    )
    vp_pool: bool = Field(
        True, description="use the pools of visual prompts; false: the visual branch has the IR-Adapter only"
    )
    prompt_order: Literal["tp_first", "cm_first"] = Field(
        "tp_first",
        description="tp_first: the textual prompt stands before the CM-Adapter's tokens (authors' release); cm_first: after "
        "them (paper)",
    )
    drm: DrmConfig = Field(DrmConfig(), description="the detail refinement module")
