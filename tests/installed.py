"""Packages as pip installs them, for tests of entry points."""

from collections.abc import Mapping
from pathlib import Path


def install(folder: Path, name: str, version: str, groups: Mapping[str, Mapping[str, str]]) -> Path:
    """Write the metadata of a package into a folder, with the entry points of each group, and return their file."""
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    file = about / "entry_points.txt"
    parts = (f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in groups.items())
    file.write_text("\n".join(parts), encoding="utf-8")
    return file
