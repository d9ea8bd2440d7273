"""NAFNet (Chen et al., ECCV 2022, arXiv:2204.04676), built by spandrel."""

from torch import nn


def nafnet(width: int, middle_blocks: int, encoder_blocks: list[int], decoder_blocks: list[int]) -> nn.Module:
    """(B, 3, H, W) in [0, 1] -> the same. No argument has a default, because the library's default has no blocks at all."""
    from spandrel.architectures.NAFNet import NAFNet

    return NAFNet(width=width, middle_blk_num=middle_blocks, enc_blk_nums=encoder_blocks, dec_blk_nums=decoder_blocks)
