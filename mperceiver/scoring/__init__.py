"""Scores: of a dataset that a method restored, and the way of scoring that gives a published number."""
