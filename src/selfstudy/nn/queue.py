"""A first-in first-out store of embeddings from earlier batches."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Queue(nn.Module):
    """The last ``size`` embeddings, as part of the state dict. It starts full of random unit vectors.

    Args:
        dim: the length D of an embedding.
        size: the number K of embeddings that are kept.
        seed: the seed of the initial vectors.
    """

    items: Tensor
    pointer: Tensor

    def __init__(self, dim: int, size: int, *, seed: int = 0) -> None:
        super().__init__()
        random = torch.randn(size, dim, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("items", F.normalize(random, dim=1))  # (K, D)
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, embeddings: Tensor) -> None:
        """Replace the oldest items by ``embeddings`` (B, D), for any B; call it after the loss, in training only."""
        size = len(self.items)
        embeddings = embeddings.detach()[-size:].to(self.items.dtype)
        places = (self.pointer + torch.arange(len(embeddings), device=self.items.device)) % size
        self.items[places] = embeddings
        self.pointer.copy_((self.pointer + len(embeddings)) % size)
