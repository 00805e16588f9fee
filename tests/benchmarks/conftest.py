"""Fixtures for the tests of the benchmark programs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def data(tmp_path):
    """Noise images of two brightnesses, one per class: 12 train and 4 test images of each class."""
    random = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for level, name in enumerate(("dark", "light")):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(100 * level, 100 * level + 100, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "data"
