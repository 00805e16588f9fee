"""Text, as :class:`selfstudy.runs.modality.Modality` describes a kind of data. Loads torch only when it is used."""

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
    """Text."""

    name = "text"
    settings = TextRunConfig

    def open(self, data: Any, config: Any, console: Console) -> "TextWork":
        """See :class:`selfstudy.runs.modality.Modality`."""
        from selfstudy.text.work import TextWork  # transformers takes a second to import

        return TextWork(data, config, console)

    def holds(self, folder: Path) -> bool:
        """True if :mod:`selfstudy.encoders.text_store` wrote the folder."""
        from selfstudy.encoders.text_store import FACTS

        return (folder / FACTS).is_file()

    def load(self, folder: Path, *, device: str | None = None) -> "TextEmbedder":
        """See :class:`selfstudy.runs.modality.Modality`."""
        from selfstudy.text.embedder import TextEmbedder

        return TextEmbedder.load(folder, device=device)

    def embed(self, embedder: "TextEmbedder", run: Path, data: Any, out: Path, console: Console) -> int:
        """See :class:`selfstudy.runs.modality.Modality`."""
        from selfstudy.text.embedder import documents_as_for, embed_texts

        return embed_texts(embedder, documents_as_for(run, data, console), out, console)

    def evaluation(self, folder: RunFolder, question: "Question", console: Console) -> "Evaluation":
        """See :class:`selfstudy.runs.modality.Modality`."""
        from selfstudy.text.evaluate import open_evaluation

        return open_evaluation(folder, question, console)

    def inspect(self, folder: RunFolder, data: Any, *, out: Path, console: Console) -> list[Path]:
        """Refuse: nothing is drawn of text.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{folder.path} is a run on text, and what is drawn here is of images")
