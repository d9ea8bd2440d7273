"""Pre-training of a small foundation from nothing: `mperceiver foundation NAME --build`.

Untrained networks restore nothing, so a small foundation needs pre-training, as Stable Diffusion did. In this order: the VAE
learns to reconstruct, the CLIP to match pictures with words, the U-Net to denoise latents given a caption. Each network is
written when it is done, so a killed build continues with the next one. Unlike the real CLIP, this one has been trained with the
degradations' names.
"""

from pathlib import Path

from mperceiver import files
from mperceiver.config.foundations import Foundation
from mperceiver.foundations.pretrain.clip import pretrain_clip, write_text_encoder
from mperceiver.foundations.pretrain.pictures import PicturePool
from mperceiver.foundations.pretrain.storage import parameter_count
from mperceiver.foundations.pretrain.unet import pretrain_unet, write_scheduler
from mperceiver.foundations.pretrain.vae import pretrain_vae


def build(name: str, spec: Foundation, folder: Path, work: Path) -> dict:
    """Pre-train all parts of foundation ``name`` into ``folder``, in diffusers' layout. Parts that ``work`` has are not made again.

    Returns {"parameters": {part: number of parameters}}.
    """
    recipe = spec.build
    assert recipe is not None
    pool = PicturePool(recipe.pictures)
    parts = {
        "vae": lambda out: pretrain_vae(name, recipe, spec.trunk_norm, pool, out, work),
        "image_encoder": lambda out: pretrain_clip(name, recipe, pool, out, work),
        "text_encoder": lambda out: write_text_encoder(recipe, work / "image_encoder", out),
        "scheduler": lambda out: write_scheduler(recipe, out),
        "unet": lambda out: pretrain_unet(name, recipe, spec.trunk_norm, pool, out, work),
    }
    for part, make in parts.items():
        if not (work / part).is_dir():
            with files.atomic_folder(work / part) as out:
                make(out)
    for part in parts:
        for source in sorted((work / part).iterdir()):
            target = folder / part / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    return {"parameters": {part: parameter_count(folder / part) for part in parts}}
