"""The networks: the modules of the method, one file each, the frozen towers, and the baselines."""
