"""Files that appear whole or not at all, with digests and locks."""
