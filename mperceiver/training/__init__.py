"""The three stages, the baselines and the foundation's pre-training, on one loop."""
