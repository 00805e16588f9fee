"""Writing a token store: documents are tokenised once, and a killed build goes on where its last shard ended."""

import hashlib
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from selfstudy.disk.atomic import replace_file
from selfstudy.errors import DataError, EnvironmentFault, FileRefusedError, UsageError
from selfstudy.text.documents import Document
from selfstudy.text.token_store import (
    COUNTS,
    MANIFEST,
    Ids,
    Manifest,
    StoredFile,
    TokenStore,
    opened,
    problem,
    read_manifest,
    shard_name,
)
from selfstudy.text.tokenizer import (
    cut_between_words,
    digest,
    hash_fraction,
    may_cut_between_words,
    plain,
    require,
    roles,
    vocabulary_size,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SHARD = r"(train|heldout)-\d{5,}\.bin"
# A kill leaves ".NAME.tmp-PID"; earlier versions left "NAME.tmp".
_OURS = re.compile(rf"{_SHARD}(\.tmp)?|counts\.bin|\.({_SHARD}|counts\.bin)\.tmp-\d+")
_BATCH_CHARACTERS = 2**19  # encoding takes some hundred bytes of memory for a character
_BATCH_DOCUMENTS = 4096  # and some for each text, however short
_PIECE_CHARACTERS = 2**16  # of a long text: what the library's threads share out among them is whole pieces


def build_store(
    documents: Iterable[Document],
    tokenizer: "Tokenizer",
    folder: str | Path,
    *,
    fingerprint: str,
    held_out: float = 0.05,
    held_out_documents: Iterable[Document] | None = None,
    shard_tokens: int = 2**24,
) -> TokenStore:
    """The store of a corpus: opened where it is finished, continued where a build was cut off, else built.

    However often a build is cut off, the files come out byte for byte the same. A store of another corpus, tokenizer or
    split, or a damaged one, is replaced; files with names that are not of a store are left alone.

    Args:
        documents: can be iterated more than once, always in one order; memory holds a batch of them.
        tokenizer: any with an entry for the end of text; used through :func:`~selfstudy.text.tokenizer.plain`.
        folder: made when missing.
        fingerprint: changes when the documents (held-out ones given apart included) or their order do.
        held_out: share of the documents kept apart, by a hash of their ids and so whatever their order. Where that
            would leave a part empty, the document next in line goes there.
        held_out_documents: a held-out corpus of its own; all ``documents`` are then learnt from.
        shard_tokens: both parts begin a new shard after the document that brings the tokens since the last to this.

    Raises:
        UsageError: a share outside (0, 1), or a tokenizer without an end of text.
        DataError: no documents, or one alone to be split.
        FileRefusedError: the folder holds files with a store's names that are not one.
        EnvironmentFault: the disk refused.
    """
    folder, apart = Path(folder), held_out_documents is not None
    if not apart and not 0 < held_out < 1:
        raise UsageError(f"held-out share {held_out}\nmore than 0 and less than 1 is needed, 0.05 is usual")
    (eos,) = require(roles(tokenizer), "eos")
    size = vocabulary_size(tokenizer)
    wanted = Manifest(
        dtype="<u2" if size <= 2**16 else "<u4",
        vocab_size=size,
        tokenizer_sha256=digest(tokenizer),
        fingerprint=fingerprint,
        held_out=None if apart else held_out,
        shard_tokens=shard_tokens,
    )
    manifest = _start(folder, wanted)
    if not manifest.complete:
        below = 0.0 if apart else _held_out_below(documents, held_out)
        sequence = _sequence(documents, held_out_documents or (), below)
        build = _Build(folder, manifest)
        _fill(build, islice(sequence, build.documents, None), _Encoder(tokenizer, eos, manifest.dtype))
        manifest = build.finish()
    return opened(folder, manifest)


def _start(folder: Path, wanted: Manifest) -> Manifest:
    """What of the wanted store is there already; all else with a store's names is gone."""
    found = read_manifest(folder)
    if found is None and folder.is_dir() and (strangers := _ours(folder)):
        raise FileRefusedError(
            f"{folder} holds {strangers[0].name} without a {MANIFEST}\n"
            "it may be another program's: choose another folder"
        )
    usable = found is not None and found.of_the_same(wanted)
    if found is None or not usable or problem(folder, found, verify=not found.complete):
        found = wanted
        with _disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _write_manifest(folder, found)
    listed = {shard.name for shard in found.train + found.heldout} | ({COUNTS} if found.complete else set())
    with _disk(folder):
        for file in _ours(folder):
            if file.name not in listed:
                file.unlink()
    return found


def _ours(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if _OURS.fullmatch(file.name))


def is_held_out(document_id: str, share: float) -> bool:
    """Whether a document is kept apart, by a hash of its id.

    :func:`build_store` departs from it only where one part would be empty.
    """
    return hash_fraction(document_id) < share


def _held_out_below(documents: Iterable[Document], share: float) -> float:
    """The hash fraction below which documents are held out: at least one is, and one is not.

    Reads the documents until it has seen one of each, which is all of them only where there are few.
    """
    if iter(documents) is documents:
        raise UsageError("documents: an iterator can be read once only\ngive a list, or what open_documents returns")
    lowest, highest = 2.0, -1.0
    for document in documents:
        place = hash_fraction(document.id)
        lowest, highest = min(lowest, place), max(highest, place)
        if lowest < share <= highest:
            return share
    if highest < 0:
        raise DataError("there are no documents")
    if lowest == highest:
        raise DataError(
            "there is one document only: nothing can be held out\n"
            "choose another rule, so that a file holds several documents, or give held-out documents apart"
        )
    return math.nextafter(lowest, 2) if lowest >= share else highest


def _sequence(
    documents: Iterable[Document], apart: Iterable[Document], below: float
) -> Iterator[tuple[Document, bool]]:
    """All documents in the order they are written, and whether each is held out."""
    for document in documents:
        yield document, hash_fraction(document.id) < below
    for document in apart:
        yield document, True


def _fill(build: "_Build", sequence: Iterable[tuple[Document, bool]], encode: "_Encoder") -> None:
    for batch in _batches(sequence):
        for (document, held), ids in zip(batch, encode([document.text for document, _ in batch]), strict=True):
            build.add(ids, _utf8_length(document.text), held=held)


def _utf8_length(text: str) -> int:
    """Bytes of a text in UTF-8, without a copy of one that may be large where it need not be made."""
    return len(text) if text.isascii() else len(text.encode())


def _batches(sequence: Iterable[tuple[Document, bool]]) -> Iterator[list[tuple[Document, bool]]]:
    """Documents by the half megabyte; a longer one is alone."""
    batch: list[tuple[Document, bool]] = []
    characters = 0
    for document, held in sequence:
        full = characters + len(document.text) > _BATCH_CHARACTERS or len(batch) == _BATCH_DOCUMENTS
        if batch and full:
            yield batch
            batch, characters = [], 0
        batch.append((document, held))
        characters += len(document.text)
        if characters >= _BATCH_CHARACTERS:  # before the next document is read: both may be large
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


class _Encoder:
    """Texts to ids, each closed by the end of text."""

    def __init__(self, tokenizer: "Tokenizer", eos: int, dtype: str) -> None:
        self._tokenizer, self._dtype = plain(tokenizer), dtype
        self._cut = may_cut_between_words(tokenizer)
        self._eos = np.array([eos], dtype=dtype)

    def __call__(self, texts: list[str]) -> Iterator[Ids]:
        if len(texts) > 1 or not self._cut:
            for ids in self._ids(texts):
                yield np.concatenate([ids, self._eos])
        else:
            length = min(_PIECE_CHARACTERS, _BATCH_CHARACTERS)
            pieces = cut_between_words(texts[0], length)
            batches = iter(lambda: list(islice(pieces, _BATCH_CHARACTERS // length)), [])
            yield np.concatenate([*(ids for batch in batches for ids in self._ids(batch)), self._eos])

    def _ids(self, texts: list[str]) -> list[Ids]:
        try:
            encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        except Exception as error:  # the library raises bare Exception
            raise UsageError(
                f"the tokenizer fails on this text: {error}\nan entry for unknown words may help"
            ) from None
        return [np.array(encoding.ids, dtype=self._dtype) for encoding in encodings]


class _Build:
    """A store being written: two parts whose shards are finished and listed together.

    Attributes:
        documents: the number written so far, in finished shards or not.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder, self._manifest = folder, manifest
        self._train = _Shards(folder, "train", manifest.train)
        self._heldout = _Shards(folder, "heldout", manifest.heldout)
        self._pending = 0
        self.documents = sum(shard.documents for shard in manifest.train + manifest.heldout)

    def add(self, ids: Ids, text_bytes: int, *, held: bool) -> None:
        (self._heldout if held else self._train).add(ids, text_bytes)
        self.documents += 1
        self._pending += len(ids)
        if self._pending >= self._manifest.shard_tokens:
            self._commit()

    def _commit(self, **changes: Any) -> None:
        """Make everything that was added part of the store."""
        with _disk(self._folder):
            shards = {"train": self._train.finish(), "heldout": self._heldout.finish()}
            self._manifest = self._manifest.model_copy(update=shards | changes)
            _write_manifest(self._folder, self._manifest)
        self._pending = 0

    def finish(self) -> Manifest:
        """The complete manifest, after the last shards and the counts are written."""
        self._commit()
        for part, shards in (("learn from", self._manifest.train), ("hold out", self._manifest.heldout)):
            if not shards:
                raise DataError(f"there are no documents to {part}")
        counts = _count(opened(self._folder, self._manifest)).astype("<i8").tobytes()
        with _disk(self._folder):
            replace_file(self._folder / COUNTS, counts)
        self._commit(counts_sha256=hashlib.sha256(counts).hexdigest(), complete=True)
        return self._manifest


def _count(store: TokenStore) -> npt.NDArray[np.int64]:
    counts = np.zeros(store.vocab_size, dtype=np.int64)
    for block in store.train.blocks():
        counts += np.bincount(block, minlength=store.vocab_size)
    return counts


class _Shards:
    """The shards of one part: the finished ones, and the next one, which is held in memory until it is finished."""

    def __init__(self, folder: Path, stream: str, shards: tuple[StoredFile, ...]) -> None:
        self._folder, self._stream, self._shards = folder, stream, shards
        self._begin()

    def _begin(self) -> None:
        self._content = bytearray()
        self._tokens = self._documents = self._text_bytes = 0

    def add(self, ids: Ids, text_bytes: int) -> None:
        self._content += ids.tobytes()
        self._tokens += len(ids)
        self._documents += 1
        self._text_bytes += text_bytes

    def finish(self) -> tuple[StoredFile, ...]:
        """All shards, after the one in memory is on the disk."""
        if self._documents:
            name = shard_name(self._stream, len(self._shards))
            replace_file(self._folder / name, self._content)
            done = StoredFile(
                name=name,
                tokens=self._tokens,
                documents=self._documents,
                text_bytes=self._text_bytes,
                sha256=hashlib.sha256(self._content).hexdigest(),
            )
            self._shards += (done,)
            self._begin()
        return self._shards


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    replace_file(folder / MANIFEST, (manifest.model_dump_json(indent=1) + "\n").encode())


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Turns what the system refuses into a fault with advice."""
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(
            f"{error.filename or folder}: {error.strerror}\nfree some space or choose another folder, then run again"
        ) from error
