"""Make the image tower of the foundation mini-lite from the published EfficientNet-Lite0:
mperceiver foundation efficientnet-lite0 && python -m tools.statistics_tower

It needs the prepared dataset small-train, on whose degraded crops the embedding's mean and deviation are measured. The other networks of the foundation
are those of mini, as links. (The tower in assets/ was measured on that dataset as it stood at commit f30a469.)
"""

import json
from pathlib import Path

import torch
from torch import Tensor

from mperceiver import commits, config, files, lineage, paths
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.images import to_tensor
from mperceiver.metrics.weights import read_tensors
from mperceiver.models.image_tower import CLIP_MEAN, CLIP_STD
from mperceiver.models.statistics_tower import EMBEDDING, StatisticsTower
from mperceiver.shipped import CARD
from mperceiver.training.stages.batches import mean_and_deviation

FOUNDATION, PUBLISHED, DATASET = "mini-lite", "efficientnet-lite0", "small-train"
FILE = "efficientnet-lite0-57934424.pth"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORM_EPSILON = 1e-3  # of the published network's batch norms
SIDE, MEASURED, BATCH = 64, 12000, 128  # px; crops that the mean and deviation are measured on; crops at once
LINKED = ("scheduler", "text_encoder", "unet", "vae")


def folded(state: dict[str, Tensor], convolution: str, norm: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution without a bias and of the batch norm after it, as one convolution."""
    factor = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + NORM_EPSILON).sqrt()
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * factor
    return state[f"{convolution}.weight"] * factor[:, None, None, None], bias


def converted(state: dict[str, Tensor]) -> StatisticsTower:
    """The tower with the published weights, not yet standardised."""
    tower = StatisticsTower(SIDE)
    pairs = [(tower.stem, "_conv_stem", "_bn0")]
    for number, block in enumerate(block for stage in tower.stages for block in stage):
        prefix = f"_blocks.{number}"
        if block.expand is not None:
            pairs.append((block.expand, f"{prefix}._expand_conv", f"{prefix}._bn0"))
        pairs.append((block.depthwise, f"{prefix}._depthwise_conv", f"{prefix}._bn1"))
        pairs.append((block.project, f"{prefix}._project_conv", f"{prefix}._bn2"))
    with torch.no_grad():
        for convolution, weights, norm in pairs:
            weight, bias = folded(state, weights, norm)
            convolution.weight.copy_(weight)
            convolution.bias.copy_(bias)
    clip_mean, clip_std, mean, std = (
        torch.tensor(values).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD)
    )
    tower.gain, tower.shift = clip_std / std, (clip_mean - mean) / std
    return tower.eval()


@torch.no_grad()
def measured(tower: StatisticsTower) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, (608,) each, of the statistics of the dataset's degraded crops."""
    dataset, batches = PreparedDataset(DATASET), []
    mean, std = torch.tensor(CLIP_MEAN).view(3, 1, 1), torch.tensor(CLIP_STD).view(3, 1, 1)
    for first in range(0, min(len(dataset), MEASURED), BATCH):
        last = min(first + BATCH, len(dataset), MEASURED)
        crops = torch.cat([to_tensor(dataset.lq(i)) for i in range(first, last)])
        batches.append(tower.statistics((crops - mean) / std))
    return mean_and_deviation(torch.cat(batches))


def main() -> None:
    """Write the image encoder, the links and the card into the foundation's `local` folder."""
    from safetensors.torch import save_file

    spec = config.load("foundations", FOUNDATION)
    commits.current()
    source = paths.foundation_folder(PUBLISHED) / FILE
    tower = converted(read_tensors(source))
    state = {name: value.half() for name, value in tower.state_dict().items()}
    tower.load_state_dict({name: value.float() for name, value in state.items()})  # measured as it is stored
    centre, spread = measured(tower)
    state |= {"centre": centre, "spread": spread}
    target = Path(spec.local or "")
    encoder = target / "image_encoder"
    encoder.mkdir(parents=True, exist_ok=True)
    save_file(
        {f"visual.{name}": value.contiguous() for name, value in state.items()}, encoder / "open_clip_model.safetensors"
    )
    settings = {"model_cfg": {"embed_dim": EMBEDDING, "statistics_tower": {"image_size": SIDE}}}
    (encoder / "open_clip_config.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    for part in LINKED:
        if not (target / part).is_symlink():
            (target / part).symlink_to(Path("..") / "mini" / part)
    inputs = [*config.files_of("foundations", FOUNDATION), source, paths.prepared_card(DATASET)]
    sources = {f"at-build:{path}": files.sha256(Path(path)) for path in inputs}
    parts = [path for part in ("image_encoder", *LINKED) for path in sorted((target / part).iterdir())]
    work = lineage.begin("tools.statistics_tower", config.read_part("foundations", FOUNDATION, "foundation"))
    result = {"parameters": sum(p.numel() for p in tower.parameters())}
    card = work.write_card(target / CARD, sources=sources, result=result)
    files.write_json(
        target / CARD, card | {"outputs": {path.relative_to(target).as_posix(): files.sha256(path) for path in parts}}
    )
    print(target / CARD)


if __name__ == "__main__":
    main()
