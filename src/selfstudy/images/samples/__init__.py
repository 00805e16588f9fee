"""Data sets that come with the package or with scikit-learn: no download is needed."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selfstudy.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from selfstudy.images.arrays import ArrayImages

_FOLDER = Path(__file__).parent
_KNOWN = {
    "fashion": "Fashion-MNIST subset: 10,000 train and 2,500 test images of clothes, 28x28 gray, 10 classes (MIT)",
    "digits": "scikit-learn's handwritten digits: 1,437 train and 360 test images, 8x8 gray, 10 classes",
}
_TEST_EVERY = 5


def samples() -> dict[str, str]:
    """The description of every sample by its name."""
    return dict(_KNOWN)


def open_sample(name: str, *, labels: bool, split: str | None) -> "ArrayImages":
    """The images of ``sample:NAME``; the train part if ``split`` is None.

    Raises:
        UsageError: the sample is unknown.
    """
    from selfstudy.images.arrays import from_npz  # imports torch, which the list of samples can do without

    if name not in _KNOWN:
        raise UsageError(f"unknown sample {name!r}{did_you_mean(name, _KNOWN)}\nknown: {', '.join(_KNOWN)}")
    if name == "digits":
        return from_npz(_digits(), what="sample:digits", labels=labels, split=split)
    with np.load(_FOLDER / "fashion.npz", allow_pickle=False) as loaded:
        return from_npz(loaded, what="sample:fashion", labels=labels, split=split)


def _digits() -> dict[str, np.ndarray]:
    """scikit-learn's digits, scaled from 0..16 to 0..255; every fifth image is in the test part."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    images = np.round(loaded.images * (255 / 16)).astype(np.uint8)
    test = np.arange(len(images)) % _TEST_EVERY == _TEST_EVERY - 1
    return {
        "train_images": images[~test],
        "train_labels": loaded.target[~test],
        "test_images": images[test],
        "test_labels": loaded.target[test],
    }
