"""config/foundations/: the frozen Stable Diffusion and CLIP."""

from typing import Literal

from pydantic import Field, model_validator

from mperceiver.config.base import Model, Name, Positive, Sha256, Url
from mperceiver.config.runs import Stage
from mperceiver.config.sources import FilePath, Repository

WEIGHTS = (".safetensors", ".json")  # all that is taken: neither can run anything


class Tokens(Model):
    """Token ids of the spliced prompt (section 3.2; Eq. 3). The placeholders' embeddings are replaced by prompts."""

    start: int = Field(49406, description="start-of-text id")
    end: int = Field(49407, description="end-of-text id")
    pad: int = Field(0, description="padding id (0 in open_clip, not the end id)")
    textual: int = Field(343, description="placeholder of a textual prompt token")
    image: int = Field(265, description="placeholder of a cross-modal (CM-Adapter) token")


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
    vae: Stage = Field(description="the VAE, on small crops")
    vae_larger: Stage = Field(description="the VAE once more, on larger crops")
    clip: Stage = Field(description="the CLIP, to tell degradations apart")
    unet: Stage = Field(description="the U-Net, on latents of clean pictures")


class Mirror(Model):
    """One place that has a part's files: a repository of the Hugging Face hub, a plain web folder, or a folder of this machine."""

    hub: Repository | None = Field(None, description="owner/name of a repository of the hub")
    revision: str = Field("main", description="its commit, branch or tag", min_length=1)
    endpoint: Url | None = Field(None, description="another host of the hub's files; none: $HF_ENDPOINT, else the hub")
    url: Url | None = Field(None, description="base address that a file's path is put behind")
    folder: str | None = Field(None, description="folder with the files, relative to the working directory or absolute")

    @model_validator(mode="after")
    def _one(self):
        if sum(place is not None for place in (self.hub, self.url, self.folder)) != 1:
            raise ValueError("a mirror has one of `hub`, `url` and `folder`")
        if self.hub is None and {"revision", "endpoint"} & self.model_fields_set:
            raise ValueError("`revision` and `endpoint` belong to `hub`")
        return self

    def __str__(self) -> str:
        at = f" at {self.endpoint}" if self.endpoint else ""
        return f"hub {self.hub}@{self.revision}{at}" if self.hub else self.url or f"folder {self.folder}"


class WeightFile(Model):
    """A file of a foundation. Only safetensors and JSON are taken, since a pickle can run anything; a .pth where the file is
    read as tensors alone (torch.load's weights_only).
    """

    from_: FilePath | None = Field(
        None, alias="from", description="its path in the mirrors; none: as in the foundation"
    )
    sha256: Sha256 | None = Field(
        None,
        description="SHA-256, where known; else what comes first is taken, kept in the card, and held to ever after",
    )
    bytes: Positive | None = Field(None, description="size, where known")
    tensors_only: bool = Field(
        False,
        description="a .pth, which the program that uses it reads as tensors alone, never as a pickle of anything",
    )


class Part(Model):
    """Files of a foundation that have the same mirrors."""

    mirrors: list[Mirror] = Field(min_length=1, description="places that have the files, asked in this order")
    files: dict[FilePath, WeightFile] = Field(min_length=1, description="path in data/foundations/<name>/ -> the file")

    @model_validator(mode="after")
    def _safe(self):
        for path, file in self.files.items():
            for name in (path, file.from_ or path):
                if not name.endswith((*WEIGHTS, ".pth") if file.tensors_only else WEIGHTS):
                    raise ValueError(f"{name}: only {' and '.join(WEIGHTS)} are taken, since a pickle can run anything")
        return self


class Foundation(Model):
    """config/foundations/<name>.yaml: the frozen Stable Diffusion and CLIP."""

    title: str = Field(description="what it is, in a line")
    licence: str = Field(description="licence of the weights")
    citation: str = Field("", description="whom to cite for it")
    local: str | None = Field(
        None,
        description="folder with the weights in diffusers' layout, relative to the working directory or the project, or absolute; "
        "what is there is taken before any mirror is asked",
    )
    parts: list[Part] = Field([], description="the files, and the mirrors that have them; none: those of `local`")
    minimum_px: Positive | None = Field(
        None, description="least side of a picture it is given, by padding; none: as small as its scales allow"
    )
    tokens: Tokens = Field(Tokens(), description="token ids of its text encoder")
    trunk_norm: bool = Field(
        True,
        description="false: the last norm and activation of the VAE's encoder and decoder are identities (tiny VAEs)",
    )
    build: Build | None = Field(None, description="pre-training recipe, where the project makes this foundation itself")

    @model_validator(mode="after")
    def _from_somewhere(self):
        paths = [path for part in self.parts for path in part.files]
        if twice := {path for path in paths if paths.count(path) > 1}:
            raise ValueError(f"parts: {', '.join(sorted(twice))} stands in two parts")
        return self
