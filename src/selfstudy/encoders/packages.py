"""Image encoders of other packages, by entry points of the group ``selfstudy.encoders``.

An entry point names a function from an :class:`selfstudy.encoders.timm.EncoderSpec` to a module with an integer
``embed_dim`` that maps images (B, C, H, W) to (B, D). Runs save its state dict, and call the function again to load it.
"""

import re
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from selfstudy.errors import UsageError
from selfstudy.plugins import OWN, Entry, found

if TYPE_CHECKING:
    from torch import nn

_GROUP = "selfstudy.encoders"
_OWN = {"patches": Entry("patches", OWN, "selfstudy.encoders.patches:PatchNetwork")}


@cache
def from_packages() -> dict[str, Entry]:
    """The encoders that are not timm's, by name, with their origin: ours, then those of other packages.

    A name of timm's stays timm's.
    """
    if not entry_points(group=_GROUP):
        return _OWN
    import timm  # the list of encoders needs it in this case only

    known = found(_GROUP, dict.fromkeys([*timm.list_models(), *_OWN], "timm"), owner="timm")
    return _OWN | {name: entry for name, entry in known.items() if entry.origin != "timm"}


def require_savable(entry: Entry) -> None:
    """Raise unless the name can stand in the description of a saved encoder.

    Raises:
        UsageError: the name holds anything but letters, digits and underscores.
    """
    if not re.fullmatch(r"[A-Za-z0-9_]+", entry.name):
        raise UsageError(
            f"encoder {entry.name!r} of {entry.origin}: a name of an encoder holds letters, digits and _ only\n"
            "rename the entry point of that package"
        )


def refuse_export(name: str, to: str) -> None:
    """Raise if the encoder is not timm's, because other libraries have no such network.

    Raises:
        UsageError: the encoder is solved, or comes from another package.
    """
    if entry := from_packages().get(name):
        what = "is solved" if entry.origin == OWN else f"comes from {entry.origin}"
        raise UsageError(f"encoder {entry.name!r} {what}, and {to} has none\nuse --to onnx")


def network_of(entry: Entry, spec: object) -> "nn.Module":
    """A fresh network of another package; its width is also its ``num_features``, as in networks of timm.

    Raises:
        UsageError: the package cannot be imported, or returns something else than a module with ``embed_dim``.
    """
    from torch import nn

    network = entry.load()(spec)
    width = getattr(network, "embed_dim", None)
    if not (isinstance(network, nn.Module) and isinstance(width, int)):
        raise UsageError(
            f"encoder {entry.name!r} of {entry.origin}: {entry.target} returned {type(network).__name__}, "
            "not a module with an integer embed_dim\nset embed_dim to the length D of the vectors (B, D)"
        )
    network.num_features = width  # type: ignore[assignment]  # a plain attribute, not a tensor or module
    return network
