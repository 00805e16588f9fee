"""selfstudy: self-supervised learning on your own images and texts, with the evidence of how good the result is.

>>> import selfstudy
>>> run = selfstudy.pretrain("photos/", minutes=30, out="runs/photos")  # doctest: +SKIP
>>> run.evaluate("labelled/train", test="labelled/test")  # doctest: +SKIP

Importing selfstudy does not import torch; the first name that needs it does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfstudy import losses, methods
    from selfstudy.api import Run, complete, embed, evaluate, export, fill, inspect, load, pretrain, recipe

__version__ = "0.1.0"
__all__ = [
    "Run",
    "complete",
    "embed",
    "evaluate",
    "export",
    "fill",
    "inspect",
    "load",
    "losses",
    "methods",
    "pretrain",
    "recipe",
]


def __getattr__(name: str) -> Any:
    """The public names, imported when first used."""
    if name in ("losses", "methods"):
        return import_module(f"selfstudy.{name}")
    if name in __all__:
        return getattr(import_module("selfstudy.api"), name)
    raise AttributeError(f"module 'selfstudy' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    """The public names, for completion."""
    return [*__all__, "__version__"]
