"""The foundation: a frozen Stable Diffusion and CLIP behind one small set of functions.

On disk a foundation is a folder in diffusers' layout (``vae/ unet/ text_encoder/ scheduler/``, safetensors only) and
``image_encoder/`` with an open_clip configuration and weights. Stable Diffusion's own text encoder is CLIP's text tower
without its last block, so the text tower is stored once.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mperceiver import config
from mperceiver.config.foundations import Tokens
from mperceiver.files import verify_checksums
from mperceiver.lineage import LineageError, read_card

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
TRUNK_NORMS = ("encoder.conv_norm_out", "decoder.conv_norm_out")


@dataclass
class Towers:
    """Frozen towers and the numbers that belong to them."""

    name: str
    vae: nn.Module
    unet: nn.Module
    text_encoder: nn.Module
    clip: nn.Module  # the image tower
    schedule: dict  # the scheduler's configuration: betas, prediction_type
    tokens: Tokens
    clip_px: int
    minimum_px: int | None = None

    @property
    def factor(self) -> int:
        """Picture pixels per latent pixel, f."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def multiple(self) -> int:
        """Sides of a picture must be a multiple of this: the latent is halved at each U-Net scale but the last."""
        return self.factor * 2 ** (len(self.unet.config.block_out_channels) - 1)

    @property
    def minimum(self) -> int:
        """Sides of a picture must be at least this, by padding: what the foundation was trained on, or one step of its scales."""
        return self.minimum_px or self.multiple

    @property
    def embedding_width(self) -> int:
        """C_clip, width of the pooled CLIP embedding."""
        return self.clip.output_dim

    @property
    def context_width(self) -> int:
        return self.text_encoder.config.hidden_size

    @property
    def prediction(self) -> str:
        """What the U-Net predicts: epsilon or v_prediction. Eq. 1 holds for either target."""
        return self.schedule["prediction_type"]

    @property
    def towers(self) -> list[nn.Module]:
        return [self.vae, self.unet, self.text_encoder, self.clip]

    def to(self, device: torch.device | str) -> "Towers":
        for tower in self.towers:
            tower.to(device)
        return self

    @property
    def device(self) -> torch.device:
        return next(self.vae.parameters()).device

    # ------------------------------------------------------------ CLIP

    def embed(self, pictures: Tensor) -> Tensor:
        """Pooled, projected, not normalised CLIP embedding e_img: (B, 3, H, W) in [0, 1] -> (B, C_clip).

        The picture is squashed to the tower's square, bicubic with antialias (release, section 3 of the method's notes).
        """
        small = F.interpolate(pictures, (self.clip_px, self.clip_px), mode="bicubic", antialias=True).clamp(0, 1)
        small = small.to(self.device)  # a large picture stays where it is
        mean = small.new_tensor(CLIP_MEAN).view(1, 3, 1, 1)
        std = small.new_tensor(CLIP_STD).view(1, 3, 1, 1)
        return self.clip((small - mean) / std).float()

    def token_ids(self, textual: int, image: int) -> list[int]:
        """Start, placeholders of the textual then the image prompt, end, padding up to the context length."""
        length = self.text_encoder.config.max_position_embeddings
        ids = [self.tokens.start] + [self.tokens.textual] * textual + [self.tokens.image] * image + [self.tokens.end]
        if len(ids) > length:
            raise config.ConfigError(f"{len(ids)} prompt tokens do not fit the text encoder's context of {length}")
        return ids + [self.tokens.pad] * (length - len(ids))

    def embed_tokens(self, ids: list[int]) -> Tensor:
        """Token embeddings without positions: (T, C)."""
        return self.text_encoder.embeddings.token_embedding(torch.tensor(ids, device=self.device))

    def encode_text(self, embeddings: Tensor) -> Tensor:
        """Token embeddings (B, T, C) -> causal transformer -> final norm: (B, T, C), SD 2.1's penultimate output."""
        from transformers.masking_utils import create_causal_mask

        tower = self.text_encoder
        hidden = tower.embeddings(inputs_embeds=embeddings)
        mask = create_causal_mask(config=tower.config, inputs_embeds=hidden, attention_mask=None, past_key_values=None)
        hidden = tower.encoder(inputs_embeds=hidden, attention_mask=mask, is_causal=True).last_hidden_state
        return tower.final_layer_norm(hidden)

    # ------------------------------------------------------------ VAE

    def encode(self, pictures: Tensor, sample: torch.Generator | None = None) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> scaled latent (B, 4, H/f, W/f): the posterior's mean, or a sample drawn by ``sample``."""
        posterior = self.vae.encode(pictures * 2 - 1).latent_dist
        latent = posterior.mode() if sample is None else posterior.sample(sample)
        return latent * self.vae.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latent -> picture (B, 3, H, W), in [0, 1] up to overshoot (not clamped: training needs its gradient)."""
        return self.vae.decode(latents / self.vae.config.scaling_factor).sample / 2 + 0.5

    # ------------------------------------------------------------ schedule

    def alphas(self) -> Tensor:
        """Cumulative alpha-bar of the 1000 steps, float32 (T,)."""
        from diffusers import DDIMScheduler

        return DDIMScheduler.from_config(self.schedule).alphas_cumprod.to(self.device)


def freeze(tower: nn.Module) -> nn.Module:
    return tower.eval().requires_grad_(False)


def drop_trunk_norm(vae: nn.Module) -> None:
    """Make the last norm and activation of a VAE's encoder and decoder identities.

    A VAE of a few dozen channels cannot carry a picture's mean colour through a GroupNorm on its trunk: at equal budget
    it reconstructs 2 dB worse.
    """
    for half in (vae.encoder, vae.decoder):
        half.conv_norm_out, half.conv_act = nn.Identity(), nn.Identity()


def load(
    name: str, device: torch.device | str = "cpu", folder: Path | None = None, dtype: torch.dtype = torch.float32
) -> Towers:
    """Load and freeze a foundation from data/foundations/<name>/ (or ``folder``). Only safetensors are read.

    Args:
        name: stem of config/foundations/<name>.yaml.
        device: where it goes.
        folder: another folder than the staged one, taken as it is.
        dtype: of the weights of the U-Net, the text and the image tower. bfloat16 or float16 halves what they take and is for use
            under autocast; the VAE stays float32, since it overflows in half precision.

    Raises:
        LineageError: not staged, a file changed since, or weights that do not fill their architecture.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    spec = config.load("foundations", name)
    again = f"mperceiver foundation {name}"
    staged = Path("data/foundations") / name
    folder = folder or staged
    for part in ("vae", "unet", "text_encoder", "scheduler", "image_encoder"):
        if not (folder / part).is_dir():
            raise LineageError(f"{folder}: no {part}/; stage the foundation first: {again}")
    if folder == staged:
        _held(folder, again)
    vae = _pretrained(AutoencoderKL, folder / "vae", () if spec.trunk_norm else TRUNK_NORMS, torch_dtype=torch.float32)
    if not spec.trunk_norm:
        drop_trunk_norm(vae)
    clip, clip_px = load_clip(folder / "image_encoder", dtype)
    return Towers(
        name=name,
        vae=freeze(vae),
        unet=freeze(_pretrained(UNet2DConditionModel, folder / "unet", torch_dtype=dtype)),
        text_encoder=freeze(_pretrained(CLIPTextModel, folder / "text_encoder", dtype=dtype)),
        clip=freeze(clip),
        schedule=json.loads((folder / "scheduler" / "scheduler_config.json").read_text()),
        tokens=spec.tokens,
        clip_px=clip_px,
        minimum_px=spec.minimum_px,
    ).to(device)


def _held(folder: Path, again: str) -> None:
    """Whether the staged files are still those of the card; without one there is nothing to hold them to."""
    card = folder.with_name(f"{folder.name}.json")
    if card.is_file():
        files = read_card(card)["result"].get("files", {})
        verify_checksums(folder, {path: told["sha256"] for path, told in files.items()}, again)


def _pretrained(tower: type, folder: Path, absent: tuple[str, ...] = (), **dtype: torch.dtype) -> nn.Module:
    """A diffusers or transformers model from its folder, all of it but ``absent`` read: they draw what is missing at random."""
    module, told = tower.from_pretrained(
        folder, use_safetensors=True, low_cpu_mem_usage=True, output_loading_info=True, local_files_only=True, **dtype
    )
    wrong = [key for kind in ("missing_keys", "mismatched_keys", "error_msgs") for key in told.get(kind, ())]
    wrong = [key for key in wrong if not str(key).startswith(absent)] if absent else wrong
    if wrong:
        raise LineageError(f"{folder}: weights do not fill {tower.__name__}, e.g. {wrong[0]} ({len(wrong)} in all)")
    return module


def load_clip(folder: Path, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, int]:
    """The image tower of an open_clip model and the side of its square input; the text half is neither built nor read."""
    from safetensors import safe_open

    cfg = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    with torch.device("meta"):  # no weights drawn only to be thrown away
        tower = build_clip_tower(cfg)
    with safe_open(folder / "open_clip_model.safetensors", framework="pt") as file:
        names = [name for name in file.keys() if name.startswith("visual.")]
        state = {name.removeprefix("visual."): file.get_tensor(name) for name in names}
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    try:
        tower.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise LineageError(f"{folder}: weights do not fill the image tower: {error}") from None
    size = tower.image_size
    return tower, size[0] if isinstance(size, tuple) else size


def build_clip_tower(cfg: dict) -> nn.Module:
    """The image tower of an open_clip model configuration, without weights."""
    from open_clip.model import CLIPVisionCfg, _build_vision_tower

    vision = CLIPVisionCfg(**cfg["vision_cfg"])
    tower = _build_vision_tower(cfg["embed_dim"], vision, quick_gelu=cfg.get("quick_gelu", False))
    tower.output_dim = cfg["embed_dim"]
    return tower
