"""config/methods/: how a picture is restored."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from mperceiver.config.base import Model, Name, Positive, Precision, without
from mperceiver.config.outside import OUTSIDE_KINDS, Checkpoint, Command, Python, Results
from mperceiver.config.samplers import Sampler

# Kinds that a model in this process restores.
RESTORED_HERE = ("identity", "mperceiver", "network", "vae", "checkpoint", "python")
# Key -> the kinds of method that read it. A key that is not here is one of every kind.
READ_BY: dict[str, tuple[str, ...]] = {
    "run": ("mperceiver", "network", "vae"),
    "weights": ("mperceiver", "network"),
    "methods": ("mean",),
    "foundation": ("vae", "checkpoint"),
    **{kind: (kind,) for kind in OUTSIDE_KINDS},  # results, checkpoint, python, command
    "datasets": OUTSIDE_KINDS,
    "trained_on": OUTSIDE_KINDS[1:],
    "sampler": ("mperceiver", "network", "python"),
    "probabilities": ("mperceiver",),
    "drm": ("mperceiver",),
    "task": ("network",),
    "predictor": ("network",),
    "channels_last": ("mperceiver",),
    "compile": ("mperceiver",),
    "clip_crop_px": ("mperceiver", "network", "vae"),
    "self_ensemble": RESTORED_HERE[1:],  # an average over views of the unchanged picture is that picture
    "precision": ("mperceiver",),
    "vae_precision": ("mperceiver",),
    # Identity takes these three, since the command's options --tile and --memory-gib are for any method.
    "tile_px": RESTORED_HERE,
    "overlap_px": RESTORED_HERE,
    "memory_gib": RESTORED_HERE,
    "sampling_tiles": ("mperceiver",),
}


class Tiling(Model):
    """Overlapping tiles into which a picture is divided."""

    side_px: Positive = Field(description="largest side of a tile")
    overlap_px: Positive = Field(description="least overlap of two neighbouring tiles")

    @model_validator(mode="after")
    def _check_overlap(self) -> "Tiling":
        if self.overlap_px >= self.side_px:
            raise ValueError(f"`overlap_px` is {self.overlap_px}, too much for tiles of {self.side_px} px")
        return self


class Method(Model):
    """config/methods/<name>.yaml: how a picture is restored."""

    title: str = Field(description="label of its row in tables", min_length=1)
    kind: Literal[
        "identity", "mperceiver", "network", "vae", "results", "checkpoint", "python", "command", "mean", "reported"
    ] = Field(
        description="identity: the degraded picture, unchanged; mperceiver: this project's model; network: a baseline trained "
        "here; vae: the ground truth, encoded and decoded, which bounds any method without the DRM, or with a `run` the "
        "methods with that run's DRM; results: pictures that were restored elsewhere; checkpoint: published weights of an "
        "architecture that spandrel knows; python: a module of yours; command: a program that turns a folder into a folder; "
        "mean: mean and standard deviation over other methods, such as runs with different "
        "seeds; reported: not run here, only published numbers are shown"
    )
    run: Name | None = Field(None, description="run whose weights are used")
    weights: str | None = Field(
        None,
        description="folder with the run's weights, <stage>.safetensors with their cards, that ship with the project; none: they "
        "are trained, into results/runs/<run>/",
    )
    methods: list[Name] = Field([], description="for kind mean: the methods to average, two or more")
    foundation: Name | None = Field(
        None,
        description="for kind vae without a `run`: the foundation with the VAE; for kind checkpoint: the one with the weights",
    )
    results: Results | None = Field(None, description="for kind results: where the restored pictures are")
    checkpoint: Checkpoint | None = Field(None, description="for kind checkpoint: which file, and what is in it")
    python: Python | None = Field(None, description="for kind python: the function that makes the module")
    command: Command | None = Field(None, description="for kind command: the program")
    datasets: list[Name] = Field(
        [],
        description="for these four kinds: the datasets that it restores; in tables, columns of other datasets show only "
        "published numbers; none: all",
    )
    trained_on: list[str] = Field(
        [],
        description="for kinds checkpoint, python and command: what its weights were trained on; of datasets in config/datasets/ "
        "their names, so that test pictures among the training pictures are found",
    )
    sampler: Sampler = Field(
        Sampler(),
        description="for kind mperceiver: how latents are sampled; kinds network and python read its `seed` alone",
    )
    probabilities: Literal["predicted", "uniform", "given"] = Field(
        "predicted",
        description="for kind mperceiver: P, by which prompts are mixed. Two controls show what the predictor brings; uniform: 1/N "
        "for every degradation; given: 1 for the task that the dataset names, which no photograph has",
    )
    drm: bool = Field(True, description="for kind mperceiver: decode with the detail refinement module (DRM)")
    task: Literal["general", "predicted", "given"] = Field(
        "general",
        description="for kind network, of an architecture that has weights for each task of its run: which a picture is restored "
        "with; general: those for all tasks alone; predicted: those of its most probable task by the predictor of the run in "
        "`predictor`; given: those of its task in the dataset, which no photograph has. A picture of a task that the run was not "
        "trained on is restored with the general weights",
    )
    predictor: Name | None = Field(
        None, description="for `task: predicted`: the run whose degradation predictor tells it"
    )
    channels_last: bool = Field(
        False,
        description="for kind mperceiver: store convolutions in PyTorch's channels-last memory format, which is faster on "
        "GPUs with tensor cores and on CPUs",
    )
    compile: bool = Field(
        False,
        description="for kind mperceiver: compile the U-Net's transformer blocks (torch.compile), once for each shape; worth "
        "it for many pictures of one size, or tiles",
    )
    clip_crop_px: Positive | None = Field(
        None,
        description="for kind mperceiver, for network with `task: predicted`, and for vae with a `run`: give CLIP crops of this side "
        "and average their logits and embeddings; none: give CLIP the whole picture, resized to a square, which changes the size of "
        "noise grains and rain streaks",
    )
    self_ensemble: Literal["none", "flip2", "flip4", "geometric8"] = Field(
        "none",
        description="average the restored picture over views of the degraded one; flip2: the picture and its mirror image; "
        "flip4: mirrored along both axes; geometric8: mirrored and rotated; what is wrong with the picture is judged once, of the picture "
        "as it is",
    )
    precision: Precision = Field(
        "no",
        description="for kind mperceiver: mixed precision of the U-Net and the branches on a GPU; on the CPU they compute in float32",
    )
    vae_precision: Literal["no", "bf16"] = Field(
        "no",
        description="for kind mperceiver: mixed precision of the VAE and the DRM, where the GPU or the CPU (by AVX-512 BF16 or AMX) "
        "has instructions for bfloat16; elsewhere they compute in float32. A pixel may differ by a few levels between the two. In "
        "float16 the VAE would overflow",
    )
    tile_px: Positive | None = Field(
        None,
        description="side of the overlapping tiles into which a larger picture is divided; none: as large as the memory allows",
    )
    sampling_tiles: Tiling | None = Field(
        None,
        description="for kind mperceiver: smaller tiles for the U-Net alone, whose attention takes time with the square of a tile's "
        "pixels; none: it has those of the VAE",
    )
    memory_gib: float | None = Field(
        None,
        gt=0,
        description="GiB of its device's memory that restoring may use, weights included; none, and at most: the free memory",
    )
    overlap_px: Positive = Field(64, description="width of the overlap of two neighbouring tiles")
    citation: str = Field("", description="the method's paper")
    tables: list[Name] = Field(
        [],
        description="tables that show it too, below their own rows: a method stands beside those of a table without an edit of the table",
    )
    reported: str | list[str] = Field(
        [],
        description="the method's name, or names, in the files of config/reported/, to show published numbers beside ours",
    )

    @property
    def has_network(self) -> bool:
        """Whether restoring a picture runs a network here, so that it has costs."""
        return self.kind in ("mperceiver", "network", "checkpoint", "python")

    @model_validator(mode="after")
    def _check_kind(self) -> "Method":
        if self.kind == "reported" and not self.reported:
            raise ValueError("a method of kind reported needs `reported`: its name in a file of config/reported/")
        if self.kind in ("mperceiver", "network") and self.run is None:
            raise ValueError(f"a method of kind {self.kind} needs a `run`")
        if self.kind in OUTSIDE_KINDS and getattr(self, self.kind) is None:
            raise ValueError(f"`{self.kind}` is missing: a method of kind {self.kind} needs it")
        if self.kind == "checkpoint" and self.foundation is None:
            raise ValueError("a method of kind checkpoint needs a `foundation`: the one with the file")
        if self.kind == "mean" and (len(self.methods) < 2 or len(set(self.methods)) != len(self.methods)):
            raise ValueError("a method of kind mean needs two or more `methods`, each named once")
        if self.kind == "vae" and (self.foundation is None) == (self.run is None):
            raise ValueError("a method of kind vae needs either a `foundation`, or a `run` with a DRM")
        if (self.task == "predicted") != (self.predictor is not None) and self.kind == "network":
            raise ValueError(
                "`predictor` belongs to `task: predicted`, which needs it: the run whose predictor tells the task"
            )
        if self.weights is not None and self.predictor is not None:
            raise ValueError("`weights` cannot stand beside `predictor`")
        if self.weights is not None and self.run is not None and Path(self.weights).name != self.run:
            raise ValueError(
                f"`weights` is a folder with the weights of run {self.run}, and so its name is that of the run; if this method is `like` another "
                "one with weights of its own, write `weights: null`"
            )
        self._check_keys()
        return self

    def _check_keys(self) -> None:
        """Raise ValueError for a key with another value than its default that nothing reads for a method of this kind."""
        for key, kinds in READ_BY.items():
            if self.kind not in kinds and self.is_set(key):
                belongs = f"kinds {', '.join(kinds[:-1])} and {kinds[-1]}" if len(kinds) > 1 else f"kind {kinds[0]}"
                raise ValueError(f"`{key}` belongs to {belongs}, and does nothing for kind {self.kind}; {without(key)}")
        unseeded = self.sampler.model_copy(update={"seed": Sampler().seed})
        if self.kind != "mperceiver" and unseeded != Sampler():
            raise ValueError(
                f"of `sampler`, a method of kind {self.kind} reads `seed` alone: it does not sample with these settings; {without('sampler')}"
            )
        judges = {"network": self.task == "predicted", "vae": self.run is not None}.get(self.kind, True)
        if self.clip_crop_px is not None and not judges:
            needed = "`task: predicted`" if self.kind == "network" else "a `run`"
            raise ValueError(
                f"`clip_crop_px` does nothing for kind {self.kind} without {needed}: no picture is shown to CLIP; {without('clip_crop_px')}"
            )
