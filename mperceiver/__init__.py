"""MPerceiver: all-in-one image restoration with a frozen Stable Diffusion (CVPR 2024)."""

__version__ = "0.1.0"
