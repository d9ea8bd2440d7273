"""Stable Diffusion's text encoder, CLIP's text tower, built of torch's own layers and read from files in transformers' layout.

Importing transformers for it would take a second of every start.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mperceiver.lineage import LineageError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"  # names the files, where the weights are in several
NAMES = {  # part of a tensor's name here: part of its name in the files
    "token_embedding": "embeddings.token_embedding",
    "position_embedding": "embeddings.position_embedding",
    "layers.": "encoder.layers.",
    ".norm": ".layer_norm",
    ".linear": ".mlp.fc",
}


def gelu(x: Tensor) -> Tensor:
    """GELU. With ``F.gelu`` itself, torch would fuse a layer into one operation, which ignores autocast and which FLOP counters do not see."""
    return F.gelu(x)


def quick_gelu(x: Tensor) -> Tensor:
    """The approximation of GELU that OpenAI's CLIP was trained with."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS = {"gelu": gelu, "quick_gelu": quick_gelu}


class TextTower(nn.Module):
    """A causal transformer over token embeddings."""

    def __init__(
        self,
        vocabulary: int,
        context: int,
        width: int,
        layers: int,
        heads: int,
        inner: int,
        activation: str = "gelu",
        eps: float = 1e-5,
    ) -> None:
        """
        Args:
            vocabulary: number of tokens that there are.
            context: the most tokens of a prompt, T.
            width: C.
            layers, heads: number of blocks, and of the heads of each.
            inner: width of the blocks' perceptrons.
            activation: of the perceptrons, a key of ACTIVATIONS.
            eps: of the norms.
        """
        super().__init__()
        self.context, self.width = context, width
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.position_embedding = nn.Embedding(context, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, inner, 0.0, ACTIVATIONS[activation], eps, batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.final_layer_norm = nn.LayerNorm(width, eps)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Token embeddings (B, T, C), without positions -> (B, T, C), the output of the last block after the final norm."""
        hidden = embeddings + self.position_embedding.weight[: embeddings.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(hidden.shape[1], hidden.device, hidden.dtype)
        for layer in self.layers:
            hidden = layer(hidden, mask, is_causal=True)
        return self.final_layer_norm(hidden)


def load_text_tower(folder: Path, dtype: torch.dtype = torch.float32) -> TextTower:
    """The text encoder of a foundation on the CPU, its weights in ``dtype``.

    Raises LineageError if a file is missing or damaged, if its activation is not known, or if the weights do not fill the encoder.
    What else the files hold, such as `position_ids` or the image half of a CLIP, is not used.
    """
    try:
        cfg = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if cfg["hidden_act"] not in ACTIVATIONS:
            raise ValueError(f"hidden_act is {cfg['hidden_act']}, and CLIP's is {' or '.join(ACTIVATIONS)}")
        with torch.device("meta"):  # draws no random weights, which would be replaced at once
            tower = TextTower(
                vocabulary=cfg["vocab_size"],
                context=cfg["max_position_embeddings"],
                width=cfg["hidden_size"],
                layers=cfg["num_hidden_layers"],
                heads=cfg["num_attention_heads"],
                inner=cfg["intermediate_size"],
                activation=cfg["hidden_act"],
                eps=cfg["layer_norm_eps"],
            )
        tensors = _tensors(folder)
    except Exception as error:  # what json, torch and safetensors raise for a damaged file has no common class
        raise LineageError(f"{folder}: cannot be loaded as a text encoder ({type(error).__name__}: {error})") from None
    state, wrong = {}, []
    for name, value in tower.state_dict().items():
        sources = _sources(name)
        shape = (len(value) // len(sources), *value.shape[1:])
        wrong += [source for source in sources if source not in tensors or tensors[source].shape != shape]
        if not wrong:
            state[name] = torch.cat([tensors.pop(source).to(dtype) for source in sources])
    if wrong:
        raise LineageError(f"{folder}: weights do not fill the text encoder, e.g. {wrong[0]} ({len(wrong)} in all)")
    tower.load_state_dict(state, strict=True, assign=True)
    return tower


def _tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors in a folder's files of weights. Some versions of transformers begin every name with `text_model.`."""
    from safetensors.torch import load_file

    files = [WEIGHTS]
    if not (folder / WEIGHTS).is_file() and (folder / INDEX).is_file():
        files = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    return {
        name.removeprefix("text_model."): value for file in files for name, value in load_file(folder / file).items()
    }


def _sources(name: str) -> list[str]:
    """The names of the tensors in the files that together make the weight ``name``: three for attention's queries, keys and values."""
    for ours, theirs in NAMES.items():
        name = name.replace(ours, theirs)
    return [name.replace("in_proj_", f"{letter}_proj.") for letter in ("qkv" if "in_proj_" in name else "-")]
