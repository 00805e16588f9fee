"""Shared by images and text: the order of inputs, micro-batches, worker processes, names, tables of embeddings."""
