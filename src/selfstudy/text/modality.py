"""Text as a :class:`selfstudy.runs.modality.Modality`. Imports torch only when a method is called."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from selfstudy.errors import UsageError
from selfstudy.runs.folder import RunFolder
from selfstudy.text.config import TextRunConfig

if TYPE_CHECKING:
    from selfstudy.probes.evaluation import Evaluation, Question
    from selfstudy.text.embedder import TextEmbedder
    from selfstudy.text.work import TextWork


class TextModality:
    """The modality of text."""

    name = "text"
    settings = TextRunConfig

    def open(self, data: object, config: Any, console: Console) -> "TextWork":
        """Open a corpus to pretrain on; it is tokenised the first time."""
        from selfstudy.text.work import TextWork  # transformers takes a second to import

        return TextWork(data, config, console)

    def holds(self, folder: Path) -> bool:
        """True if :mod:`selfstudy.encoders.text_store` wrote the folder."""
        from selfstudy.encoders.text_store import FACTS

        return (folder / FACTS).is_file()

    def load(self, folder: Path, *, device: str | None = None) -> "TextEmbedder":
        """The embedder in an ``encoder/`` folder."""
        from selfstudy.text.embedder import TextEmbedder

        return TextEmbedder.load(folder, device=device)

    def whitened(self, embedder: "TextEmbedder") -> "TextEmbedder":
        """The same embedder, whose embeddings are whitened by the statistics in its folder."""
        return embedder.whitened

    def whiten(self, folder: Path, run: Path, data: object, console: Console) -> int:
        """Add whitening statistics of documents to an encoder; return the number of texts."""
        from selfstudy.text.whitening import whiten_by_data

        return whiten_by_data(folder, run, data, console)

    def embed(self, embedder: "TextEmbedder", run: Path, data: object, out: Path, console: Console) -> int:
        """Write one embedding per document as Parquet; return the number of rows."""
        from selfstudy.text.embedder import documents_as_for, embed_texts

        return embed_texts(embedder, documents_as_for(run, data, console), out, console)

    def evaluation(self, folder: RunFolder, question: "Question", console: Console) -> "Evaluation":
        """The evaluation on labelled texts, or on scored pairs of sentences."""
        from selfstudy.text.evaluate import open_evaluation

        return open_evaluation(folder, question, console)

    def inspect(self, folder: RunFolder, data: object, *, out: Path, console: Console) -> list[Path]:
        """Raise, because there are no pictures for text.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{folder.path} is a run on text, and what is drawn here is of images")
