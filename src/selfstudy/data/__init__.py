"""What images and text share: the order of inputs, micro-batches, worker processes, names, and tables of embeddings."""
