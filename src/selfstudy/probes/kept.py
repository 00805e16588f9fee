"""Scores of free rows, kept in the user's cache so that the next evaluation on the same data need not measure them."""

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter
from rich.console import Console

from selfstudy.disk.atomic import replace_file
from selfstudy.disk.reading import read_bytes
from selfstudy.disk.user_cache import user_cache
from selfstudy.errors import EnvironmentFault, FileRefusedError, first_line
from selfstudy.probes import Probe
from selfstudy.probes.results import Score

_PACKAGE = Path(__file__).parents[1]
_MOST_FILES = 1000
_MOST_BYTES = 2**24  # of one file: a byte for each test example and figure
# another version may give other numbers
_LIBRARIES = ("numpy", "pillow", "scikit-learn", "scipy", "timm", "tokenizers", "torch", "transformers")
_FILES = TypeAdapter(
    list[Score], config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", allow_inf_nan=False)
)


class KeptScores:
    """Scores on disk, one small JSON file for each row, data set and probe; the files used last are kept.

    A score is found again only by the same key, the same probe, the same source code of selfstudy and the same
    versions of the libraries that compute it. Probes of other packages are not kept: their code can change unseen.

    Args:
        folder: the folder of the files; it is made when the first score is kept.
        most: the largest number of files.
    """

    def __init__(self, folder: Path, *, most: int = _MOST_FILES) -> None:
        self._folder, self._most = folder, most

    def find(self, key: str, probes: Iterable[Probe]) -> dict[str, list[Score]]:
        """The scores of a row by the name of their probe; a damaged file counts as none.

        Args:
            key: a text that differs if anything that decides the numbers differs, except the probe and the code.
            probes: the probes that are asked.
        """
        found = {}
        for probe in filter(_is_ours, probes):
            file = self._file(key, probe)
            with suppress(FileRefusedError, ValueError, OSError):
                found[probe.name] = _FILES.validate_json(read_bytes(file, _MOST_BYTES))
                os.utime(file)
        return found

    def keep(self, key: str, probe: Probe, scores: list[Score]) -> None:
        """Write the scores of a row under one probe; scores that no file may hold are not kept.

        Raises:
            OSError: the system refuses.
        """
        content = _FILES.dump_json(scores)
        if not _is_ours(probe) or len(content) > _MOST_BYTES:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        replace_file(self._file(key, probe), content, sync=False)
        files = sorted(self._folder.glob("*.json"), key=lambda file: -file.stat().st_mtime_ns)
        for old in files[self._most :]:
            old.unlink(missing_ok=True)

    def _file(self, key: str, probe: Probe) -> Path:
        return self._folder / f"{hashlib.sha256(repr((key, probe.name, _code())).encode()).hexdigest()}.json"


def in_user_cache(console: Console) -> KeptScores | None:
    """The scores in the user's cache; None if there is no folder for them, and the console says so."""
    try:
        return KeptScores(user_cache() / "scores")
    except EnvironmentFault as error:
        console.print(f"         free rows are not kept for later evaluations: {first_line(error)}", highlight=False)
        return None


def _is_ours(probe: Probe) -> bool:
    """True for a probe of selfstudy itself."""
    return probe.measure.__module__.startswith(f"{_PACKAGE.name}.")


@cache
def _code() -> str:
    """A digest of all source code of selfstudy, with the versions of the libraries that compute scores."""
    digest = hashlib.sha256(repr([(name, version(name)) for name in _LIBRARIES]).encode())
    for file in sorted(_PACKAGE.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
