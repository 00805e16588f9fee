"""Methods, modalities, probes, encoders and exports by name: our own, and those of other packages by entry point.

Nothing is imported until an entry is loaded.

Another package adds, say, a probe by an entry point in its ``pyproject.toml``::

    [project.entry-points."selfstudy.probes"]
    nearest-centroid = "my_package.centroid:measure"
"""

import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple, TypeVar

from selfstudy.errors import UsageError, first_line

OWN = "selfstudy"
T = TypeVar("T")


class Entry(NamedTuple):
    """A named object of a module, which is not imported yet.

    Attributes:
        name: the name users type.
        origin: the package that brings it: ``"selfstudy"``, or the name and version of another package.
        target: ``module`` or ``module:attribute``.
    """

    name: str
    origin: str
    target: str

    def __str__(self) -> str:
        """The name, with the origin if it is another package: ``"signals (my-signals 0.1)"``."""
        return self.name if self.origin == OWN else f"{self.name} ({self.origin})"

    def load(self) -> Any:
        """Import the module; return it or its attribute.

        Raises:
            UsageError: the module of another package cannot be imported.
        """
        try:
            return EntryPoint(self.name, self.target, "").load()
        except Exception as error:  # another package's code may raise anything while it is imported
            if self.origin == OWN:
                raise
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise UsageError(
                f"{self.name!r} of {self.origin} cannot be imported from {self.target}: {reason}"
            ) from error


def found(group: str, own: Mapping[str, str], *, owner: str = OWN) -> dict[str, Entry]:
    """Our own entries, then those of other packages by name; a name that is taken is refused with a warning line.

    Args:
        group: the name of the entry point group, such as ``"selfstudy.probes"``.
        own: our own names and targets; they win against those of other packages.
        owner: the package that the names of ``own`` belong to, if it is not selfstudy.
    """
    entries = {name: Entry(name, owner, target) for name, target in own.items()}
    for point in sorted(entry_points(group=group), key=lambda point: (point.name, _origin(point))):
        origin = _origin(point)
        if point.name in entries:
            warn(f"{group} {point.name!r} of {origin} is not used: the name is taken by {entries[point.name].origin}")
        else:
            entries[point.name] = Entry(point.name, origin, point.value)
    return entries


def loaded(entries: Mapping[str, Entry], load: Callable[[Entry], T] = Entry.load) -> dict[str, T]:
    """Everything that can be imported, by name; what cannot is left out with one warning line each.

    Args:
        entries: the entries to import.
        load: the function that imports one, and that may raise a UsageError.
    """
    things = {}
    for name, entry in entries.items():
        try:
            things[name] = load(entry)
        except UsageError as error:
            warn(f"{first_line(error)}; it is left out")
    return things


def _origin(point: EntryPoint) -> str:
    """The name and version of the package that an entry point comes from."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"


def warn(line: str) -> None:
    """Print a warning line to standard error."""
    print(f"selfstudy: warning: {line}", file=sys.stderr)
