"""The frozen networks ("towers") of a foundation: Stable Diffusion and CLIP behind one small set of functions.

On disk a foundation is a folder in diffusers' layout (``vae/ unet/ text_encoder/ scheduler/``, safetensors only), and beside
these ``image_encoder/`` with an open_clip configuration and weights. Stable Diffusion's text encoder is CLIP's text tower
without the last block, so no second text tower is stored.
"""

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn

from mperceiver import config
from mperceiver.config.foundations import Tokens
from mperceiver.lineage import LineageError
from mperceiver.machine import importing, without_collection
from mperceiver.models.image_tower import ImageTower, clip_view, load_clip
from mperceiver.models.staged import staged
from mperceiver.models.text_tower import TextTower, load_text_tower

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel

TRUNK_NORMS = ("encoder.conv_norm_out", "decoder.conv_norm_out")

M = TypeVar("M", bound=nn.Module)


@dataclass
class Towers:
    """The frozen networks of a foundation, and the numbers that belong to them."""

    name: str
    vae: "AutoencoderKL"
    unet: "UNet2DConditionModel"
    text_encoder: TextTower
    clip: nn.Module  # the image tower
    schedule: dict  # the scheduler's configuration: betas, prediction_type
    tokens: Tokens
    clip_px: int  # side of the image tower's square input
    minimum_px: int | None = None
    # Of the VAE's convolutions and matrix products, and of the DRM's, which run inside it; None: float32. The VAE overflows in float16.
    vae_dtype: torch.dtype | None = None

    @property
    def factor(self) -> int:
        """Picture pixels per latent pixel, f."""
        return 2 ** (len(self.vae.config["block_out_channels"]) - 1)

    @property
    def multiple(self) -> int:
        """Pixels. The sides of a picture must be multiples of this number, since each U-Net scale but the last halves the latent."""
        return self.factor * 2 ** (len(self.unet.config["block_out_channels"]) - 1)

    @property
    def minimum(self) -> int:
        """Pixels. The least side of a picture: that of the foundation's training, or else one pixel at the U-Net's last scale."""
        return self.minimum_px or self.multiple

    @property
    def latent_channels(self) -> int:
        """Channels of a latent: 4."""
        return self.vae.config["latent_channels"]

    @property
    def scaling_factor(self) -> float:
        """The factor that gives latents a standard deviation of about 1."""
        return self.vae.config["scaling_factor"]

    @property
    def embedding_width(self) -> int:
        """C_clip, the width of the pooled CLIP embedding."""
        return cast(int, self.clip.output_dim)

    @property
    def context_width(self) -> int:
        """C, the width of the text context."""
        return self.text_encoder.width

    @property
    def prediction(self) -> str:
        """What the U-Net predicts, epsilon or v_prediction. Eq. 1 holds for either target."""
        return self.schedule["prediction_type"]

    @property
    def modules(self) -> list[nn.Module]:
        """The four networks."""
        return [self.vae, self.unet, self.text_encoder, self.clip]

    def to(self, device: torch.device | str) -> "Towers":
        """Move all networks to ``device``."""
        for module in self.modules:
            module.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """The device of the VAE."""
        return next(self.vae.parameters()).device

    # ------------------------------------------------------------ CLIP

    def embed(self, pictures: Tensor) -> Tensor:
        """CLIP embedding e_img, pooled and projected but not normalised: (B, 3, H, W) in [0, 1] -> (B, C_clip).

        The picture is resized to the tower's square input without keeping its aspect ratio, bicubic and antialiased, as in the
        authors' release.
        """
        return self.clip(clip_view(pictures, self.clip_px, self.device)).float()

    def token_ids(self, textual: int, image: int) -> list[int]:
        """Token ids of a prompt: start, ``textual`` and then ``image`` placeholders, end, padding up to the context length.

        Raises ConfigError if the prompt is longer than the text encoder's context.
        """
        length = self.text_encoder.context
        ids = [self.tokens.start] + [self.tokens.textual] * textual + [self.tokens.image] * image + [self.tokens.end]
        if len(ids) > length:
            raise config.ConfigError(f"{len(ids)} prompt tokens do not fit the text encoder's context of {length}")
        return ids + [self.tokens.pad] * (length - len(ids))

    def embed_tokens(self, ids: list[int]) -> Tensor:
        """Token embeddings, without position embeddings: (T, C)."""
        return self.text_encoder.token_embedding(torch.tensor(ids, device=self.device))

    def encode_text(self, embeddings: Tensor) -> Tensor:
        """Token embeddings (B, T, C) -> causal transformer and final norm (B, T, C), the penultimate output that SD 2.1 uses."""
        return self.text_encoder(embeddings)

    # ------------------------------------------------------------ VAE

    def encode(self, pictures: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 1] -> scaled latents (B, 4, H/f, W/f).

        They are the posterior's mean, or with a ``generator`` a sample of the posterior.
        """
        with self._vae_autocast():
            posterior = cast(Any, self.vae.encode(pictures * 2 - 1)).latent_dist
        latent = posterior.mode() if generator is None else posterior.sample(generator)
        return latent.to(pictures.dtype) * self.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents (B, 4, h, w) -> pictures (B, 3, H, W), in [0, 1] up to overshoot (training needs its gradient)."""
        with self._vae_autocast():
            decoded = cast(Any, self.vae.decode(latents / self.scaling_factor)).sample
        return decoded.to(latents.dtype) / 2 + 0.5

    def _vae_autocast(self) -> AbstractContextManager:
        """Does nothing without a ``vae_dtype``: in a training, the loop sets the precision."""
        return nullcontext() if self.vae_dtype is None else torch.autocast(self.device.type, self.vae_dtype)

    # ------------------------------------------------------------ schedule

    def alphas(self) -> Tensor:
        """Cumulative alpha-bar of the schedule's 1000 timesteps, float32 (T,)."""
        from diffusers import DDIMScheduler

        return DDIMScheduler.from_config(self.schedule).alphas_cumprod.to(self.device)


def freeze(module: M) -> M:
    """Put a module into evaluation mode, without gradients for its weights."""
    return module.eval().requires_grad_(False)


def drop_trunk_norm(vae: "AutoencoderKL") -> None:
    """Replace the last norm and activation of a VAE's encoder and decoder by identities.

    A VAE of a few dozen channels cannot carry a picture's mean colour through a GroupNorm on its trunk: at equal budget it
    reconstructs 2 dB worse.
    """
    for half in (cast(nn.Module, vae.encoder), cast(nn.Module, vae.decoder)):
        half.conv_norm_out, half.conv_act = nn.Identity(), nn.Identity()


# ---------------------------------------------------------------- loading


@without_collection()
def load(
    name: str, device: torch.device | str = "cpu", folder: Path | None = None, dtype: torch.dtype = torch.float32
) -> Towers:
    """Load and freeze the networks of a staged foundation. Only safetensors are read.

    Args:
        name: stem of config/foundations/<name>.yaml.
        device: where the networks are put.
        folder: another folder than data/foundations/<name>/, whose files are not compared with a card.
        dtype: of the weights of the U-Net, the text encoder and the image tower. bfloat16 or float16 halves their memory, for
            use under autocast. The VAE stays in float32, since it overflows in half precision.

    Raises:
        LineageError: the foundation is not staged, or weights are missing or do not fit their network.
        ChecksumError: a staged file has changed.
    """
    with importing(unused=["scipy", "transformers"]):
        from diffusers import AutoencoderKL, UNet2DConditionModel

    spec = config.load("foundations", name)
    files = staged(name)
    folder = folder or files.folder
    for part in ("vae", "unet", "text_encoder", "scheduler", "image_encoder"):
        if not (folder / part).is_dir():
            raise LineageError(f"{folder}: no {part}/; stage the foundation first: {files.command}")
    if folder == files.folder:
        files.verify()
    vae = _pretrained(AutoencoderKL, folder / "vae", torch.float32, () if spec.trunk_norm else TRUNK_NORMS)
    if not spec.trunk_norm:
        drop_trunk_norm(vae)
    clip, clip_px = load_clip(folder / "image_encoder", dtype)
    return Towers(
        name=name,
        vae=freeze(vae),
        unet=freeze(_pretrained(UNet2DConditionModel, folder / "unet", dtype)),
        text_encoder=freeze(load_text_tower(folder / "text_encoder", dtype)),
        clip=freeze(clip),
        schedule=json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8")),
        tokens=spec.tokens,
        clip_px=clip_px,
        minimum_px=spec.minimum_px,
    ).to(device)


def load_image_tower(name: str) -> ImageTower:
    """The image tower of a staged foundation, frozen, on the CPU. Errors as in ``load``."""
    files = staged(name)
    if not (files.folder / "image_encoder").is_dir():
        raise LineageError(f"{files.folder}: no image_encoder/; stage the foundation first: {files.command}")
    files.verify()
    tower, px = load_clip(files.folder / "image_encoder")
    return ImageTower(freeze(tower), px)


def _pretrained(network: type[M], folder: Path, dtype: torch.dtype, absent: tuple[str, ...] = ()) -> M:
    """Load a model of diffusers. Raises LineageError if a weight is missing, except those named ``absent``.

    The check is needed because diffusers draws missing weights at random.
    """
    try:
        module, report = cast(Any, network).from_pretrained(
            folder,
            use_safetensors=True,
            low_cpu_mem_usage=True,
            output_loading_info=True,
            local_files_only=True,
            torch_dtype=dtype,
        )
    except Exception as error:  # OSError, SafetensorError, ValueError, KeyError: diffusers' errors have no common class
        raise LineageError(f"{folder}: cannot be loaded as {network.__name__} ({error})") from None
    wrong = [key for kind in ("missing_keys", "mismatched_keys", "error_msgs") for key in report.get(kind, ())]
    wrong = [key for key in wrong if not str(key).startswith(absent)] if absent else wrong
    if wrong:
        raise LineageError(f"{folder}: weights do not fill {network.__name__}, e.g. {wrong[0]} ({len(wrong)} in all)")
    return module
