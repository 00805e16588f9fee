"""Images, as :class:`selfstudy.runs.modality.Modality` describes a kind of data. Loads torch only when it is used."""

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
    """Images."""

    name = "images"
    settings = ImageRunConfig

    def open(self, data: Any, config: Any, console: Console) -> "ImageWork":
        """See :class:`selfstudy.runs.modality.Modality`."""
        from selfstudy.images.work import ImageWork

        return ImageWork(data, config, console)

    def holds(self, folder: Path) -> bool:
        """True if :mod:`selfstudy.encoders.store` wrote the folder."""
        from selfstudy.encoders.store import holds_encoder

        return holds_encoder(folder)

    def load(self, folder: Path, *, device: str | None = None) -> "Embedder":
        """See :class:`selfstudy.runs.modality.Modality`."""
        from selfstudy.images.embedder import Embedder

        return Embedder.load(folder, device=device)

    def embed(self, embedder: "Embedder", run: Path, data: Any, out: Path, console: Console) -> int:
        """See :class:`selfstudy.runs.modality.Modality`."""
        from selfstudy.images.embedder import embed_images
        from selfstudy.images.opening import open_source

        return embed_images(embedder, open_source(data), out, console)

    def evaluation(self, folder: RunFolder, question: "Question", console: Console) -> "Evaluation":
        """See :class:`selfstudy.runs.modality.Modality`."""
        from selfstudy.images.evaluate import open_evaluation

        return open_evaluation(folder, question, console)

    def inspect(self, folder: RunFolder, data: Any, *, out: Path, console: Console) -> list[Path]:
        """See :class:`selfstudy.runs.modality.Modality`."""
        from selfstudy.images.inspect import inspect_run

        return inspect_run(folder, data, out=out, console=console)
