"""What every method may assume about an encoder, and nothing more."""

from typing import NamedTuple, Protocol, TypeGuard, TypeVar

from torch import Tensor, nn

P = TypeVar("P")


def provides(encoder: object, protocol: type[P]) -> TypeGuard[P]:
    """Whether an encoder has all that one of the protocols here names.

    As ``isinstance`` of a runtime protocol, which since Python 3.12 does not see what a module keeps as a buffer.
    """
    named = {name for part in protocol.__mro__ for name in [*vars(part), *getattr(part, "__annotations__", {})]}
    return all(hasattr(encoder, name) for name in named if not name.startswith("_"))


class Encoder(Protocol):
    """Images in, one vector each out; in practice an ``nn.Module``."""

    embed_dim: int

    def __call__(self, x: Tensor, /) -> Tensor:
        """Embed ``x`` (B, C, H, W) float32, already normalised, as (B, D)."""
        ...


class TokenEncoder(Encoder, Protocol):
    """An encoder that also gives one vector per patch (vision transformers).

    Attributes:
        channels: of the images, C.
        num_tokens: patches of an image, N.
        grid: their (rows, columns).
        patch_size: (height, width) in pixels.
    """

    channels: int
    num_tokens: int
    grid: tuple[int, int]
    patch_size: tuple[int, int]

    def tokens(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Patch tokens (B, N, D) of ``x`` (B, C, H, W); with ``keep`` (B, K) int64, only those patches (B, K, D)."""
        ...

    def embed_and_tokens(
        self,
        x: Tensor,
        *,
        keep: Tensor | None = None,
        mask: Tensor | None = None,
        mask_token: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The embedding (B, D) and the patch tokens (B, N, D) of one pass.

        Args:
            x: (B, C, H, W) normalised images; their patches are numbered row by row.
            keep: (B, K) int64, the patches to encode; the others are never computed, and the tokens are (B, K, D).
            mask: (B, N) bool, patches replaced by ``mask_token`` before their position is added.
            mask_token: (D,).
        """
        ...

    def embed_and_blocks(self, x: Tensor, last: int) -> tuple[Tensor, list[Tensor]]:
        """The embedding (B, D) and the patch tokens (B, N, D) that each of the ``last`` blocks gives, in order.

        The tokens are as they leave the block, before the encoder's last normalisation. An encoder with fewer blocks
        gives those of all it has.
        """
        ...


class Vocabulary(NamedTuple):
    """What a network has to know of its tokenizer: how many entries, and the numbers of the special ones, or None."""

    size: int
    pad: int | None = None
    cls: int | None = None
    sep: int | None = None
    mask: int | None = None
    eos: int | None = None


class LanguageEncoder(Protocol):
    """Rows of token ids in, one vector each out, and one for each token.

    Attributes:
        embed_dim: D.
        vocabulary: of the tokenizer.
        causal: whether a token sees only those before it.
        starts_word: (V,) bool, whether an entry of the vocabulary begins a word.
    """

    embed_dim: int
    vocabulary: Vocabulary
    causal: bool
    starts_word: Tensor

    def __call__(self, ids: Tensor, /) -> Tensor:
        """Embed ``ids`` (B, T) int64 as (B, D)."""
        ...

    def states(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """The states (B, T, D) of ``ids`` (B, T); tokens of different ``segments`` (B, T) do not see one another."""
        ...

    def logits(self, states: Tensor) -> Tensor:
        """Scores (..., V) of every vocabulary entry for ``states`` (..., D)."""
        ...

    def head_parameters(self) -> list[nn.Parameter]:
        """All that :meth:`logits` depends on besides its argument."""
        ...

    def pooled(self, states: Tensor, ids: Tensor) -> Tensor:
        """``states`` (B, T, D) of ``ids`` (B, T) as one vector each, (B, D)."""
        ...
