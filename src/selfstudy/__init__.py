"""selfstudy: self-supervised learning on your own images and texts, with the evidence of how good the result is.

>>> import selfstudy
>>> run = selfstudy.pretrain("photos/", minutes=30, out="runs/photos")  # doctest: +SKIP
>>> run.evaluate("labelled/train", test="labelled/test")  # doctest: +SKIP

Importing selfstudy does not import torch; the first name that needs it does.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from selfstudy.version import __version__ as __version__

if TYPE_CHECKING:
    from selfstudy import losses, methods
    from selfstudy.api import (
        Run,
        compare,
        complete,
        embed,
        evaluate,
        export,
        fill,
        inspect,
        load,
        pretrain,
        recipe,
        report,
        whiten,
    )

__all__ = [
    "Run",
    "compare",
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
    "report",
    "whiten",
]


class _Package(ModuleType):
    """A package some of whose functions share their names with its rooms, such as ``evaluate``."""

    def __setattr__(self, name: str, value: object) -> None:
        """Keep the import system, which binds every room that it imports, from putting a room in a function's place."""
        if not (isinstance(value, ModuleType) and name in __all__ and name not in _MODULES):
            super().__setattr__(name, value)


_MODULES = ("losses", "methods")
sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """The public names, imported when first used."""
    if name in _MODULES:
        return import_module(f"selfstudy.{name}")
    if name in __all__:
        return getattr(import_module("selfstudy.api"), name)
    raise AttributeError(f"module 'selfstudy' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    """The public names, for completion."""
    return [*__all__, "__version__"]
