"""Foundations: staging frozen weights, and pre-training a small foundation from nothing."""
