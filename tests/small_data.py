"""Small data for tests that need to train on some data."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_corpus(folder: Path) -> Path:
    """Write twelve documents of growing length into a folder, which may already exist."""
    folder.mkdir(exist_ok=True)
    for number in range(12):
        (folder / f"{number}.txt").write_text(f"document {number}: " + "some words of it, " * (20 + number))
    return folder


def write_photos(folder: Path, *, count: int, size: tuple[int, int]) -> Path:
    """Write noise images of (height, width) in two classes: in class 0 the first channel is darker, in 1 the second."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        (folder / f"class{number % 2}").mkdir(exist_ok=True)
        image[..., number % 2] //= 2
        Image.fromarray(image).save(folder / f"class{number % 2}" / f"{number:02d}.png")
    return folder
