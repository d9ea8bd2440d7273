"""Preparing: from raw files to rows of pictures in one Arrow file a dataset."""
