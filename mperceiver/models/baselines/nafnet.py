"""NAFNet (Chen et al., ECCV 2022, arXiv:2204.04676), built by spandrel."""

from collections.abc import Sequence

from torch import nn


def nafnet(
    width: int = 32,
    middle_blocks: int = 1,
    encoder_blocks: Sequence[int] = (1, 1, 1, 28),
    decoder_blocks: Sequence[int] = (1, 1, 1, 1),
) -> nn.Module:
    """(B, 3, H, W) in [0, 1] -> the same. The defaults are the published network for GoPro, 17.1 million parameters."""
    from spandrel.architectures.NAFNet import NAFNet

    return NAFNet(
        width=width,
        middle_blk_num=middle_blocks,
        enc_blk_nums=list(encoder_blocks),
        dec_blk_nums=list(decoder_blocks),
    )
