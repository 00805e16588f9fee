"""Make src/selfstudy/images/samples/fashion.npz from the four idx files of Fashion-MNIST.

::

    python scripts/make_sample.py /usr/share/datasets/fashion-mnist src/selfstudy/images/samples/fashion.npz

The sample has the first 1,000 training and 250 test images of each class, in the order of the original files.
"""

import gzip
import sys
from pathlib import Path

import numpy as np

CLASSES = ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
PER_CLASS = {"train": 1000, "t10k": 250}


def read_idx(path: Path) -> np.ndarray:
    """Return the array of an idx file. Its header has two zero bytes, the type, the rank and the big-endian sizes."""
    content = gzip.decompress(path.read_bytes())
    rank = content[3]
    shape = np.frombuffer(content, ">i4", count=rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def subset(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images and labels of the first ``PER_CLASS[part]`` images of every class."""
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
    chosen = np.sort(np.concatenate([np.flatnonzero(labels == c)[: PER_CLASS[part]] for c in range(len(CLASSES))]))
    return images[chosen], labels[chosen]


def main() -> None:
    """Write the archive named on the command line."""
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    train_images, train_labels = subset(folder, "train")
    test_images, test_labels = subset(folder, "t10k")
    np.savez_compressed(
        out,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        class_names=np.array(CLASSES),
    )
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {len(train_images)} train, {len(test_images)} test")


if __name__ == "__main__":
    main()
