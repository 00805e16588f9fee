"""The data that a method reads, as one frozen value for each modality. Does not import torch.

A method says ``reads = Images(tokens=True)`` or ``reads = Text(head="causal")``. A package with a modality of its own
derives another class from :class:`Reads`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, TypeVar

from selfstudy.errors import UsageError

R = TypeVar("R", bound="Reads")


class Reader(Protocol):
    """A method, as far as this file knows it."""

    reads: ClassVar["Reads"]


class Reads:
    """The base class of these values.

    Attributes:
        modality: the name of the modality, such as ``images``.
    """

    modality: ClassVar[str]

    @classmethod
    def of(cls: type[R], method: type[Reader]) -> R:
        """Return the value of ``method``, which must be of this class.

        Raises:
            UsageError: the method reads another modality.
        """
        if not isinstance(method.reads, cls):
            raise UsageError(f"{method.__name__} reads {method.reads.modality}, not {cls.modality}\nuse another method")
        return method.reads

    @property
    def needs(self) -> str:
        """The special needs that a list of methods shows, such as ``"tokens"``; "" for none."""
        return ""

    def check(self, encoder: object, method: str) -> None:
        """Accept any encoder; a subclass refuses those that cannot read its modality.

        Args:
            encoder: the encoder that the method is built around.
            method: the name of the method's class, for the message.

        Raises:
            UsageError: the encoder does not fit.
        """


@dataclass(frozen=True, kw_only=True)
class Images(Reads):
    """The data that a method for images reads.

    Attributes:
        tokens: True if the method works on patches, so that only vision transformers fit.
        labels: True if the method learns from class labels.
        pooling: the way in which a vision transformer makes one vector of its tokens: ``avg`` for their mean, ``auto``
            for the network's own way.
        any_count: True if the forward pass takes any number of views from two on.
        largest_batch: the default batch size in images, where there are enough of them.
    """

    modality: ClassVar[str] = "images"
    tokens: bool = False
    labels: bool = False
    pooling: str = "auto"
    any_count: bool = False
    largest_batch: int = 256

    @property
    def needs(self) -> str:
        """``"tokens"``, ``"labels"``, both, or ""."""
        return ", ".join(["tokens"] * self.tokens + ["labels"] * self.labels)

    def check(self, encoder: object, method: str) -> None:
        """Refuse an encoder without tokens where the method needs them.

        Raises:
            UsageError: the encoder has no tokens.
        """
        from selfstudy.encoders.base import TokenEncoder

        if self.tokens and not isinstance(encoder, TokenEncoder):
            given = getattr(encoder, "name", type(encoder).__name__)
            raise UsageError(
                f"{method} needs an encoder with tokens, got {given}\n"
                "use a vision transformer, such as --encoder vit_tiny_patch16_224"
            )


@dataclass(frozen=True, kw_only=True)
class Text(Reads):
    """The data that a method for text reads.

    Attributes:
        head: the head that is trained with the encoder: ``masked`` needs an encoder that sees both sides, ``causal``
            one that sees only earlier tokens; "" for none.
        pieces: True if the method reads documents one by one, False for rows that hold several.
        dropout: the default dropout of the encoder, in [0, 1).
        smallest_batch: the smallest default batch size in rows, however short the run is.
    """

    modality: ClassVar[str] = "text"
    head: str = ""
    pieces: bool = False
    dropout: float = 0.0
    smallest_batch: int = 8

    @property
    def needs(self) -> str:
        """``"text"``."""
        return "text"

    def check(self, encoder: object, method: str) -> None:
        """Refuse an encoder that does not read text, or that sees the wrong side of a token.

        Raises:
            UsageError: the encoder does not fit.
        """
        from selfstudy.encoders.base import LanguageEncoder

        if not isinstance(encoder, LanguageEncoder):
            raise UsageError(
                f"{method} learns from text, {type(encoder).__name__} encodes something else\n"
                "use a text encoder, such as --encoder modernbert-mini"
            )
        if encoder.causal != (self.head == "causal"):
            sees = "what came before" if encoder.causal else "both sides"
            fitting = "modernbert-mini" if encoder.causal else "llama-mini"
            raise UsageError(f"{method} cannot train an encoder that sees {sees}\nuse one such as --encoder {fitting}")


_FIELD_OF = {
    "needs_tokens": "tokens",
    "uses_labels": "labels",
    "pooling": "pooling",
    "any_count": "any_count",
    "largest_batch": "largest_batch",
    "language_head": "head",
    "reads_pieces": "pieces",
    "dropout": "dropout",
    "smallest_batch": "smallest_batch",
}


def from_old_flags(attributes: Mapping[str, Any]) -> Images | Text | None:
    """Return the value for the class attributes that said the same up to version 0.1, or None if there are none.

    Attributes that say nothing about the modality, such as the ``dropout`` of a method for images, do not count.

    >>> from_old_flags({"needs_tokens": True, "pooling": "avg"})
    Images(tokens=True, labels=False, pooling='avg', any_count=False, largest_batch=256)
    """
    old_names: dict[object, type[Images] | type[Text]] = {
        cls.__name__.lower().rstrip("s"): cls for cls in (Images, Text)
    }
    cls = old_names.get(attributes.get("modality", "image"))
    if cls is None:
        return None
    known = {field.name for field in fields(cls)}
    values = {new: attributes[old] for old, new in _FIELD_OF.items() if old in attributes and new in known}
    return cls(**values) if values or "modality" in attributes else None
