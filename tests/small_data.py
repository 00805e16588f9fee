"""Small data for tests that train, and care little what on."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_corpus(folder: Path) -> Path:
    """Twelve documents of growing length, written into a folder that may exist already."""
    folder.mkdir(exist_ok=True)
    for number in range(12):
        (folder / f"{number}.txt").write_text(f"document {number}: " + "some words of it, " * (20 + number))
    return folder


def write_photos(folder: Path, *, count: int, size: tuple[int, int]) -> Path:
    """Noise of (height, width) in two classes, which the darker of the first two channels tells apart."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        (folder / f"class{number % 2}").mkdir(exist_ok=True)
        image[..., number % 2] //= 2
        Image.fromarray(image).save(folder / f"class{number % 2}" / f"{number:02d}.png")
    return folder
