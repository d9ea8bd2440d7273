"""Runs of the other all-in-one methods at a width that trains in seconds."""

NO_LOSSES = "losses: {l1: 1.0, perceptual: 0, colour: 0, adversarial: 0}"
VGG = "losses: {l1: 0, smooth_l1: 1.0, vgg: 0.04, perceptual: 0, colour: 0, adversarial: 0}"
SMOOTH = "losses: {l1: 0, smooth_l1: 1.0, perceptual: 0, colour: 0, adversarial: 0}"

# Run -> the lines of its network stage that differ from those of every other.
NETWORKS = {
    "airnet": f"architecture: airnet\narguments: {{width: 4, groups: 1, blocks: 1, queue: 8, encoder_steps: 2}}\n{NO_LOSSES}",
    "da-clip": "architecture: da-clip\narguments: {width: 32, multipliers: [1, 1], steps: 4, controller_steps: 2}",
    "promptir": "architecture: promptir\narguments: {width: 8, blocks: [1, 1, 1, 1], refinement_blocks: 1, "
    f"prompt_channels: [8, 8, 8], prompt_px: [8, 4, 4]}}\n{NO_LOSSES}",
    "restormer": "architecture: restormer\n"
    f"arguments: {{width: 8, blocks: [1, 1, 1, 1], refinement_blocks: 1}}\n{NO_LOSSES}",
    "transweather": "architecture: transweather\narguments: {channels: [8, 8, 16, 16], depths: [1, 1, 1, 1], "
    f"heads: [1, 1, 1, 1], decoder_depth: 1, decoder_heads: 1, narrow: [4, 4]}}\n{SMOOTH}",
    "wgws-general": f"architecture: wgws-general\narguments: {{width: 4, blocks: 1}}\n{SMOOTH}",
    "wgws": f"architecture: wgws\narguments: {{width: 4, blocks: 1}}\n{SMOOTH}",
}
STARTS = {"wgws": "wgws-general"}  # run -> the run that it starts from


def run(name: str, steps: int = 4, batch: int = 2, crop_px: int = 64, **keys: str) -> str:
    """The text of a run's file; ``keys`` are further keys of the run."""
    lines = [f"title: {name}, a few steps", *(f"{key}: {value}" for key, value in keys.items())]
    network = [*NETWORKS[name].splitlines(), f"steps: {steps}", f"phases: [{{batch: {batch}, crop_px: {crop_px}}}]"]
    return "\n".join([*lines, "network:", *(f"  {line}" for line in network)]) + "\n"
