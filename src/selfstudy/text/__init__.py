"""Text: from a path to a batch, to an embedding and to a score."""
