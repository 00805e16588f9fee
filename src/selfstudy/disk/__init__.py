"""Files on disk: bounded reading, digests, writes that appear whole or not at all, and locks."""
