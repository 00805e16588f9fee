"""What every method may assume about an encoder, and nothing more."""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Encoder(Protocol):
    """Images in, one vector each out; in practice an ``nn.Module``."""

    embed_dim: int

    def __call__(self, x: Tensor, /) -> Tensor:
        """Embed ``x`` (B, C, H, W) float32, already normalised, as (B, D)."""
        ...


@runtime_checkable
class TokenEncoder(Encoder, Protocol):
    """An encoder that also gives one vector per patch (vision transformers)."""

    num_tokens: int

    def tokens(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Patch tokens (B, N, D) of ``x`` (B, C, H, W); with ``keep`` (B, K) int64, only those patches (B, K, D)."""
        ...
