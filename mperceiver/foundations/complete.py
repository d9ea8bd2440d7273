"""Whether a foundation has all that loading it needs: asked when it is staged, not hours later in a job."""

import json
from collections.abc import Iterable
from pathlib import Path

from mperceiver import config, lineage
from mperceiver.config.base import METRIC_FOUNDATIONS, lpips_foundation
from mperceiver.config.foundations import PICKLES, WEIGHTS, Foundation
from mperceiver.fetch.stand_ins import stand_in

INDEX = ".index.json"  # of weights in several files, as diffusers and transformers name it
WEIGHTS_OF = {
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "text_encoder": "text_encoder/model.safetensors",
    "image_encoder": "image_encoder/open_clip_model.safetensors",
}
NEEDED = [
    "vae/config.json",
    "unet/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
    "image_encoder/open_clip_config.json",
    *WEIGHTS_OF.values(),
]


def check_names(name: str, spec: Foundation, wanted: Iterable[str], folder: Path | None) -> None:
    """Raise LineageError unless the files to be staged are all that a Stable Diffusion with CLIP needs.

    Args:
        name: the foundation; that of a metric has files of its own kind and is not checked.
        wanted: paths of the files to be staged.
        folder: the `local` folder, to see what it has instead.
    """
    if not _is_diffusion(name, spec):
        return
    have = set(wanted)
    missing = [
        path
        for path in NEEDED
        if path not in have and not (path + INDEX in have and not path.startswith("image_encoder"))
    ]
    if not missing:
        return
    where = folder or config.path_of("foundations", name)
    inside = (
        sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) if folder else []
    )
    lines = [f"  {path}{_instead(path, inside)}" for path in missing]
    raise lineage.LineageError(
        f"foundation {name}: {where} is not whole. It lacks these files, which loading needs:\n"
        + "\n".join(lines)
        + f"\nPut them there (the layout is that of the repositories under `parts` in {config.path_of('foundations', 'sd21')}), then run "
        f"again: mperceiver foundation {name}"
    )


def _is_diffusion(name: str, spec: Foundation) -> bool:
    """Whether it is a Stable Diffusion, not the network of a metric."""
    paths = [path for part in spec.parts for path in part.files]
    metrics = {*METRIC_FOUNDATIONS.values(), *(lpips_foundation(network) for network in ("alex", "vgg"))}
    return any(path.startswith(("unet/", "vae/")) for path in paths) if paths else name not in metrics


def _instead(path: str, inside: list[str]) -> str:
    """What a folder has in place of a file that it lacks."""
    folder, _, wanted = path.rpartition("/")
    beside = [file.removeprefix(f"{folder}/") for file in inside if file.startswith(f"{folder}/")]
    if not beside:
        return f" (there is no file in {folder}/)"
    if not wanted.endswith(".safetensors"):
        return ""
    if variants := [file for file in beside if file.endswith(".safetensors")]:
        return f" (there is {', '.join(variants[:3])}: a variant such as fp16 is not read; take the file without that word in its name)"
    if pickles := [file for file in beside if file.endswith((".bin", ".pkl", *PICKLES))]:
        return (
            f" (there is {', '.join(pickles[:3])}: a pickle, which can run code and is not read; take the .safetensors)"
        )
    return ""


def check_files(name: str, folder: Path, paths: dict[str, bool]) -> None:
    """Open every staged file. Raises LineageError for one that is not whole; it is removed, so that the next staging brings it again.

    ``paths``: {path: whether somebody states its SHA-256}.
    """
    for path, stated in paths.items():
        file = folder / path
        fault = fault_of(file, stated)
        if fault is None and path.endswith(INDEX):
            weights = json.loads(file.read_text(encoding="utf-8")).get("weight_map")
            shards = set(map(str, weights.values())) if isinstance(weights, dict) else {"no files"}
            absent = sorted(shard for shard in shards if not (file.parent / shard).is_file())
            fault = f"names {absent[0]}, which is not there" if absent else None
        if fault:
            file.unlink()
            raise lineage.LineageError(
                f"foundation {name}: {path} {fault}. Put a whole one there, then run again: mperceiver foundation {name}"
            )


def fault_of(file: Path, stated: bool = True) -> str | None:
    """What is wrong with a file of a foundation, to be read after its path; None if nothing is.

    Args:
        stated: whether somebody states its SHA-256. If nobody does, a pickle is read by a reader that builds tensors and plain data only:
            a pickle with anything else is at fault, and none of its code is run.
    """
    from safetensors import SafetensorError, safe_open

    if words := stand_in(file):
        return words
    if file.suffix in PICKLES and not stated:
        from mperceiver.models.checkpoint_files import CheckpointError, read

        try:
            read(file)
        except CheckpointError as error:
            return f"is no file of weights: {str(error).removeprefix(f'{file}: ')}"
    if file.suffix not in WEIGHTS:
        return None
    try:
        if file.suffix == ".json":
            whole = isinstance(json.loads(file.read_text(encoding="utf-8")), dict)
            return None if whole else "is JSON, but no mapping of keys to values"
        with safe_open(file, framework="numpy") as opened:
            return None if list(opened.keys()) else "holds no weights"
    except SafetensorError as error:
        return f"is cut short or damaged ({file.stat().st_size} bytes; {error})"
    except (ValueError, RecursionError) as error:
        return f"is not what its name says: {error!s:.200}"
