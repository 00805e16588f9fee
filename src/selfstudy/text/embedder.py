"""A trained text encoder with its tokenizer: it turns texts into vectors, fills in words, and continues texts."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from selfstudy import config as cfg
from selfstudy.data.embeddings import Rows, list_left_out, write_embeddings
from selfstudy.encoders.text import TextEncoder
from selfstudy.encoders.text_store import load_text_encoder, tokens_begin_with_spaces
from selfstudy.encoders.whitening import load_whitening
from selfstudy.errors import DataError, UsageError, first_line
from selfstudy.machine.devices import embedding_device
from selfstudy.ops.whitening import Whitening
from selfstudy.runs.folder import RunFolder
from selfstudy.text.batches import padded
from selfstudy.text.config import TextDataConfig
from selfstudy.text.documents import Document, Documents, open_documents
from selfstudy.text.generate import next_logits, sample_token
from selfstudy.text.tokenizer import SPELLINGS, plain

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_BATCH = 64
_TEXTS = 1024  # documents that are embedded at once


class Guess(NamedTuple):
    r"""A token that a masked model fills in for a mask.

    Attributes:
        token: the text of the token for one cell of a table, without white space around it; a newline is ``\n``.
        probability: the probability of the token, in [0, 1].
        text: the whole text with the token in place of the mask.
    """

    token: str
    probability: float
    text: str


class TextEmbedder:
    """A text encoder with its tokenizer and the length of its rows.

    Args:
        encoder: the encoder; it is put into eval mode and moved to the device.
        tokenizer: the tokenizer that makes its ids.
        description: facts about the encoder, which are stored in every file made with it.
        device: the device to compute on; by default the accelerator of the machine, or the CPU.
        folder: the ``encoder/`` folder that it was loaded from, if any.
        whitening: the statistics by which every embedding is whitened; None leaves it as it is.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        tokenizer: "Tokenizer",
        description: dict[str, Any],
        *,
        device: torch.device | str | None = None,
        folder: Path | None = None,
        whitening: Whitening | None = None,
    ) -> None:
        self.device = embedding_device(device)
        self.folder, self.whitening = folder, whitening
        self.encoder = encoder.eval().to(self.device)
        self.tokenizer, self.description = plain(tokenizer), description
        self.context = int(description["context"])

    @classmethod
    def load(cls, folder: str | Path, *, device: torch.device | str | None = None) -> "TextEmbedder":
        """The embedder in an ``encoder/`` folder.

        Args:
            folder: the ``encoder/`` folder of a run.
            device: the device to compute on; by default the accelerator of the machine, or the CPU.

        Raises:
            FileRefusedError: the encoder is missing or damaged.
        """
        return cls(*load_text_encoder(Path(folder)), device=device, folder=Path(folder))

    @cached_property
    def whitened(self) -> "TextEmbedder":
        """The same embedder, whose embeddings are whitened by the statistics of its run.

        Raises:
            UsageError: the encoder has no statistics, or was not loaded from a folder.
            FileRefusedError: the statistics are damaged.
        """
        whitening = load_whitening(self.folder, self.description)
        about = self.description | {"embed_dim": whitening.projection.shape[1]}
        arguments = self.encoder, self.tokenizer, about
        return TextEmbedder(*arguments, device=self.device, folder=self.folder, whitening=whitening)

    def embed(self, texts: str | Sequence[str], *, whiten: bool = False) -> np.ndarray:
        """The embeddings (n, D) float32 of texts.

        A text that is longer than a row is cut into pieces; its embedding is their mean, weighted by their lengths.

        Args:
            texts: one text or several.
            whiten: True to whiten the embeddings by the statistics of the run.

        Raises:
            UsageError: one of them is not a string; or the run has no whitening statistics, and the message names the
                command that adds them.
        """
        if whiten:
            return self.whitened.embed(texts)
        given = [texts] if isinstance(texts, str) else list(texts)
        if kinds := [type(text).__name__ for text in given if not isinstance(text, str)]:
            raise UsageError(f"a text encoder embeds strings, got {kinds[0]}")
        return self.of_texts(given).numpy() if given else np.zeros((0, self.description["embed_dim"]), np.float32)

    def of_texts(self, texts: Sequence[str]) -> Tensor:
        """The embeddings (n, D) float32 of ``texts``, at least one, on the CPU; see :meth:`embed`."""
        encoded = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return self.of_ids([text.ids for text in encoded])

    def of_ids(self, texts: Sequence[list[int]]) -> Tensor:
        """The embeddings (n, D) float32 of ``texts``, each as its ids, at least one, on the CPU."""
        pieces = [(number, piece) for number, ids in enumerate(texts) for piece in self._pieces(ids)]
        pieces.sort(key=lambda pair: len(pair[1]))  # rows of the same length need no padding
        sums = torch.zeros(len(texts), self.encoder.embed_dim)
        weights = torch.zeros(len(texts), 1)
        for start in range(0, len(pieces), _BATCH):
            numbers, rows = zip(*pieces[start : start + _BATCH], strict=True)
            lengths = torch.tensor([float(len(row)) for row in rows])[:, None]
            index = torch.tensor(numbers)
            sums.index_add_(0, index, self._encode(rows) * lengths)
            weights.index_add_(0, index, lengths)
        embeddings = sums / weights
        return embeddings if self.whitening is None else self.whitening.apply(embeddings)

    def _pieces(self, ids: list[int]) -> Iterator[Tensor]:
        """The ids of a text as rows (T,) int64 with their first and last id, none longer than the context."""
        rest, (before, after) = torch.tensor(ids, dtype=torch.int64), self.frame
        for piece in torch.split(rest, self.room) if len(rest) else [rest]:
            yield torch.cat([torch.tensor(before), piece, torch.tensor(after, dtype=torch.int64)]).long()

    @property
    def frame(self) -> tuple[list[int], list[int]]:
        """The ids that every row begins with, and those that it ends with."""
        special = self.encoder.vocabulary
        first = special.eos if self.encoder.causal else special.cls
        last = None if self.encoder.causal else special.sep
        return [] if first is None else [first], [] if last is None else [last]

    @property
    def room(self) -> int:
        """The largest number of tokens of a text in one row."""
        before, after = self.frame
        return self.context - len(before) - len(after)

    def _encode(self, rows: Sequence[Tensor]) -> Tensor:
        """The embeddings (n, D) float32 of rows, on the CPU and without a graph."""
        with torch.inference_mode():
            return encode_rows(self.encoder, rows).float().cpu()

    def first_rows(self, texts: Sequence[str]) -> list[Tensor]:
        """The first row (T,) int64 of each of ``texts``; the rest of a longer text is left out."""
        encoded = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [next(self._pieces(text.ids[: self.room])) for text in encoded]

    def fill(self, text: str, *, top: int = 5) -> list[list[Guess]]:
        """The most probable tokens for every mask of a text, best first.

        Args:
            text: a text with one or several ``[MASK]``.
            top: the largest number of guesses for each mask, at least 1; a vocabulary may have fewer tokens.

        Raises:
            UsageError: the text has no mask or is too long, ``top`` is below 1, or the encoder cannot fill in masks.
        """
        if top < 1:
            raise UsageError(f"top {top} asks for no guesses\ngive 1 or more")
        mask = self.encoder.vocabulary.mask
        if self.encoder.causal or mask is None or not self.description["head"]:
            raise UsageError(
                "filling in masks needs a run of bert\n'selfstudy complete' continues a text with a run of gpt"
            )
        parts = _at_masks(text)
        if len(parts) < 2:
            raise UsageError(f'{text!r} has no [MASK]\nwrite: selfstudy fill RUN "Paris is the [MASK] of France"')
        ids: list[int] = []
        spaced = tokens_begin_with_spaces(self.tokenizer)
        for number, part in enumerate(parts):
            # Where tokens begin with a space, the space before a mask belongs to the token that is filled in.
            given = part.removesuffix(" ") if number < len(parts) - 1 and spaced else part
            ids += [mask] * (number > 0) + self.tokenizer.encode(given, add_special_tokens=False).ids
        if len(ids) > self.room:
            raise UsageError(
                f"the text has {len(ids)} tokens, a row of the encoder has room for {self.room}\ngive a shorter text"
            )
        row = next(self._pieces(ids))
        with torch.inference_mode():
            states = self.encoder.states(row[None].to(self.device))[0]
            chances = self.encoder.logits(states[row == mask]).float().softmax(dim=1).cpu()  # (M, V)
        return [self._guesses(parts, place, row, top) for place, row in enumerate(chances)]

    def _guesses(self, parts: list[str], place: int, chances: Tensor, top: int) -> list[Guess]:
        found = []
        best = chances.topk(min(top, len(chances)))
        for probability, number in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            token = self.tokenizer.decode([number], skip_special_tokens=False)
            before, after = "[MASK]".join(parts[: place + 1]), "[MASK]".join(parts[place + 1 :])
            before = before.removesuffix(" ") if token.startswith(" ") else before
            found.append(Guess(_printable_token(token.strip() or token), probability, f"{before}{token}{after}"))
        return found

    def complete(
        self,
        prompt: str,
        *,
        tokens: int = 100,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float | None = 0.95,
        seed: int = 0,
    ) -> str:
        """The prompt and its continuation by a causal model, up to the end of the document.

        Args:
            prompt: the beginning of the text; it may be empty.
            tokens: the largest number of tokens that are added, at least 1.
            temperature: divides the logits; 0 takes the most probable token each time.
            top_k: the number of most probable tokens to draw from; None for all.
            top_p: the probability that the tokens to draw from sum to, in (0, 1]; None for all.
            seed: the seed of the random numbers.

        Raises:
            UsageError: the encoder is not causal, or a setting is out of its range.
        """
        from transformers import DynamicCache  # takes a second to import

        eos = self.encoder.vocabulary.eos
        if not self.encoder.causal or eos is None:
            raise UsageError(
                "continuing a text needs a run of gpt\n'selfstudy fill' fills in [MASK] with a run of bert"
            )
        if tokens < 1:
            raise UsageError(f"tokens {tokens} asks for no continuation\ngive 1 or more")
        generator, ids = torch.Generator().manual_seed(seed), [eos]
        ids += self.tokenizer.encode(prompt, add_special_tokens=False).ids
        begun = len(ids)
        cache = DynamicCache()
        for _ in range(tokens):
            with torch.inference_mode():
                logits = next_logits(self.encoder, ids, self.context, cache=cache)
            drawn = sample_token(logits, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator)
            if drawn == eos:
                break
            ids.append(drawn)
        return (
            prompt + str(self.tokenizer.decode(ids[1:], skip_special_tokens=False))[len(self._decoded(ids[1:begun])) :]
        )

    def _decoded(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False))


def encode_rows(encoder: TextEncoder, rows: Sequence[Tensor]) -> Tensor:
    """The embeddings (n, D) of rows of ids (T,), in one pass if they can be padded."""
    pad = encoder.vocabulary.pad
    if pad is None and len({len(row) for row in rows}) > 1:  # padding could not be told from text
        return torch.cat([encode_rows(encoder, [row]) for row in rows])
    embedding: Tensor = encoder(padded(rows, 0 if pad is None else pad).to(encoder.starts_word.device))
    return embedding


def _printable_token(token: str) -> str:
    r"""The token, escaped if it holds characters that cannot be printed on one line.

    >>> _printable_token("ball"), _printable_token("\n")
    ('ball', '\\n')
    """
    return token if token.isprintable() else repr(token)[1:-1]


def _at_masks(text: str) -> list[str]:
    """The parts of a text between its masks."""
    for name in SPELLINGS["mask"][1:]:
        text = text.replace(name, "[MASK]")
    return text.split("[MASK]")


def documents_as_for(run: str | Path, data: Any, console: Console) -> Documents:
    """The documents of data, read by the rule and the column of the run, if the data fits them.

    Args:
        run: the run folder, or an ``encoder/`` folder by itself.
        data: the data, in any form that :func:`selfstudy.text.documents.open_documents` opens.
        console: the console that shows if the data was read in another way.
    """
    file = RunFolder(run).config
    if not file.is_file():  # an encoder/ folder without a run
        return open_documents(data)
    config = cfg.validate(TextDataConfig, cfg.read_yaml(file).get("data", {}), "data")
    try:
        return open_documents(data, rule=config.documents, column=config.column or "auto")
    except UsageError as error:
        found = open_documents(data)
        console.print(f"data     not read as in the run: {first_line(error)}", highlight=False)
        return found


def embed_texts(embedder: TextEmbedder, documents: Documents, out: Path, console: Console) -> int:
    """Write one embedding per document that is not blank; return the number of rows.

    Raises:
        DataError: no document could be embedded.
    """
    blank: list[tuple[str, str]] = []

    def texts() -> Iterator[Document]:
        for document in documents.with_blank():
            if document.text.strip():
                yield document
            else:
                blank.append((document.id, "blank"))

    def rows() -> Iterable[Rows]:
        rest = texts()
        while chunk := list(islice(rest, _TEXTS)):
            names = [document.id for document in chunk]
            yield names, names, embedder.of_texts([document.text for document in chunk]), None

    pooling = f"{embedder.encoder.pool} over tokens, not normalised"
    metadata = {
        "encoder": embedder.description,
        "pooling": pooling,
        "whitened": embedder.whitening is not None,
        "source": documents.describe(),
    }
    written = write_embeddings(out, rows(), metadata=metadata)
    listed = [(problem.path, f"at byte {problem.offset:,}: {problem.reason}") for problem in documents.problems]
    unlisted = documents.problem_count - len(listed)
    errors = list_left_out(out, listed + blank, unlisted=unlisted, console=console)
    if written == 0:
        raise DataError(f"no text of {documents.describe()} could be read; the reasons are in {errors}")
    return written
