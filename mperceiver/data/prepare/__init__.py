"""Preparing: from raw files to pairs of pictures in one Arrow file."""
