"""A corpus ready for training: its documents, a tokenizer, and their tokens in memory-mapped shards."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console

from selfstudy.config import TextDataConfig
from selfstudy.disk.atomic import replace_file
from selfstudy.disk.lock import patient_lock
from selfstudy.errors import DataError, EnvironmentFault, UsageError
from selfstudy.machine.allocator import give_back_freed_memory
from selfstudy.text.documents import Document, Documents, open_documents
from selfstudy.text.landmarks import Landmarks, landmarks
from selfstudy.text.token_build import build_store, is_held_out
from selfstudy.text.token_store import TokenStore
from selfstudy.text.tokenizer import (
    SpecialIds,
    digest,
    load_tokenizer,
    roles,
    sample_for_training,
    train_tokenizer,
    vocabulary_size,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_KINDS = ("bpe", "wordpiece", "char", "byte")
_ONE_STREAM = 64_000_000  # bytes up to which one plain text is one document, and so keeps its layout
_TABLES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
_TO_LEARN_FROM = 20_000_000  # bytes of text for a tokenizer at most; if noisy, it takes 30 times the memory


class Census(NamedTuple):
    """What one pass over documents tells: how many, their UTF-8 bytes, and a digest of ids and texts."""

    documents: int
    text_bytes: int
    sha256: str


class Corpus(NamedTuple):
    """A tokenised corpus.

    Attributes:
        census: of its documents, those held out included.
        tokenizer: of the ``tokenizers`` library.
        special: ids of the tokenizer's special entries.
        store: the tokens.
        landmarks: losses that a model passes on its way, in nats per token.
        held_out: how the held-out part was chosen, in words.
        column: of tables, the one that all texts come from; None where there is no such.
    """

    census: Census
    tokenizer: "Tokenizer"
    special: SpecialIds
    store: TokenStore
    landmarks: Landmarks
    held_out: str
    column: str | None


class Split(NamedTuple):
    """Documents to learn from, and those held out; None where a hash of each one's id decides."""

    train: Iterable[Document]
    held_out: Iterable[Document] | None
    share: float
    words: str


def take_census(documents: Iterable[Document]) -> Census:
    """One pass over all documents."""
    count, size, digested = 0, 0, hashlib.sha256()
    for document in documents:
        text = document.text.encode()
        count, size = count + 1, size + len(text)
        digested.update(f"{document.id}\n{len(text)}\n".encode())
        digested.update(text)
    return Census(count, size, digested.hexdigest())


class _Part:
    """The beginning or the end of a single document, cut at a share of its characters."""

    def __init__(self, documents: Iterable[Document], share: float, *, end: bool) -> None:
        self._documents, self._share, self._end = documents, share, end

    def __iter__(self) -> Iterator[Document]:
        for name, text in self._documents:
            cut = int(len(text) * (1 - self._share))
            part = text[cut:] if self._end else text[:cut]
            if part.strip():
                yield Document(f"{name}:{'end' if self._end else 'beginning'}", part)


def open_corpus(data: Any, config: TextDataConfig, *, pieces: bool, cache: Path, console: Console) -> Corpus:
    """The corpus behind a path or a list of texts, tokenised now or when it was first used.

    Args:
        data: see :func:`selfstudy.text.documents.open_documents`.
        config: how it is cut and tokenised.
        pieces: whether documents are to be learnt from one by one.
        cache: folder of tokenised corpora.
        console: where what was found is said.

    Raises:
        UsageError: nothing there, or settings that do not fit it.
        DataError: no text.
        EnvironmentFault: the cache cannot be written.
    """
    documents = open_documents(data, rule=_rule(data, config, pieces=pieces), column=config.column)
    census = take_census(documents)
    _say_what_was_found(documents, census, console)
    if not census.documents:
        raise DataError(f"{documents.describe()} has no text that can be used\nthe reasons are above; give other files")
    split = _split(documents, census, config)
    given = census if split.held_out is None else (census, take_census(split.held_out))
    settings = [repr(given), _which_tokenizer(config), str(config.vocab_size), str(config.held_out)]
    folder = cache / hashlib.sha256("\n".join(settings).encode()).hexdigest()[:16]
    _make(folder)
    with patient_lock(folder):  # two runs may want the same corpus
        tokenizer = _tokenizer(folder, split, census, config)
        store = build_store(
            split.train,
            tokenizer,
            folder / "tokens",
            fingerprint=hashlib.sha256(repr(given).encode()).hexdigest(),
            held_out=split.share,
            held_out_documents=split.held_out,
        )
    column = _common_column(documents, split.held_out)
    corpus = Corpus(census, tokenizer, roles(tokenizer), store, landmarks(store), split.words, column)
    _say_what_it_became(corpus, console)
    return corpus


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot make {folder} for tokens: {error.strerror}\nname another folder: --set data.cache=FOLDER"
        ) from None


def _rule(data: Any, config: TextDataConfig, *, pieces: bool) -> str:
    """What a document is: one plain text of moderate size is one, since its layout is worth learning too."""
    if config.documents != "auto" or pieces or not isinstance(data, str | Path):
        return config.documents
    path = Path(data)
    suffixes = "".join(path.suffixes[-2:]).lower()
    one_text = path.is_file() and not any(kind in suffixes for kind in _TABLES)
    return "file" if one_text and path.stat().st_size <= _ONE_STREAM else "auto"


def _split(documents: Documents, census: Census, config: TextDataConfig) -> Split:
    """What is learnt from and what is held out."""
    held_out = config.held_out
    if isinstance(held_out, str):
        apart = open_documents(held_out, rule=_rule_of_more(documents, config), column=config.column)
        return Split(documents, apart, 0.0, f"{held_out}")
    if not 0 < held_out < 1:
        raise UsageError(
            f"data.held_out {held_out}\nmore than 0 and less than 1 is needed, 0.05 is usual; or the path of other text"
        )
    if census.documents == 1:
        beginning, end = (_Part(documents, held_out, end=end) for end in (False, True))
        return Split(beginning, end, 0.0, f"the last {held_out:.0%} of the characters")
    return Split(documents, None, held_out, f"{held_out:.0%} of the documents, by a hash of their names")


def _common_column(documents: Documents, held_out: Iterable[Document] | None) -> str | None:
    """The column of tables that all documents come from, those held out included where they are other text."""
    found = documents.columns
    if len(found) != 1 or isinstance(held_out, Documents) and held_out.columns != found:
        return None
    return next(iter(found))


def _rule_of_more(documents: Documents, config: TextDataConfig) -> str:
    """What a document of other text is: the same as in these."""
    return documents.rule if config.documents == "auto" and documents.rule != "record" else config.documents


def _tokenizer(folder: Path, split: Split, census: Census, config: TextDataConfig) -> "Tokenizer":
    """The tokenizer asked for: loaded, or trained on what is not held out and kept beside the tokens."""
    if config.tokenizer not in (*_KINDS, "auto"):
        if config.vocab_size != "auto":
            raise UsageError("data.vocab_size is the tokenizer's own where one is given\nleave one of the two out")
        return load_tokenizer(config.tokenizer)
    kept = folder / "tokenizer.json"
    if not kept.is_file():
        learnt = (
            document
            for document in split.train
            if split.held_out is not None or not is_held_out(document.id, split.share)
        )
        trained = train_tokenizer(
            sample_for_training(learnt, census.text_bytes, _TO_LEARN_FROM),
            kind="bpe" if config.tokenizer == "auto" else config.tokenizer,  # type: ignore[arg-type]  # one of _KINDS
            vocab_size=config.vocab_size,
            corpus_bytes=census.text_bytes,
        )
        give_back_freed_memory()
        replace_file(kept, trained.to_str().encode())
    return load_tokenizer(kept)


def _which_tokenizer(config: TextDataConfig) -> str:
    """The kind that is trained, or the digest of the one that is given: a file may change and keep its name."""
    kind = config.tokenizer in (*_KINDS, "auto")
    return config.tokenizer if kind else digest(load_tokenizer(config.tokenizer))


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
