"""The batch of a step: its images, their crops and the finished views, which are functions of (seed, step).

The same crops are made in one of two ways. Images that fit in memory are cropped as one tensor on the training device;
others are decoded and cropped by worker processes. Colour operations always run on the whole batch on the training
device.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from selfstudy.data.batches import Shard
from selfstudy.data.order import EpochOrder
from selfstudy.errors import DataError
from selfstudy.images.cache import DecodedImages
from selfstudy.images.decode import BadInput, with_channels
from selfstudy.images.sources import Source, read_shrunk
from selfstudy.ops.devices import to_device
from selfstudy.ops.pixels import as_float
from selfstudy.ops.random import fold, uniform
from selfstudy.views.augment import crop, distort, normalize
from selfstudy.views.geometry import crop_boxes, flips, resample_one
from selfstudy.views.spec import Draws, Labels, Spec, View, one_each

_SUBSTITUTES_TRIED = 100


class Crops(NamedTuple):
    """One micro-batch between decoding and colour operations.

    Attributes:
        keys: the random keys (V, B) int64, one for each tensor that the method receives and each sample.
        crops: the crops (B, C, h, w) of each view, uint8 or float32 in [0, 1]; empty if ``images`` is given.
        images: the uncropped images (B, C, H, W) uint8 or float32, if all images are one tensor in memory; else None.
        labels: the classes (B,) int64, if the method asks for them; else None.
        failed: the reasons by position of inputs that could not be read and were replaced by others.
    """

    keys: Tensor
    crops: dict[int, Tensor]
    images: Tensor | None
    labels: Tensor | None
    failed: dict[int, str]


class TrainingData(Dataset[Crops]):
    """Item t is micro-batch ``t % accumulate`` of optimizer step ``t // accumulate``.

    Args:
        order: the positions of each step.
        specs: the tensors that the method receives; tensor v of a sample has the key (seed, epoch, sample, v).
        images: all images in memory, or None to read from ``source``.
        source: the source of the images.
        indices: the number in the source of the image at each position.
        channels: the number of channels that every image must have.
        labels: the classes (N,) int64 by position, if the method asks for them.
        shard: the part of each batch that this process takes.
        side: the shorter side in pixels that images from ``source`` are shrunk to; None reads them whole.

    Raises:
        UsageError: the batch size does not divide by the number of processes and micro-batches.
    """

    def __init__(
        self,
        order: EpochOrder,
        specs: Sequence[Spec],
        *,
        images: DecodedImages | None,
        source: Source,
        indices: list[int],
        channels: int,
        labels: Tensor | None = None,
        shard: Shard = Shard(),  # noqa: B008 - a frozen value
        side: int | None = None,
    ) -> None:
        self.order, self.specs, self.images, self.source, self.indices = order, specs, images, source, indices
        self.channels, self.labels, self.shard, self.side = channels, labels, shard, side
        shard.require_parts(order.batch_size)

    def __getitem__(self, item: int) -> Crops:
        """The crops of micro-batch ``item``, or its images if all images are one tensor in memory.

        Raises:
            DataError: 100 inputs in a row cannot be read.
        """
        epoch, positions = self.shard.part(self.order, item)
        flat = one_each(self.specs)
        numbers = torch.arange(len(flat))[:, None]  # (V, 1)
        keys = fold(self.order.seed, epoch, positions[None, :], numbers)  # (V, B)
        if self.images is not None and self.images.tensor is not None:
            return Crops(keys, {}, self.images.tensor[positions], self._labels_of(positions), {})
        failed: dict[int, str] = {}
        read, images = zip(*(self._read(int(position), failed) for position in positions), strict=True)
        labels = self._labels_of(torch.tensor(read))
        crops = {v: _crop_each(images, spec, keys[v]) for v, spec in enumerate(flat) if isinstance(spec, View)}
        return Crops(keys, crops, None, labels, failed)

    def _labels_of(self, positions: Tensor) -> Tensor | None:
        return None if self.labels is None else self.labels[positions]

    def _read(self, position: int, failed: dict[int, str]) -> tuple[int, Tensor]:
        """The first readable image from a position on, with its own position; the reasons go into ``failed``."""
        if self.images is not None:
            return position, self.images[position]
        for offset in range(_SUBSTITUTES_TRIED):
            candidate = (position + offset) % len(self.indices)
            try:
                image = read_shrunk(self.source, self.indices[candidate], self.side)
                return candidate, with_channels(image, self.channels)
            except BadInput as error:
                failed[candidate] = str(error)
        raise DataError(
            f"{_SUBSTITUTES_TRIED} inputs in a row cannot be read, the first: {failed[position]}\n"
            "is the data folder still mounted? resume with --resume once it is"
        )


def _crop_each(images: Sequence[Tensor], view: View, keys: Tensor) -> Tensor:
    """The random resized crops (B, C, h, w) of images of any sizes."""
    heights = torch.tensor([image.shape[-2] for image in images])
    widths = torch.tensor([image.shape[-1] for image in images])
    boxes = crop_boxes(view, keys, heights, widths)
    triples = zip(images, boxes, flips(view, keys), strict=True)
    return torch.stack([resample_one(image, box, view.size, flip.tolist()) for image, box, flip in triples])


def render(
    crops: Crops, specs: Sequence[Spec], normalization: tuple[list[float], list[float]], device: torch.device
) -> list[Tensor]:
    """The method's inputs for a micro-batch, in the order of the specs, on ``device``.

    Views are (B, C, h, w) float32, normalised; draws (B, count) float32; labels (B,) int64.

    Args:
        crops: the micro-batch.
        specs: the tensors that the method receives.
        normalization: the mean and the standard deviation of each channel, in [0, 1].
        device: the device to compute on.
    """
    images = None if crops.images is None else to_device(crops.images, device)

    def tensor(v: int, spec: Spec) -> Tensor:
        if isinstance(spec, Draws):
            return to_device(uniform(crops.keys[v], spec.count), device)
        if isinstance(spec, Labels):
            assert crops.labels is not None  # a method with this spec has labels
            return to_device(crops.labels, device)
        assert isinstance(spec, View)  # images have no tokens
        keys = crops.keys[v]
        cut = as_float(to_device(crops.crops[v], device)) if images is None else crop(images, spec, keys)
        return normalize(distort(cut, spec, keys), *normalization)

    return [tensor(v, spec) for v, spec in enumerate(one_each(specs))]
