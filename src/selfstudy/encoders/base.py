"""The encoders that methods train, as abstract modules: what a method may assume about each kind, and nothing more."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from selfstudy.errors import UsageError


class Encoder(nn.Module, ABC):
    """A network that gives one vector for each input.

    A method that needs no more also takes a plain ``nn.Module`` with an ``embed_dim``.

    Attributes:
        embed_dim: the length D of the vectors.
    """

    embed_dim: int

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return the embeddings (B, D) of ``x``: images (B, C, H, W) float32, normalised, or ids (B, T) int64."""

    def layer_rates(self, decay: float) -> dict[nn.Parameter, float]:
        """Return the factor of each trainable parameter's learning rate; none if the layers are not known.

        Args:
            decay: the factor per layer, in (0, 1]. The method's head has factor 1, the last layer before it ``decay``.
        """
        return {}


def layer_rates(encoder: nn.Module, decay: float) -> dict[nn.Parameter, float]:
    """Return the factors that are not 1 of the learning rates of an encoder's parameters.

    Args:
        encoder: an :class:`Encoder`; any module if ``decay`` is 1.
        decay: the factor per layer, in (0, 1]; the last layer has ``decay``, the one before it ``decay`` squared.

    Raises:
        UsageError: the layers of the encoder are not known.
    """
    if decay == 1:
        return {}
    rates = encoder.layer_rates(decay) if isinstance(encoder, Encoder) else {}
    if not rates:
        raise UsageError(
            f"optimizer.layer_decay={decay:g}: the layers of {type(encoder).__name__} are not known\n"
            "leave it out, or use an image encoder of timm"
        )
    return rates


class TokenEncoder(Encoder):
    """An image encoder that also gives one vector for each patch, as vision transformers do.

    Attributes:
        channels: the number C of channels of the images.
        num_tokens: the number N of patches in an image.
        grid: the numbers of rows and columns of patches.
        patch_size: the (height, width) of a patch in pixels.
    """

    channels: int
    num_tokens: int
    grid: tuple[int, int]
    patch_size: tuple[int, int]

    @abstractmethod
    def tokens(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return the patch tokens (B, N, D) of ``x`` (B, C, H, W).

        Args:
            x: normalised images (B, C, H, W) float32.
            keep: numbers (B, K) int64 of the patches to encode; all of them when left out.

        Returns:
            (B, N, D), or (B, K, D) with ``keep``.
        """

    @abstractmethod
    def embed_and_tokens(
        self,
        x: Tensor,
        *,
        keep: Tensor | None = None,
        mask: Tensor | None = None,
        mask_token: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the embedding (B, D) and the patch tokens (B, N, D) of one pass.

        Args:
            x: normalised images (B, C, H, W) float32. Their patches are numbered row by row.
            keep: numbers (B, K) int64 of the patches to encode. The others are never computed, and the tokens are
                (B, K, D).
            mask: (B, N) bool, True for the patches that ``mask_token`` replaces before their position is added.
            mask_token: the vector (D,) of a masked patch.
        """

    @abstractmethod
    def embed_and_blocks(self, x: Tensor, last: int) -> tuple[Tensor, list[Tensor]]:
        """Return the embedding (B, D) and the patch tokens (B, N, D) after each of the ``last`` blocks, in order.

        The tokens are those that leave the block, before the encoder's final normalisation. An encoder with fewer
        blocks returns the tokens of all its blocks.

        Args:
            x: images (B, C, H, W) float32, normalised.
            last: the number of blocks, counted from the last one.
        """


class Vocabulary(NamedTuple):
    """The facts about a tokenizer that a network needs.

    Attributes:
        size: the number V of entries.
        pad: the id of the padding token, or None if there is none; the other tokens follow the same rule.
        cls: the id of the class token, which begins a row.
        sep: the id of the separator, which ends a row.
        mask: the id of the token that replaces a hidden one.
        eos: the id of the token that ends a document.
    """

    size: int
    pad: int | None = None
    cls: int | None = None
    sep: int | None = None
    mask: int | None = None
    eos: int | None = None

    def id_of(self, name: str) -> int:
        """Return the id of the special token ``name``, such as ``"mask"``.

        Raises:
            UsageError: the tokenizer has no such token.
        """
        number: int | None = getattr(self, name)
        if number is None:
            raise UsageError(f"the tokenizer has no {name} token, which this method needs\nuse another tokenizer")
        return number


class LanguageEncoder(Encoder):
    """A text encoder: one vector for each row of token ids, and one state for each token.

    Attributes:
        vocabulary: the facts about its tokenizer.
        causal: True if a token sees only the tokens before it.
        starts_word: (V,) bool, True for the vocabulary entries that begin a word.
    """

    vocabulary: Vocabulary
    causal: bool
    starts_word: Tensor

    @abstractmethod
    def states(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """Return the states (B, T, D) of the tokens ``ids`` (B, T) int64.

        Args:
            ids: token ids (B, T).
            segments: document numbers (B, T) int64; tokens of different documents do not see one another. When left
                out, all tokens of a row do.
        """

    @abstractmethod
    def logits(self, states: Tensor) -> Tensor:
        """Return the scores (..., V) of every vocabulary entry for ``states`` (..., D)."""

    @abstractmethod
    def head_parameters(self) -> list[nn.Parameter]:
        """Return all parameters that the result of :meth:`logits` depends on."""

    @abstractmethod
    def pooled(self, states: Tensor, ids: Tensor) -> Tensor:
        """Return one vector (B, D) for each row, pooled from ``states`` (B, T, D) of ``ids`` (B, T)."""
