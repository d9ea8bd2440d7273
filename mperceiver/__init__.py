"""MPerceiver: all-in-one image restoration with a frozen Stable Diffusion (CVPR 2024)."""
