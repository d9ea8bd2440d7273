"""config/methods/: how a picture is restored."""

from typing import Literal

from pydantic import Field, model_validator

from mperceiver.config.base import Model, Name, Positive, Precision
from mperceiver.config.samplers import Sampler


class Method(Model):
    """config/methods/<name>.yaml: how a picture is restored."""

    title: str = Field(description="its row's label in tables")
    kind: Literal["identity", "mperceiver", "network", "vae", "mean", "reported"] = Field(
        description="identity: the degraded picture itself; mperceiver: this project's model; network: a baseline trained "
        "here; vae: encode-decode of the ground truth, the ceiling of any method without the DRM, or with a `run` that of its "
        "DRM; mean: mean and standard deviation over other methods, such as runs that differ in their seeds; reported: not "
        "run here, only the paper's numbers are shown"
    )
    run: Name | None = Field(None, description="run whose weights are used")
    methods: list[Name] = Field([], description="for kind mean: those that it is over, at least two")
    foundation: Name | None = Field(None, description="for kind vae without a `run`")
    sampler: Sampler = Field(Sampler(), description="for kind mperceiver")
    drm: bool = Field(True, description="for kind mperceiver: decode with the detail refinement module")
    channels_last: bool = Field(
        False, description="for kind mperceiver: memory layout of convolutions, faster on GPUs with tensor cores"
    )
    compile: bool = Field(
        False,
        description="for kind mperceiver: compile the U-Net's transformer blocks (torch.compile), anew for each new shape; "
        "worth it for many pictures of one size, or tiles",
    )
    clip_crop_px: Positive | None = Field(
        None,
        description="CLIP looks at crops of this side, and the logits and embeddings are averaged, instead of at the whole "
        "picture squashed, which changes the size of grain and streaks",
    )
    self_ensemble: Literal["none", "flip2", "flip4", "geometric8"] = Field(
        "none",
        description="mean over views of a picture: it and its mirror (2), mirrored both ways (4), mirrored and turned (8)",
    )
    precision: Precision = Field(
        "no",
        description="mixed precision of the U-Net and the branches on a GPU; the VAE, and all on the CPU, compute in float32",
    )
    tile_px: Positive | None = Field(
        None,
        description="larger pictures are worked on in overlapping tiles of this side (default: as large as the memory allows)",
    )
    memory_gib: float | None = Field(
        None,
        gt=0,
        description="memory that restoring may take on its device, weights included (default, and at most: what is free)",
    )
    overlap_px: Positive = Field(64, description="of two neighbouring tiles")
    citation: str = Field("", description="whom to cite for it")
    reported: str | list[str] = Field(
        [], description="its name, or names, in config/reported/cvpr2024.csv, beside whose numbers ours stand"
    )

    @model_validator(mode="after")
    def _kind(self):
        if self.kind == "reported" and not self.reported:
            raise ValueError("a method of kind reported says in `reported` under which name the paper has its numbers")
        if self.kind in ("mperceiver", "network") and self.run is None:
            raise ValueError(f"a method of kind {self.kind} names its `run`")
        if self.kind == "vae" and (self.foundation is None) == (self.run is None):
            raise ValueError("a method of kind vae names its `foundation`, or with a DRM the `run` that trained it")
        if (self.kind == "mean") != bool(self.methods) or len(set(self.methods)) != len(self.methods):
            raise ValueError("`methods` are what a method of kind mean is over, each named once")
        if self.kind == "mean" and len(self.methods) < 2:
            raise ValueError("a method of kind mean is over two or more `methods`")
        return self
