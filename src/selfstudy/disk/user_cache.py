"""The folder of the user's cache: files that save time and may be deleted at any moment."""

import os
from pathlib import Path

from selfstudy.errors import EnvironmentFault


def user_cache() -> Path:
    """The folder in ``SELFSTUDY_CACHE``, else ``selfstudy`` in ``XDG_CACHE_HOME``, else in ``~/.cache``.

    Raises:
        EnvironmentFault: no variable names a folder, and the user has no home folder.
    """
    if own := os.environ.get("SELFSTUDY_CACHE"):
        return Path(own)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selfstudy"
    except RuntimeError:
        raise EnvironmentFault("no home folder for a cache\nname a folder: SELFSTUDY_CACHE=FOLDER") from None
