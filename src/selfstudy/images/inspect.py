"""Draws pictures of what the newest checkpoint of a run does with some images."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

from selfstudy import config as cfg
from selfstudy.data.order import EpochOrder
from selfstudy.encoders.attention import last_attention
from selfstudy.encoders.timm import TimmTokenEncoder
from selfstudy.errors import DataError, EnvironmentFault, FileRefusedError, UsageError, first_line
from selfstudy.images.batches import TrainingData, render
from selfstudy.images.cache import DecodedImages
from selfstudy.images.config import ImageRunConfig
from selfstudy.images.decode import with_channels
from selfstudy.images.embedder import Embedder
from selfstudy.images.neighbours import most_used, nearest
from selfstudy.images.opening import open_source
from selfstudy.images.resolve import ImageInputs, inputs_of
from selfstudy.images.sources import Source
from selfstudy.images.work import build_method
from selfstudy.methods import method_class
from selfstudy.methods.base import Method
from selfstudy.ops.pixels import as_float
from selfstudy.ops.random import permutation
from selfstudy.runs.folder import RunFolder
from selfstudy.train.checkpoint import CheckpointStore
from selfstudy.views.geometry import fit
from selfstudy.views.pictures import Cell, denormalised, heat, sheet
from selfstudy.views.preprocess import Preprocessing
from selfstudy.views.presets import changed
from selfstudy.views.spec import Spec

_IMAGES = 5000  # the largest number of images that are embedded
_ROWS, _COLUMNS, _PROTOTYPES = 8, 8, 12
_SMALL_CELL, _LARGE_CELL = 96, 160  # pixels of an image on a sheet
_FILTER_CELL, _FILTER_COLUMNS = 36, 32
_STREAM = 0x706963  # keeps the choice of images apart from other uses of random numbers


class Gallery(NamedTuple):
    """Embedded images.

    Attributes:
        source: the source of the images.
        numbers: the numbers of the images in the source.
        embeddings: the embeddings (N, D) float32.
        preprocessing: the resizing and normalisation of the images.
    """

    source: Source
    numbers: list[int]
    embeddings: Tensor
    preprocessing: Preprocessing

    def image(self, position: int) -> Tensor:
        """The resized image (C, h, w) float32 in [0, 1], before the normalisation."""
        image = with_channels(self.source.read(self.numbers[position]), self.preprocessing.channels)
        return as_float(fit(image, self.preprocessing.size))


def inspect_run(folder: RunFolder, data: object, *, out: Path, console: Console) -> list[Path]:
    """Draw the pictures of a run, one sheet for each subject; return the PNG files.

    Args:
        folder: the run folder.
        data: images, in any form that :func:`selfstudy.images.opening.open_source` opens.
        out: the folder to write into.
        console: the console that shows a line of progress.

    Raises:
        UsageError: the run has no checkpoint, or the data does not exist.
        DataError: fewer than two images could be read.
        EnvironmentFault: the pictures cannot be written.
        FileRefusedError: a checkpoint is damaged.
    """
    method, config, inputs, step = load_method(folder, console)
    which, encoder = method.representation()
    embedder = Embedder(encoder, Preprocessing(inputs.size, inputs.channels, inputs.mean, inputs.std), {})
    method.to(embedder.device)
    gallery = _embedded(embedder, open_source(data))
    console.print(
        f"inspect  {which} of step {step:,} on {len(gallery.numbers):,} of {len(gallery.source):,} images",
        highlight=False,
    )
    shown = permutation(len(gallery.numbers), _STREAM)[:_ROWS]
    with torch.no_grad():
        found = {
            "neighbours": _neighbours(gallery, shown),
            "attention": _attention(embedder, gallery, shown),
            "prototypes": _prototypes(method, embedder, gallery),
            "reconstructions": _reconstructions(
                method, inputs.specs, embedder, gallery, seed=config.train.seed, shown=shown
            ),
        }
    side = _SMALL_CELL if max(inputs.size) <= _SMALL_CELL else _LARGE_CELL
    sheets = {name: sheet(rows, side=side) for name, rows in found.items() if rows}
    if filters := _filters(method):
        sheets["filters"] = sheet(filters, side=_FILTER_CELL)
    return _write(out, sheets)


class LoadedMethod(NamedTuple):
    """The whole method of a checkpoint, in eval mode, with the settings, the inputs and the step of its run."""

    method: Method
    config: ImageRunConfig
    inputs: ImageInputs
    step: int


def load_method(folder: RunFolder, console: Console) -> LoadedMethod:
    """The method of a run's newest checkpoint. The run may be older than a setting of training.

    Raises:
        UsageError: the run has no checkpoint.
        FileRefusedError: the checkpoint is damaged, or does not fit the configuration.
    """
    config = cfg.validate(ImageRunConfig, cfg.read_yaml(folder.config))
    store = CheckpointStore(folder.checkpoints, keep=config.train.keep)
    checkpoint = store.latest()
    for rejected in store.rejected:
        console.print(f"inspect  {rejected}", highlight=False)
    if checkpoint is None:
        raise UsageError(
            f"{folder.path} holds no checkpoint yet\n"
            f"continue: selfstudy pretrain {config.data.path} --out {folder.path} --resume"
        )
    inputs = inputs_of(config, method_class(config.method["name"]))
    method = build_method(config, inputs, fetch=False)
    try:
        checkpoint.load_into(method)
    except RuntimeError as error:
        reason = first_line(error)
        raise FileRefusedError(f"{checkpoint.path}: does not fit {folder.config}: {reason}") from None
    return LoadedMethod(method.eval(), config, inputs, checkpoint.step)


def _embedded(embedder: Embedder, source: Source) -> Gallery:
    """Up to 5,000 images of a source, spread over it by a fixed permutation; unreadable ones are left out."""
    numbers: list[int] = []
    embeddings: list[Tensor] = []
    unreadable: dict[int, str] = {}
    chosen = permutation(len(source), _STREAM)[:_IMAGES].sort().values.tolist()
    for chunk in embedder.of_source(source, chosen):
        unreadable |= chunk.unreadable
        numbers += chunk.indices
        embeddings += [chunk.embeddings] if chunk.indices else []
    if len(numbers) < 2:
        reasons = "".join(f"\n  {source.ids[number]}: {why}" for number, why in list(unreadable.items())[:3])
        raise DataError(
            f"{len(numbers)} of {len(chosen)} images of {source.describe()} could be read, neighbours need 2{reasons}"
        )
    return Gallery(source, numbers, torch.cat(embeddings), embedder.preprocessing)


def _neighbours(gallery: Gallery, shown: Tensor) -> list[list[Cell]]:
    """A row per image: the image, then its nearest images with their cosines."""
    cosines, rows = nearest(gallery.embeddings, shown, min(_COLUMNS, len(gallery.numbers) - 1))
    return [
        [
            Cell(gallery.image(query), "query"),
            *(Cell(gallery.image(row), f"{cosine:.3f}") for row, cosine in zip(near, close, strict=True)),
        ]
        for query, near, close in zip(shown.tolist(), rows.tolist(), cosines.tolist(), strict=True)
    ]


def _attention(embedder: Embedder, gallery: Gallery, shown: Tensor) -> list[list[Cell]]:
    """A row per image: the image, the mean over the heads, and each head; no rows for encoders without attention."""
    if not isinstance(embedder.encoder, TimmTokenEncoder):
        return []
    images = [gallery.image(position) for position in shown.tolist()]
    batch = embedder.preprocessing.prepare_batch(images).to(embedder.device)
    maps = last_attention(embedder.encoder, batch)  # (B, heads, rows, columns)
    if maps is None:
        return []
    return [
        [
            Cell(image, "image"),
            Cell(heat(image, heads.mean(dim=0)), "mean of heads"),
            *(Cell(heat(image, head), f"head {number}") for number, head in enumerate(heads, 1)),
        ]
        for image, heads in zip(images, maps.cpu(), strict=True)
    ]


def _prototypes(method: Method, embedder: Embedder, gallery: Gallery) -> list[list[Cell]]:
    """A row per prototype, the most used first: its best images; no rows for methods without prototypes."""

    def score(part: Tensor) -> Tensor:
        scores = method.prototype_scores(part.to(embedder.device))
        assert scores is not None  # checked below
        return scores.float().cpu()

    if method.prototype_scores(gallery.embeddings[:1].to(embedder.device)) is None:
        return []
    found = most_used(score, gallery.embeddings, prototypes=_PROTOTYPES, images=_COLUMNS)
    return [
        _captioned([gallery.image(row) for row in one.best], f"no. {one.number}, {one.chosen_by:,} images")
        for one in found
    ]


def _captioned(images: Iterable[Tensor], caption: str) -> list[Cell]:
    """The cells of one row; only the first has the caption."""
    return [Cell(image, caption if number == 0 else "") for number, image in enumerate(images)]


def _reconstructions(
    method: Method, specs: Sequence[Spec], embedder: Embedder, gallery: Gallery, *, seed: int, shown: Tensor
) -> list[list[Cell]]:
    """A row per image: the view, then the method's pictures of it; no rows for methods without pictures."""
    mean, std = embedder.preprocessing.mean, embedder.preprocessing.std
    specs = changed(specs, "none")  # whole images in their own colours
    images = DecodedImages([gallery.image(position) for position in shown.tolist()])
    count = len(images)
    data = TrainingData(
        EpochOrder(seed, count, count),
        specs,
        images=images,
        source=gallery.source,
        indices=gallery.numbers,
        channels=embedder.preprocessing.channels,
        labels=torch.zeros(count, dtype=torch.int64),
    )
    views = render(data[0], specs, (mean, std), embedder.device)
    found = method.pictures(views)
    if not found:
        return []
    pictures = {name: denormalised(batch, mean, std).cpu() for name, batch in {"view": views[0], **found}.items()}
    return [[Cell(batch[number], name) for name, batch in pictures.items()] for number in range(count)]


def _filters(method: Method) -> list[list[Cell]]:
    """Rows of the filters of each name, from low to high frequencies; no rows for methods without filters."""
    rows = []
    for name, kernels in method.filters().items():
        scaled = 0.5 + kernels / (2 * kernels.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12))
        tiles = [Cell(tile) for tile in scaled[_frequencies(kernels).argsort()].cpu()]
        tiles[0] = Cell(tiles[0].image, name)
        rows += [tiles[start : start + _FILTER_COLUMNS] for start in range(0, len(tiles), _FILTER_COLUMNS)]
    return rows


def _frequencies(kernels: Tensor) -> Tensor:
    """The mean frequency (K,) of filters (K, C, h, w), in cycles per pixel, weighted by power."""
    power = torch.fft.fft2(kernels).abs().square().sum(dim=1)  # (K, h, w)
    down, across = (torch.fft.fftfreq(length, device=kernels.device) for length in kernels.shape[2:])
    shares = power / power.sum(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    found: Tensor = (shares * torch.hypot(down[:, None], across)).sum(dim=(1, 2))
    return found


def _write(out: Path, sheets: dict[str, Image.Image]) -> list[Path]:
    """Save every sheet as ``NAME.png``.

    Raises:
        EnvironmentFault: the system refuses.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, picture in sheets.items():
            picture.save(out / f"{name}.png")
    except OSError as error:
        raise EnvironmentFault(f"cannot write pictures into {out}: {error.strerror or error}") from None
    return [out / f"{name}.png" for name in sheets]
