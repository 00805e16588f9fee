"""Images as a :class:`selfstudy.runs.modality.Modality`. Imports torch only when a method is called."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from selfstudy.images.config import ImageRunConfig
from selfstudy.runs.folder import RunFolder

if TYPE_CHECKING:
    from selfstudy.images.embedder import Embedder
    from selfstudy.images.work import ImageWork
    from selfstudy.probes.evaluation import Evaluation, Question


class ImageModality:
    """The modality of images."""

    name = "images"
    settings = ImageRunConfig

    def open(self, data: object, config: Any, console: Console) -> "ImageWork":
        """Open and scan images to pretrain on."""
        from selfstudy.images.work import ImageWork

        return ImageWork(data, config, console)

    def holds(self, folder: Path) -> bool:
        """True if :mod:`selfstudy.encoders.store` wrote the folder."""
        from selfstudy.encoders.store import holds_encoder

        return holds_encoder(folder)

    def load(self, folder: Path, *, device: str | None = None) -> "Embedder":
        """The embedder in an ``encoder/`` folder."""
        from selfstudy.images.embedder import Embedder

        return Embedder.load(folder, device=device)

    def whitened(self, embedder: "Embedder") -> "Embedder":
        """The same embedder, whose embeddings are whitened by the statistics in its folder."""
        return embedder.whitened

    def whiten(self, folder: Path, run: Path, data: object, console: Console) -> int:
        """Add whitening statistics of images to an encoder; return their number."""
        from selfstudy.images.whitening import whiten_by_data

        return whiten_by_data(folder, data, console)

    def embed(self, embedder: "Embedder", run: Path, data: object, out: Path, console: Console) -> int:
        """Write one embedding per readable image as Parquet; return the number of rows."""
        from selfstudy.images.embedder import embed_images
        from selfstudy.images.opening import open_source

        return embed_images(embedder, open_source(data), out, console)

    def evaluation(self, folder: RunFolder, question: "Question", console: Console) -> "Evaluation":
        """The evaluation on labelled images."""
        from selfstudy.images.evaluate import open_evaluation

        return open_evaluation(folder, question, console)

    def inspect(self, folder: RunFolder, data: object, *, out: Path, console: Console) -> list[Path]:
        """Draw pictures of what a run has learnt; return the files."""
        from selfstudy.images.inspect import inspect_run

        return inspect_run(folder, data, out=out, console=console)
