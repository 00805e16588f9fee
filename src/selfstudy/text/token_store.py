"""A tokenised corpus on disk: memory-mapped files of ids that every run reads.

::

    manifest.json      the corpus and tokenizer that the ids come from, and every finished shard with its SHA-256
    train-00000.bin    ids, little endian, 16 bits up to a vocabulary of 65,536, else 32; [EOS] after every document
    heldout-00000.bin
    counts.bin         the number of times each id occurs in the training shards, int64

A shard ends at the end of a document. The manifest names a shard only after the whole shard is on the disk, and is
itself replaced in one step, so it is right at any moment. One process builds a store; any number may read it.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from selfstudy.disk.reading import file_digest, read_bytes
from selfstudy.errors import FileRefusedError

MANIFEST, COUNTS = "manifest.json", "counts.bin"
_MAX_MANIFEST_BYTES = 2**25
_OPEN_SHARDS = 4
_BLOCK = 2**20

Ids = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]


class StoredFile(BaseModel):
    """A finished shard.

    Attributes:
        name: the name of the file.
        tokens: the number of ids in it.
        documents: the number of documents.
        text_bytes: the number of UTF-8 bytes of their texts.
        sha256: the digest of the file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    tokens: int = Field(ge=1)
    documents: int = Field(ge=1)
    text_bytes: int = Field(ge=0)
    sha256: str


class Manifest(BaseModel):
    """All that ``manifest.json`` may hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["selfstudy token store"] = "selfstudy token store"
    format_version: Literal[1] = 1
    dtype: Literal["<u2", "<u4"]
    vocab_size: int = Field(ge=1, le=2**20)
    tokenizer_sha256: str
    fingerprint: str
    held_out: float | None
    shard_tokens: int = Field(ge=1)
    train: tuple[StoredFile, ...] = ()
    heldout: tuple[StoredFile, ...] = ()
    counts_sha256: str | None = None
    complete: bool = False

    def of_the_same(self, other: "Manifest") -> bool:
        """True if both describe the same corpus, tokenizer and split, regardless of the progress of each."""
        progress = {"train", "heldout", "counts_sha256", "complete"}
        return self.model_dump(exclude=progress) == other.model_dump(exclude=progress)


class Stream:
    """The ids of all shards of a part as one long array. A shard is mapped when it is read, a few at a time.

    Attributes:
        documents: the number of documents, each followed by the end-of-text id.
        text_bytes: the number of UTF-8 bytes of their texts.
    """

    def __init__(self, folder: Path, shards: tuple[StoredFile, ...], dtype: str) -> None:
        self._arguments = (folder, shards, dtype)
        self._ends = np.cumsum([shard.tokens for shard in shards], dtype=np.int64).tolist()
        self._mapped = lru_cache(maxsize=_OPEN_SHARDS)(self._map)
        self.documents = sum(shard.documents for shard in shards)
        self.text_bytes = sum(shard.text_bytes for shard in shards)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the names of the files for a worker process, not their contents."""
        return Stream, self._arguments

    def _map(self, number: int) -> Ids:
        folder, shards, dtype = self._arguments
        shard = shards[number]
        return np.memmap(folder / shard.name, dtype=dtype, mode="r", shape=(shard.tokens,))

    def __len__(self) -> int:
        """The number of tokens."""
        return self._ends[-1] if self._ends else 0

    def read(self, start: int, count: int) -> npt.NDArray[np.int64]:
        """A copy of ``count`` ids from ``start`` on, (count,) int64.

        Raises:
            IndexError: some of them lie outside the stream.
        """
        if not 0 <= start <= start + count <= len(self):
            raise IndexError(f"{count} tokens from {start} on, the stream has {len(self)}")
        result = np.empty(count, dtype=np.int64)
        filled = 0
        while filled < count:
            number = bisect_right(self._ends, start + filled)
            first = self._ends[number - 1] if number else 0
            part = self._mapped(number)[start + filled - first :][: count - filled]
            result[filled : filled + len(part)] = part
            filled += len(part)
        return result

    def blocks(self, length: int = _BLOCK, stop: int | None = None) -> Iterator[npt.NDArray[np.int64]]:
        """The ids of the stream, or the first ``stop`` of them, in consecutive arrays of at most ``length``."""
        end = len(self) if stop is None else min(stop, len(self))
        for start in range(0, end, length):
            yield self.read(start, min(length, end - start))
        self._mapped.cache_clear()  # pages that were read count as memory of this process while they are mapped


@dataclass(frozen=True)
class TokenStore:
    """A finished store.

    Attributes:
        folder: the folder of the store.
        vocab_size: the largest possible id plus one.
        dtype: the element type of the files, ``<u2`` or ``<u4``; streams return int64.
        tokenizer_sha256: the :func:`~selfstudy.text.tokenizer.digest` of the tokenizer.
        fingerprint: the fingerprint of the corpus that :func:`~selfstudy.text.token_build.build_store` was given.
        train: the ids to train on.
        held_out: the ids of the held-out documents.
    """

    folder: Path
    vocab_size: int
    dtype: str
    tokenizer_sha256: str
    fingerprint: str
    train: Stream
    held_out: Stream

    def counts(self) -> npt.NDArray[np.int64]:
        """The number of times each id occurs in the training stream, (V,) int64."""
        return np.fromfile(self.folder / COUNTS, dtype="<i8").astype(np.int64)


def store_of(folder: Path, manifest: Manifest) -> TokenStore:
    """The store that a manifest describes."""
    return TokenStore(
        folder,
        manifest.vocab_size,
        manifest.dtype,
        manifest.tokenizer_sha256,
        manifest.fingerprint,
        Stream(folder, manifest.train, manifest.dtype),
        Stream(folder, manifest.heldout, manifest.dtype),
    )


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a store; None if the folder has none.

    Raises:
        FileRefusedError: the file cannot be read, or is not a manifest of this version.
    """
    file = folder / MANIFEST
    if not file.exists():
        return None
    content = read_bytes(file, _MAX_MANIFEST_BYTES)
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        what = error.errors()[0]
        where = ".".join(str(part) for part in what["loc"]) or "content"
        raise FileRefusedError(f"{file}: not a token store's manifest: {where}: {what['msg']}") from None
    for stream, shards in (("train", manifest.train), ("heldout", manifest.heldout)):
        # Only these names are opened, so no listed path can lead out of the folder.
        if [shard.name for shard in shards] != [shard_name(stream, number) for number in range(len(shards))]:
            raise FileRefusedError(f"{file}: not a token store's manifest: {stream}: names out of order")
    return manifest


def shard_name(stream: str, number: int) -> str:
    """The file name of a shard of the stream ``train`` or ``heldout``."""
    return f"{stream}-{number:05d}.bin"


def damage_in(folder: Path, manifest: Manifest, *, verify: bool) -> str | None:
    """The first file of a manifest that is missing or damaged, in words; None if all are whole.

    Args:
        folder: the folder of the store.
        manifest: the manifest that lists the files.
        verify: True to compare digests too; otherwise only sizes are compared.
    """
    width = np.dtype(manifest.dtype).itemsize
    wanted = [(shard.name, shard.tokens * width, shard.sha256) for shard in manifest.train + manifest.heldout]
    if manifest.counts_sha256 is not None:
        wanted.append((COUNTS, manifest.vocab_size * 8, manifest.counts_sha256))
    for name, size, sha256 in wanted:
        file = folder / name
        if not file.is_file() or file.is_symlink():
            return f"{file} is missing"
        if file.stat().st_size != size:
            return f"{file}: damaged, {file.stat().st_size:,} bytes, the manifest says {size:,}"
        if verify and file_digest(file) != sha256:
            return f"{file}: damaged, its digest is not the one in {MANIFEST}"
    return None
