"""Lineage that leaves the house: RO-Crate, PROV-JSON, Croissant, and a bundle for a reviewer. All of it is made from the cards.

The libraries for it are an extra: uv sync --extra export.
"""
