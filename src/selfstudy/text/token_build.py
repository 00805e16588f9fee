"""Building a token store: documents are tokenised once; after a kill, the build continues from its last shard."""

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
    damage_in,
    read_manifest,
    shard_name,
    store_of,
)
from selfstudy.text.tokenizer import (
    cut_between_words,
    digest,
    hash_fraction,
    may_cut_between_words,
    plain,
    require,
    special_ids,
    vocabulary_size,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SHARD = r"(train|heldout)-\d{5,}\.bin"
# A kill leaves ".NAME.tmp-PID"; earlier versions left "NAME.tmp".
_OURS = re.compile(rf"{_SHARD}(\.tmp)?|counts\.bin|\.({_SHARD}|counts\.bin)\.tmp-\d+")
_BATCH_CHARACTERS = 2**19  # encoding takes some hundred bytes of memory per character
_BATCH_DOCUMENTS = 4096  # a limit for short texts, since each text takes some memory of its own
_PIECE_CHARACTERS = 2**16  # a long text is cut into such pieces, which the library's threads share among them


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
    """The store of a corpus: a finished one is opened, an interrupted build is continued, else a new one is built.

    An interrupted build ends with the same bytes as one without interruption. A damaged store, or one of another
    corpus, tokenizer or split, is replaced. Files with other names than those of a store are left alone.

    Args:
        documents: an iterable that can be read more than once, always in the same order. Memory holds one batch of
            texts, and the ids of one shard.
        tokenizer: a tokenizer with an end-of-text token; its :func:`~selfstudy.text.tokenizer.plain` copy is used.
        folder: the folder of the store; it is made if it does not exist.
        fingerprint: a text that differs if the documents, held-out ones included, or their order differ.
        held_out: the share of held-out documents, in (0, 1). A hash of its id decides about each document. If that
            leaves a part empty, the document with the nearest hash is moved to it.
        held_out_documents: a held-out corpus of its own; all ``documents`` are then used for training.
        shard_tokens: the number of tokens, of both parts together, after which both begin a new shard.

    Raises:
        UsageError: the share is outside (0, 1), ``documents`` is an iterator, or the tokenizer has no end-of-text
            token or fails on a text.
        DataError: there are no documents, or only one to be split.
        FileRefusedError: the folder holds files with the names of a store, but no manifest of one.
        EnvironmentFault: the system refuses to write.
    """
    folder, apart = Path(folder), held_out_documents is not None
    if not apart and not 0 < held_out < 1:
        raise UsageError(f"held-out share {held_out}\ngive a number above 0 and below 1, such as 0.05")
    (eos,) = require(special_ids(tokenizer), "eos")
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
    return store_of(folder, manifest)


def _start(folder: Path, wanted: Manifest) -> Manifest:
    """The manifest to continue from; every other file with the name of a store is deleted."""
    found = read_manifest(folder)
    if found is None and folder.is_dir() and (strangers := _ours(folder)):
        raise FileRefusedError(
            f"{folder} holds {strangers[0].name} without a {MANIFEST}\n"
            "it may belong to another program: choose another folder"
        )
    usable = found is not None and found.of_the_same(wanted)
    if found is None or not usable or damage_in(folder, found, verify=not found.complete):
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
    """True if a document is held out, by a hash of its id.

    :func:`build_store` decides otherwise only if one part would be empty.
    """
    return hash_fraction(document_id) < share


def _held_out_below(documents: Iterable[Document], share: float) -> float:
    """The hash fraction below which documents are held out: ``share``, unless that leaves a part empty.

    Documents are read until one of each part is found; all of them are read only if there are few.
    """
    if iter(documents) is documents:
        raise UsageError("documents: an iterator can be read only once\ngive a list, or what open_documents returns")
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
            "there is only one document: nothing can be held out\n"
            "choose another rule, so that a file holds several documents, or give separate held-out documents"
        )
    return math.nextafter(lowest, 2) if lowest >= share else highest


def _sequence(
    documents: Iterable[Document], apart: Iterable[Document], below: float
) -> Iterator[tuple[Document, bool]]:
    """All documents in the order in which they are written, each with True if it is held out."""
    for document in documents:
        yield document, hash_fraction(document.id) < below
    for document in apart:
        yield document, True


def _fill(build: "_Build", sequence: Iterable[tuple[Document, bool]], encode: "_Encoder") -> None:
    for batch in _batches(sequence):
        for (document, held), ids in zip(batch, encode([document.text for document, _ in batch]), strict=True):
            build.add(ids, _utf8_length(document.text), held=held)


def _utf8_length(text: str) -> int:
    """The number of bytes of a text in UTF-8; a large ASCII text is not copied."""
    return len(text) if text.isascii() else len(text.encode())


def _batches(sequence: Iterable[tuple[Document, bool]]) -> Iterator[list[tuple[Document, bool]]]:
    """Batches of documents of half a megabyte; a longer document is a batch of its own."""
    batch: list[tuple[Document, bool]] = []
    characters = 0
    for document, held in sequence:
        full = characters + len(document.text) > _BATCH_CHARACTERS or len(batch) == _BATCH_DOCUMENTS
        if batch and full:
            yield batch
            batch, characters = [], 0
        batch.append((document, held))
        characters += len(document.text)
        if characters >= _BATCH_CHARACTERS:  # now, and not after the next document is read: both may be large
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


class _Encoder:
    """Turns texts into ids, each followed by the end-of-text id."""

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
            raise UsageError(f"the tokenizer fails on this text: {error}\na token for unknown words may help") from None
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
        counts = _count(store_of(self._folder, self._manifest)).astype("<i8").tobytes()
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
    """Replace an error of the system by one with advice."""
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(
            f"{error.filename or folder}: {error.strerror}\nfree some space or choose another folder, then run again"
        ) from error
