"""NAFNet (Chen et al., ECCV 2022, arXiv:2204.04676), as spandrel builds it."""

from torch import nn


def nafnet(width: int, middle_blocks: int, encoder_blocks: list[int], decoder_blocks: list[int]) -> nn.Module:
    """Widths and block counts must be given: the library's default is a network without blocks."""
    from spandrel.architectures.NAFNet import NAFNet

    return NAFNet(width=width, middle_blk_num=middle_blocks, enc_blk_nums=encoder_blocks, dec_blk_nums=decoder_blocks)
