"""Checkpoints as they are published, of a small network: DnCNN without batch normalisation, named as KAIR names its tensors."""

from pathlib import Path

import torch
import yaml
from torch import nn


def dncnn(channels: int = 3) -> nn.Sequential:
    """Layers 0, 2, …, 16 of convolutions of 8 channels; the network returns its picture minus what these return."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU()]
    for _ in range(7):
        layers += [nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    layers.append(nn.Conv2d(8, channels, 3, padding=1))
    with torch.no_grad():
        layers[-1].weight *= 0.3
    return nn.Sequential(*layers)


def state_of(net: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors by the names that spandrel knows."""
    return {f"model.{name}": tensor for name, tensor in net.state_dict().items()}


def put_small_networks(world: Path) -> None:
    """In the place of each committed method of published weights, a small network in a file of the same name."""
    (world / "published").mkdir()
    for path in sorted((world / "config/methods").glob("*.yaml")):
        method = yaml.safe_load(path.read_text(encoding="utf-8"))
        if method.get("kind") != "checkpoint":
            continue
        method["checkpoint"]["architecture"] = "DnCNN"
        path.write_text(yaml.safe_dump(method, sort_keys=False), encoding="utf-8")
        file = world / f"config/foundations/{method['foundation']}.yaml"
        foundation = yaml.safe_load(file.read_text(encoding="utf-8"))
        for part in foundation["parts"]:
            part["mirrors"] = [{"folder": "published"}]
            for name, digests in part["files"].items():
                for key in {"sha256", "bytes"} & digests.keys():  # of the published file
                    del digests[key]
                torch.save(state_of(dncnn()), world / "published" / name)
        file.write_text(yaml.safe_dump(foundation, sort_keys=False), encoding="utf-8")
