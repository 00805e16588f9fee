"""A small corpus for tests that train on text and look at no word of it."""

from pathlib import Path


def write_corpus(folder: Path) -> Path:
    """Twelve documents of growing length, written into a folder that may exist already."""
    folder.mkdir(exist_ok=True)
    for number in range(12):
        (folder / f"{number}.txt").write_text(f"document {number}: " + "some words of it, " * (20 + number))
    return folder
