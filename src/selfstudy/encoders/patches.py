"""Whitened patches of the data as filters: an encoder without layers to train.

Every patch of an image is normalised to its own mean and contrast, compared with filters, and the responses beyond a
threshold are averaged over the cells of a grid; responses of both signs count. Several working sizes see fields of
several widths. A linear map then standardises all these features and keeps their principal components, whitened.
Sources: Coates and Ng 2011, PMLR 15:215 (whitened patches, soft threshold, pooling over a grid); Thiry et al. 2021,
arXiv:2101.07528 (the patches themselves as filters). Two differences: the sums of each filter and its mirror image are
added, so that an image and its mirror image have the same features, and the map is ours.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn

from selfstudy.errors import UsageError, first_line
from selfstudy.ops.random import fold
from selfstudy.views.augment import crop
from selfstudy.views.spec import View

if TYPE_CHECKING:
    from selfstudy.encoders.timm import EncoderSpec


_MOST_FEATURES = 65_536  # their covariance has 17 GB
_CROP_STREAM = 0x63726F70
_IN_CACHE = 4  # images for each thread of a processor whose responses stay in its cache: 3 to 4 times faster than 64
AT_ONCE = 64
"""Images whose responses are in memory at the same time on a GPU."""


class PatchSettings(BaseModel):
    """The shape of a :class:`PatchNetwork`; files that hold anything else are refused.

    Attributes:
        sizes: the longer side of the image in pixels, for each working size.
        filters: the number of filters at each working size; even if ``mirror``.
        patch: the side of a patch in pixels.
        grid: the number of cells per side over which responses are averaged.
        dimensions: the length D of the embedding.
        mirror: True if an image and its mirror image have the same features.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sizes: tuple[int, ...] = Field(min_length=1, max_length=8)
    filters: tuple[int, ...] = Field(min_length=1, max_length=8)
    patch: int = Field(ge=2, le=64)
    grid: int = Field(ge=1, le=16)
    dimensions: int = Field(ge=1, le=65_536)
    mirror: bool

    @model_validator(mode="after")
    def _is_consistent(self) -> "PatchSettings":
        sizes, filters, least = list(self.sizes), list(self.filters), self.patch + self.grid - 1
        if len(sizes) != len(filters):
            raise UsageError(f"method.filters={filters}, method.sizes={sizes}\ngive as many filters as sizes")
        if min(sizes) < least:
            raise UsageError(
                f"method.sizes={sizes}: patches of {self.patch} px need at least {least} px a side\n"
                "use larger images, or lower method.patch and method.grid"
            )
        if self.mirror and any(count % 2 for count in filters) or min(filters) < 1:
            raise UsageError(f"method.filters={filters}\ngive positive numbers, even ones with method.mirror")
        if not self.dimensions <= self.features <= _MOST_FEATURES:
            raise UsageError(
                f"method.filters={filters} give {self.features:,} features, method.dimensions={self.dimensions:,}\n"
                f"use at most {_MOST_FEATURES:,} features, and no more dimensions than features"
            )
        return self

    @property
    def features(self) -> int:
        """The number of features before the linear map: two signs, each filter or mirrored pair, each cell."""
        kinds = sum(count // 2 if self.mirror else count for count in self.filters)
        return 2 * kinds * self.grid**2


class PatchScale(nn.Module):
    """The filters of one working size.

    Args:
        image_size: the (height, width) of the images in pixels.
        channels: the number C of channels.
        longer: the longer side of the working size in pixels.
        filters: the number K of filters.
        settings: the patch, the grid and the mirroring.
    """

    kernels: Tensor
    means: Tensor
    contrast: Tensor
    rows: Tensor
    columns: Tensor
    pooling: Tensor

    def __init__(
        self, image_size: tuple[int, int], channels: int, *, longer: int, filters: int, settings: PatchSettings
    ) -> None:
        super().__init__()
        patch = settings.patch
        self.size = working_size(image_size, longer)
        self.grid, self.mirror = settings.grid, settings.mirror
        kept = filters // 2 if self.mirror else filters  # the mirror images of the kernels are made when they are used
        self.register_buffer("kernels", torch.zeros(kept, channels, patch, patch))  # in units of the threshold
        self.register_buffer("means", torch.zeros(kept))  # the responses to the mean patch
        self.register_buffer("contrast", torch.ones(()))  # added to the variance of a patch
        self.register_buffer("rows", resampling(image_size[0], self.size[0]), persistent=False)
        self.register_buffer("columns", resampling(image_size[1], self.size[1]), persistent=False)
        cells = [averaging(side - patch + 1, self.grid) for side in self.size]
        self.register_buffer("pooling", torch.kron(*cells).T.contiguous(), persistent=False)  # (h * w, g * g)

    def resized(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) at the working size, (B, C, h, w)."""
        if images.shape[-2:] == self.size:
            return images
        return self.rows @ images @ self.columns.T  # (h, H) @ (B, C, H, W) @ (W, w)

    def responses(self, images: Tensor) -> Tensor:
        """The responses (B, K, h, w) of the filters to every patch of images (B, C, H, W) of the working size."""
        kernels, means = self.kernels, self.means
        if self.mirror:
            kernels, means = torch.cat([kernels, kernels.flip(3)]), torch.cat([means, means])
        box = torch.full_like(kernels[:1], 1 / kernels[0].numel())
        mean = F.conv2d(images, box)
        variance = (F.conv2d(images.square(), box) - mean.square()).clamp(min=0)
        answers = F.conv2d(images.contiguous(memory_format=torch.channels_last), kernels)
        return answers.mul_((variance + self.contrast).rsqrt()).sub_(means[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """The features (B, F) of images (B, C, H, W) of any size that the scale was made for."""
        beyond = F.softshrink(self.responses(self.resized(images)), 1.0).flatten(2)  # (B, K, h * w)
        sums = torch.stack([beyond @ self.pooling, beyond.abs() @ self.pooling], dim=1)  # (B, 2, K, g * g)
        grid = sums.reshape(*sums.shape[:3], self.grid, self.grid)
        if self.mirror:
            kernels, mirrored = grid.chunk(2, dim=2)
            grid = (kernels + mirrored.flip(4)) / 2
        return grid.flatten(1)


class PatchNetwork(nn.Module):
    """The network of :mod:`selfstudy.methods.patches`: from images (B, C, H, W) to whitened features (B, D).

    Args:
        spec: the image size, the channels, and in ``settings`` what :class:`PatchSettings` holds.

    Raises:
        UsageError: the settings are not those of such a network.
    """

    mean: Tensor
    projection: Tensor

    def __init__(self, spec: "EncoderSpec") -> None:
        super().__init__()
        settings = _settings(spec)
        _require_whole_patches(spec, settings)
        self.scales = nn.ModuleList(
            PatchScale(spec.image_size, spec.channels, longer=size, filters=filters, settings=settings)
            for size, filters in zip(settings.sizes, settings.filters, strict=True)
        )
        self.embed_dim = settings.dimensions
        self.register_buffer("mean", torch.zeros(settings.features))
        self.register_buffer("projection", torch.zeros(settings.features, settings.dimensions))

    def working_sizes(self) -> list[PatchScale]:
        """The filters of every working size."""
        return [scale for scale in self.scales if isinstance(scale, PatchScale)]

    def features(self, images: Tensor) -> Tensor:
        """All features (B, F) float32 of normalised images (B, C, H, W)."""
        at_once = _IN_CACHE * torch.get_num_threads() if images.device.type == "cpu" else AT_ONCE
        parts = [images] if torch.compiler.is_exporting() else torch.split(images, at_once)
        return torch.cat([torch.cat([scale(part).float() for scale in self.working_sizes()], dim=1) for part in parts])

    def pairs(self, batches: Iterable[Tensor], *, seed: int) -> tuple[Tensor, Tensor]:
        """The features (n, F), minus :attr:`mean`, of two random crops of every image.

        Args:
            batches: normalised images (B, C, H, W).
            seed: decides the crops, which keep 60 to 100 % of the area.
        """
        found: tuple[list[Tensor], list[Tensor]] = ([], [])
        for number, images in enumerate(batches):
            view = View((images.shape[2], images.shape[3]), scale=(0.6, 1.0), flip=0.0)
            for which, features in enumerate(found):
                keys = fold(seed, _CROP_STREAM, number, which, torch.arange(len(images)))
                features.append(self.features(crop(images, view, keys)) - self.mean)
        return torch.cat(found[0]), torch.cat(found[1])

    def forward(self, images: Tensor) -> Tensor:
        """The embeddings (B, D) of normalised images (B, C, H, W)."""
        return (self.features(images) - self.mean) @ self.projection


def _settings(spec: "EncoderSpec") -> PatchSettings:
    if spec.settings is None:
        raise UsageError(
            f"encoder {spec.name!r} is solved, so its shape comes from its method\n"
            "use --method patches, or another encoder"
        )
    try:
        return PatchSettings.model_validate(dict(spec.settings))
    except ValidationError as error:
        raise UsageError(
            f"encoder {spec.name!r} is made by --method patches, which decides its shape: {first_line(error)}"
        ) from None


def _require_whole_patches(spec: "EncoderSpec", settings: PatchSettings) -> None:
    """Refuse images whose shorter side holds too few patches.

    Raises:
        UsageError: naming the size.
    """
    least = settings.patch + settings.grid - 1
    for longer in settings.sizes:
        height, width = working_size(spec.image_size, longer)
        if min(height, width) < least:
            raise UsageError(
                f"images of {spec.image_size[0]}x{spec.image_size[1]} px become {height}x{width}, "
                f"patches of {settings.patch} px need at least {least} a side\n"
                "set data.image_size to a square, such as 32, or lower method.patch and method.grid"
            )


def working_size(image_size: Sequence[int], longer: int) -> tuple[int, int]:
    """The (height, width) of images whose longer side becomes ``longer`` pixels.

    >>> working_size((64, 48), 32), working_size((28, 28), 28)
    ((32, 24), (28, 28))
    """
    height, width = image_size
    scale = longer / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resampling(length: int, short: int) -> Tensor:
    """The matrix (short, length) that resamples a row of pixels linearly, smoothed first where it becomes shorter."""
    identity = torch.eye(length)[None, None]
    return F.interpolate(identity, (short, length), mode="bilinear", antialias=True, align_corners=False)[0, 0]


def averaging(length: int, cells: int) -> Tensor:
    """The matrix (cells, length) of means over cells, cut as :func:`torch.nn.functional.adaptive_avg_pool1d` does.

    >>> averaging(3, 2)
    tensor([[0.5000, 0.5000, 0.0000],
            [0.0000, 0.5000, 0.5000]])
    """
    return F.adaptive_avg_pool1d(torch.eye(length)[None], cells)[0].T
