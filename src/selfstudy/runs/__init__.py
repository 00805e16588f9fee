"""Runs: the folder, the records, the settings and the training."""
