"""A corpus that is ready for training: its documents, a tokenizer, and the token store."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console

from selfstudy.disk.atomic import replace_file
from selfstudy.disk.lock import patient_lock
from selfstudy.errors import DataError, EnvironmentFault, UsageError
from selfstudy.machine.allocator import give_back_freed_memory
from selfstudy.text.config import TextDataConfig
from selfstudy.text.documents import Document, Documents, open_documents
from selfstudy.text.landmarks import Landmarks, landmarks
from selfstudy.text.token_build import build_store, is_held_out
from selfstudy.text.token_store import TokenStore
from selfstudy.text.tokenizer import (
    BYTE_VOCABULARY,
    CHAR_VOCABULARY,
    SpecialIds,
    auto_vocab_size,
    digest,
    load_tokenizer,
    sample_for_training,
    special_ids,
    train_tokenizer,
    vocabulary_size,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_KINDS = ("bpe", "wordpiece", "char", "byte")
_ONE_STREAM = 64_000_000  # bytes; a single plain text up to this size is one document, which keeps its layout
_TABLES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
_TO_LEARN_FROM = 20_000_000  # the most bytes of text that a tokenizer learns from; noisy text takes 30 times the memory


class Census(NamedTuple):
    """The number of documents, the number of UTF-8 bytes of their texts, and a digest of ids and texts."""

    documents: int
    text_bytes: int
    sha256: str


class Corpus(NamedTuple):
    """A tokenised corpus.

    Attributes:
        census: the census of its documents, including held-out ones of the same corpus.
        tokenizer: a tokenizer of the ``tokenizers`` library.
        special: the ids of the tokenizer's special tokens.
        store: the token store.
        landmarks: losses, in nats per token, that a model passes during training.
        held_out: the choice of the held-out part, in words.
        column: the column of tables that all texts come from; None if they do not.
        tokenizer_kind: the kind of tokenizer that was trained, or the file of a given one.
        vocab_size: the entries asked of a tokenizer that was trained; None for a given one.
    """

    census: Census
    tokenizer: "Tokenizer"
    special: SpecialIds
    store: TokenStore
    landmarks: Landmarks
    held_out: str
    column: str | None
    tokenizer_kind: str
    vocab_size: int | None


class Split(NamedTuple):
    """A split of the documents.

    Attributes:
        train: the documents to train on; all documents if a hash of each id decides.
        held_out: the held-out documents; None if a hash of each id decides.
        share: the share of held-out documents, for the hash.
        words: the choice in words.
    """

    train: Iterable[Document]
    held_out: Iterable[Document] | None
    share: float
    words: str


def take_census(documents: Iterable[Document]) -> Census:
    """The census of documents, by one pass over all of them."""
    count, size, digested = 0, 0, hashlib.sha256()
    for document in documents:
        text = document.text.encode()
        count, size = count + 1, size + len(text)
        digested.update(f"{document.id}\n{len(text)}\n".encode())
        digested.update(text)
    return Census(count, size, digested.hexdigest())


class _OneSide:
    """The beginning or the end of each document, cut at a share of its characters."""

    def __init__(self, documents: Iterable[Document], share: float, *, end: bool) -> None:
        self._documents, self._share, self._end = documents, share, end

    def __iter__(self) -> Iterator[Document]:
        for name, text in self._documents:
            cut = int(len(text) * (1 - self._share))
            part = text[cut:] if self._end else text[:cut]
            if part.strip():
                yield Document(f"{name}:{'end' if self._end else 'beginning'}", part)


def open_corpus(data: Any, config: TextDataConfig, *, pieces: bool, cache: Path, console: Console) -> Corpus:
    """The corpus in a path or a list of texts; it is tokenised the first time it is used.

    Args:
        data: the data, in any form that :func:`selfstudy.text.documents.open_documents` opens.
        config: the settings of documents, tokenizer and held-out part.
        pieces: True if the method learns from documents one by one: a single file is then cut into documents.
        cache: the folder of tokenised corpora.
        console: the console that prints the findings.

    Raises:
        UsageError: nothing is there, or settings do not fit the data.
        DataError: there is no text.
        EnvironmentFault: the cache cannot be written.
    """
    documents = open_documents(data, rule=_rule(data, config, pieces=pieces), column=config.column or "auto")
    census = take_census(documents)
    _say_what_was_found(documents, census, console)
    if not census.documents:
        raise DataError(f"{documents.describe()} has no usable text\nthe reasons are above; give other files")
    split = _split(documents, census, config)
    given = census if split.held_out is None else (census, take_census(split.held_out))
    kind, vocab_size = _decided_tokenizer(config, census)
    settings = [repr(given), _which_tokenizer(kind), str(vocab_size), str(config.held_out)]
    folder = cache / hashlib.sha256("\n".join(settings).encode()).hexdigest()[:16]
    _make(folder)
    with patient_lock(folder):  # two runs may want the same corpus
        tokenizer = _tokenizer(folder, split, kind, vocab_size, census.text_bytes)
        store = build_store(
            split.train,
            tokenizer,
            folder / "tokens",
            fingerprint=hashlib.sha256(repr(given).encode()).hexdigest(),
            held_out=split.share,
            held_out_documents=split.held_out,
        )
    column = _common_column(documents, split.held_out)
    special, marks = special_ids(tokenizer), landmarks(store)
    corpus = Corpus(census, tokenizer, special, store, marks, split.words, column, kind, vocab_size)
    _say_what_it_became(corpus, console)
    return corpus


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot make {folder} for tokens: {error.strerror}\nname another folder: --set data.cache=FOLDER"
        ) from None


def _rule(data: object, config: TextDataConfig, *, pieces: bool) -> str:
    """The rule for documents: with ``auto``, one plain text of moderate size is one document."""
    if config.documents != "auto" or pieces or not isinstance(data, str | Path):
        return config.documents
    path = Path(data)
    suffixes = "".join(path.suffixes[-2:]).lower()
    one_text = path.is_file() and not any(kind in suffixes for kind in _TABLES)
    return "file" if one_text and path.stat().st_size <= _ONE_STREAM else "auto"


def _split(documents: Documents, census: Census, config: TextDataConfig) -> Split:
    """The split into training and held-out documents."""
    held_out = config.held_out
    if isinstance(held_out, str):
        apart = open_documents(held_out, rule=_rule_of_more(documents, config), column=config.column or "auto")
        return Split(documents, apart, 0.0, f"{held_out}")
    if not 0 < held_out < 1:
        raise UsageError(
            f"data.held_out {held_out}\ngive a number above 0 and below 1, such as 0.05, or the path of other text"
        )
    if census.documents == 1:
        beginning, end = (_OneSide(documents, held_out, end=end) for end in (False, True))
        return Split(beginning, end, 0.0, f"the last {held_out:.0%} of the characters")
    return Split(documents, None, held_out, f"{held_out:.0%} of the documents, by a hash of their names")


def _common_column(documents: Documents, held_out: Iterable[Document] | None) -> str | None:
    """The column that all documents come from, held-out ones included; None if they are not from one column."""
    found = documents.columns
    if len(found) != 1 or isinstance(held_out, Documents) and held_out.columns != found:
        return None
    return next(iter(found))


def _rule_of_more(documents: Documents, config: TextDataConfig) -> str:
    """The rule for held-out documents from another path: the same as for ``documents``, if it applies to them."""
    return documents.rule if config.documents == "auto" and documents.rule != "record" else config.documents


def _decided_tokenizer(config: TextDataConfig, census: Census) -> tuple[str, int | None]:
    """The kind of tokenizer to train and the entries to ask for, or the file of a given one and None."""
    if config.tokenizer not in (*_KINDS, "auto"):
        if config.vocab_size not in ("auto", None):
            raise UsageError(
                "data.vocab_size cannot be chosen for a given tokenizer: it has its own\nleave one of the two out"
            )
        return config.tokenizer, None
    kind = "bpe" if config.tokenizer == "auto" else config.tokenizer
    if config.vocab_size != "auto":
        return kind, config.vocab_size
    fixed = {"byte": BYTE_VOCABULARY, "char": CHAR_VOCABULARY}
    return kind, fixed.get(kind) or auto_vocab_size(census.text_bytes)


def _tokenizer(folder: Path, split: Split, kind: str, vocab_size: int | None, text_bytes: int) -> "Tokenizer":
    """The tokenizer of the settings: loaded, or trained on documents that are not held out, and then kept on disk."""
    if vocab_size is None:
        return load_tokenizer(kind)
    kept = folder / "tokenizer.json"
    if not kept.is_file():
        learnt = (
            document
            for document in split.train
            if split.held_out is not None or not is_held_out(document.id, split.share)
        )
        sample = sample_for_training(learnt, text_bytes, _TO_LEARN_FROM)
        trained = train_tokenizer(sample, kind=kind, vocab_size=vocab_size, corpus_bytes=text_bytes)  # type: ignore[arg-type]  # one of _KINDS
        give_back_freed_memory()
        replace_file(kept, trained.to_str().encode())
    return load_tokenizer(kept)


def _which_tokenizer(kind: str) -> str:
    """The kind of a tokenizer to train, or the digest of a given one: a file may change and keep its name."""
    return kind if kind in _KINDS else digest(load_tokenizer(kind))


def _say_what_was_found(documents: Documents, census: Census, console: Console) -> None:
    console.print(
        f"data     {documents.describe()}: {census.documents:,} documents"
        f" ({documents.rule}), {documents.problem_count:,} skipped",
        highlight=False,
    )
    for problem in documents.problems[:5]:
        console.print(f"         {problem.path} at byte {problem.offset:,}: {problem.reason}", highlight=False)
    if documents.problem_count > 5:
        console.print(f"         and {documents.problem_count - 5:,} more", highlight=False)


def _say_what_it_became(corpus: Corpus, console: Console) -> None:
    train, held_out = len(corpus.store.train), len(corpus.store.held_out)
    marks = corpus.landmarks
    bigram = "" if marks.bigram is None else f" · bigram {marks.bigram:.2f}"
    console.print(
        f"tokens   {vocabulary_size(corpus.tokenizer):,} entries: {train:,} to learn from,"
        f" {held_out:,} held out ({corpus.held_out})",
        highlight=False,
    )
    console.print(
        f"         nats per token: ln V {marks.uniform:.2f} · unigram {marks.unigram:.2f}{bigram}", highlight=False
    )
