"""Files that other libraries open, each reloaded there and compared before success is claimed."""
