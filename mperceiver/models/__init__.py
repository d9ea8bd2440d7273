"""The modules of the method, one file each, and the baselines."""
