"""Probes, each in one file: the file name is the registry. The room also holds what they share.

``available()`` lists them, ``named(["knn"])`` gives them ready to be asked. A probe is a file with one function,
``measure``, from what it measures to scores; the type of its one argument says what that is. Other packages add probes
by entry points of the group ``selfstudy.probes``, which name such a module or function.
"""

import ast
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from selfstudy.errors import UsageError, did_you_mean
from selfstudy.plugins import Entry, found

if TYPE_CHECKING:
    from selfstudy.probes.results import Score

DEFAULT = ("knn", "linear")
_FUNCTION = "measure"


class Probe(NamedTuple):
    """A probe that was imported.

    Attributes:
        name: the name users type.
        measure: the function from an input to scores.
        needs: the type of that input, such as :class:`selfstudy.probes.features.Features`.
    """

    name: str
    measure: "Callable[[Any], list[Score]]"
    needs: type


@cache
def available() -> dict[str, Entry]:
    """Every probe by name, ours in alphabetical order and then those of other packages; imports none of them."""
    files = sorted(path for path in Path(__file__).parent.glob("*.py") if _is_probe(path))
    return found(__name__, {path.stem.replace("_", "-"): f"{__name__}.{path.stem}:{_FUNCTION}" for path in files})


def _is_probe(path: Path) -> bool:
    """True if a file defines the function that makes it a probe."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(node, ast.FunctionDef) and node.name == _FUNCTION for node in body)


def named(names: Sequence[str]) -> list[Probe]:
    """The probes of these names, imported, in the same order.

    Raises:
        UsageError: an unknown name, or a probe of another package that cannot be imported or is no probe.
    """
    known = available()
    for name in names:
        if name not in known:
            raise UsageError(f"unknown probe {name!r}{did_you_mean(name, known)}\nknown: {', '.join(known)}")
    return [_loaded(known[name]) for name in names]


def _loaded(entry: Entry) -> Probe:
    """The probe behind an entry, which names a function or a module that holds it."""
    thing = entry.load()
    measure = getattr(thing, _FUNCTION, thing)
    try:
        hints = get_type_hints(measure) if callable(measure) else {}
    except NameError:  # a type that is imported for type checkers only
        hints = {}
    needs = [hint for name, hint in hints.items() if name != "return"]
    if len(needs) != 1 or not isinstance(needs[0], type):
        raise UsageError(
            f"probe {entry.name!r} of {entry.origin}: {entry.target} is no function of one argument with a type\n"
            "write: def measure(features: Features) -> list[Score]"
        )
    return Probe(entry.name, measure, needs[0])
