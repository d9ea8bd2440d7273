"""config/foundations/ and config/datasets/: what is frozen, and what pictures there are."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mperceiver.config.base import Model, Name, Positive
from mperceiver.config.runs import Stage


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
    candidates: Positive = Field(
        1, description="crops drawn for each one kept, the most detailed being kept (variance of the Laplacian)"
    )
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
