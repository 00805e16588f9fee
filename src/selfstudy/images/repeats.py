"""Images that stand in two sets, such as train and test."""

import hashlib
from collections.abc import Iterator

from torch import Tensor

from selfstudy.images.decode import BadInput
from selfstudy.images.scan import Scan
from selfstudy.images.sources import Source


def count_repeated(train: tuple[Source, Scan], test: tuple[Source, Scan]) -> int:
    """The number of test images that also stand in train.

    Images in memory are compared by their pixels. Others are compared by the bytes of their files.
    Copies that were saved or resized again are not found.
    """
    decoded = train[1].images is not None and test[1].images is not None
    known = set(_digests(*train, decoded=decoded))
    return sum(digest in known for digest in _digests(*test, decoded=decoded))


def _digests(source: Source, scan: Scan, *, decoded: bool) -> Iterator[bytes]:
    """The digest of each usable image, of its pixels or of its file."""
    for position, index in enumerate(scan.good.tolist()):
        if decoded and scan.images is not None:
            yield _of_pixels(scan.images[position])
            continue
        try:
            content = source.encoded(index)
            yield _of_pixels(source.read(index)) if content is None else hashlib.sha256(content).digest()
        except BadInput:  # the evaluation leaves it out as well
            continue


def _of_pixels(image: Tensor) -> bytes:
    """The digest of an image (C, H, W): its shape, its type and its pixels."""
    pixels = image.contiguous().numpy()
    return hashlib.sha256(f"{pixels.shape} {pixels.dtype}".encode() + pixels.tobytes()).digest()
