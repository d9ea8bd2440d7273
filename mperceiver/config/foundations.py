"""config/foundations/: the frozen Stable Diffusion and CLIP."""

from typing import Literal

from pydantic import Field

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
