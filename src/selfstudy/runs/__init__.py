"""A run on disk and in time: its folder, records, settings and training."""
