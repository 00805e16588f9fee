"""Tokenizers: trained on a corpus or loaded from a file, and the text that each token stands for.

All of them are objects of the ``tokenizers`` library. Its threads work only during a call. A process that forks after
such a call prints a warning of the library unless ``TOKENIZERS_PARALLELISM`` is set; nothing here sets it.
"""

import hashlib
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from selfstudy.disk.reading import read_text
from selfstudy.errors import DataError, FileRefusedError, UsageError
from selfstudy.text.documents import Document

if TYPE_CHECKING:  # the library is imported where it is used, so that importing this module is fast
    from tokenizers import Tokenizer

Kind = Literal["bpe", "wordpiece", "char", "byte"]
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[EOS]")
SPELLINGS = {
    "pad": ("[PAD]", "<pad>", "<PAD>", "<|pad|>", "<|padding|>"),
    "unk": ("[UNK]", "<unk>", "<UNK>", "<|unk|>"),
    "cls": ("[CLS]", "<cls>", "<s>", "<bos>", "[BOS]", "<|startoftext|>", "<|begin_of_text|>"),
    "sep": ("[SEP]", "<sep>", "</s>"),
    "mask": ("[MASK]", "<mask>", "<MASK>", "<|mask|>"),
    "eos": ("[EOS]", "<eos>", "<EOS>", "</s>", "<|endoftext|>", "<|end_of_text|>"),
}
"""The usual names of special tokens, by role; the first name that a tokenizer has is used."""

_VOCABULARY_BY_BYTES = ((1e5, 512), (1e6, 1024), (5e6, 4096), (20e6, 8192), (100e6, 16384), (1e9, 32768))
_LARGEST_VOCABULARY = 2**20
CHAR_VOCABULARY = 2**16  # the number of ids that fit in two bytes
BYTE_VOCABULARY = len(SPECIAL_TOKENS) + 256
_SIZES = {
    "bpe": (BYTE_VOCABULARY, _LARGEST_VOCABULARY),
    "wordpiece": (256, _LARGEST_VOCABULARY),
    "char": (len(SPECIAL_TOKENS) + 1, _LARGEST_VOCABULARY),
    "byte": (BYTE_VOCABULARY, BYTE_VOCABULARY),
}
_MAX_FILE_BYTES = 50_000_000
_TRAINING_PIECE = 2**16  # characters; small enough to sample a corpus of a few large files evenly
_WORD_END = re.compile(r"\S(?=[ \r\n])")


def auto_vocab_size(corpus_bytes: int) -> int:
    """The vocabulary size for a corpus: a multiple of 64, special tokens included.

    The logarithm of the size is interpolated between 512 at 0.1 MB, 1k at 1 MB, 4k at 5 MB, 8k at 20 MB, 16k at 100 MB
    and 32k at 1 GB, and is constant outside. The number of different words grows about as the square root of the corpus
    (Heaps' law), and a token must occur some hundred times to be worth its embedding. Matrix hardware is fast at
    multiples of 64.

    >>> auto_vocab_size(1_000_000), auto_vocab_size(2_000_000_000)
    (1024, 32768)
    """
    corpus, size = zip(*_VOCABULARY_BY_BYTES, strict=True)
    exact = math.exp(np.interp(math.log(max(corpus_bytes, 1)), np.log(corpus), np.log(size)))
    return 64 * round(exact / 64)


def train_tokenizer(
    texts: Iterable[str], *, kind: Kind, vocab_size: int | Literal["auto"], corpus_bytes: int
) -> "Tokenizer":
    """A tokenizer that is trained on texts; ids 0 to 5 are :data:`SPECIAL_TOKENS`.

    Args:
        texts: the texts to train on; :func:`sample_for_training` draws them from a large corpus.
        kind: ``bpe`` has byte-level pairs: no text is unknown, and decoding is exact. ``wordpiece`` is that of BERT,
            cased; it does not keep white space. ``char`` has one token per character; decoding is exact if no character
            is unknown. ``byte`` has one token per byte; decoding is exact.
        vocab_size: the largest number of tokens, special ones included; a small corpus can have fewer. ``auto`` takes
            :func:`auto_vocab_size`, and for ``char`` all characters. ``byte`` always has 262.
        corpus_bytes: the number of UTF-8 bytes of the whole corpus, for ``auto``.

    Raises:
        UsageError: this kind cannot have this vocabulary size.
        DataError: there is no text.
    """
    least, most = _SIZES[kind]
    if vocab_size != "auto" and not least <= vocab_size <= most:
        raise UsageError(f"vocabulary size {vocab_size} for a {kind} tokenizer\ngive {least:,} to {most:,}, or auto")
    if kind == "byte":
        return _train_bpe((), BYTE_VOCABULARY, use_regex=False)
    some = _with_text(texts)
    if kind == "char":
        return _char_tokenizer(some, CHAR_VOCABULARY if vocab_size == "auto" else vocab_size)
    size = auto_vocab_size(corpus_bytes) if vocab_size == "auto" else vocab_size
    return _train_bpe(some, size, use_regex=True) if kind == "bpe" else _train_wordpiece(some, size)


def _with_text(texts: Iterable[str]) -> Iterator[str]:
    """The texts from the first one that is not empty; raise if there is none."""
    rest = iter(texts)
    first = next((text for text in rest if text), None)
    if first is None:
        raise DataError("there is no text to train a tokenizer on")
    return chain([first], rest)


def _train_bpe(texts: Iterable[str], size: int, *, use_regex: bool) -> "Tokenizer":
    """A byte-level BPE tokenizer; without ``use_regex`` and without texts, every byte is a token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _train_wordpiece(texts: Iterable[str], size: int) -> "Tokenizer":
    """A WordPiece tokenizer, trained in two rounds: first the characters that begin or continue words, then the rest.

    In a single round the library numbers continuing characters in the order of a hash table, and breaks ties by these
    numbers: every training would give another tokenizer.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=False, handle_chinese_chars=True, strip_accents=False, lowercase=False
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    packed = [text.encode() for text in texts]  # read three times; a str may take four bytes per character
    # A character takes two tokens: with all rare ones, there would be no room for words.
    kept = set(_most_frequent((text.decode() for text in packed), size // 4))
    found = _wordpieces(tokenizer, packed, 0, [])
    letters = sorted(piece for piece in found if len(piece.removeprefix("##")) == 1 and piece[-1] in kept)
    pieces = _wordpieces(tokenizer, packed, size, letters)
    tokenizer.model = models.WordPiece(pieces, unk_token="[UNK]")
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def _wordpieces(tokenizer: "Tokenizer", packed: list[bytes], size: int, letters: list[str]) -> dict[str, int]:
    """The vocabulary that is learnt; if letters are given, it has only these, numbered in their order."""
    from tokenizers import Tokenizer, trainers

    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=[*SPECIAL_TOKENS, *letters],
        limit_alphabet=0 if letters else 2**21,  # more than the number of characters in Unicode
        show_progress=False,
    )
    learner = Tokenizer.from_str(tokenizer.to_str())
    learner.train_from_iterator((text.decode() for text in packed), trainer)
    return learner.get_vocab()


def _char_tokenizer(texts: Iterable[str], size: int) -> "Tokenizer":
    """A tokenizer with one token per character, for the most frequent ones."""
    from tokenizers import Tokenizer, decoders, models

    kept = _most_frequent(texts, size - len(SPECIAL_TOKENS))
    vocabulary = {token: number for number, token in enumerate([*SPECIAL_TOKENS, *sorted(kept)])}
    # BPE without merges: splitting the text into characters first gives the same ids several times slower.
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="[UNK]"))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def _most_frequent(texts: Iterable[str], at_most: int) -> list[str]:
    """The most frequent characters; of equally frequent ones the smallest code points."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    return sorted(counts, key=lambda character: (-counts[character], character))[:at_most]


def sample_for_training(documents: Iterable[Document], corpus_bytes: int, at_most: int) -> Iterator[str]:
    """An even sample of a corpus for :func:`train_tokenizer`.

    Documents are cut into pieces of about 65,000 characters. A hash of the document's id and the piece's number decides
    whether a piece is drawn, so the sample depends neither on the order of the documents nor on the memory.

    Args:
        documents: the documents; they are read once.
        corpus_bytes: the number of UTF-8 bytes of all documents; an estimate is enough.
        at_most: the largest number of UTF-8 bytes of the sample; a smaller corpus is returned whole.
    """
    share, given = at_most / max(corpus_bytes, 1), 0
    for document in documents:
        for number, piece in enumerate(cut_between_words(document.text, _TRAINING_PIECE)):
            if share < 1 and hash_fraction(f"tokenizer\n{document.id}\n{number}") >= share:
                continue
            given += len(piece.encode())
            if given > at_most:
                return
            yield piece


def hash_fraction(name: str) -> float:
    """The SHA-256 of a name as a fraction of the largest possible one, in [0, 1): a random number without state."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def cut_between_words(text: str, length: int) -> Iterator[str]:
    """The text in pieces of at least ``length`` characters, each of which ends at the next white space after them.

    A piece that no white space follows goes on to the end of the text. Joined, the pieces are the text.
    """
    start = 0
    while found := _WORD_END.search(text, start + length - 1):
        yield text[start : found.end()]
        start = found.end()
    if start < len(text):
        yield text[start:]


def load_tokenizer(path: str | Path) -> "Tokenizer":
    """The tokenizer in a ``tokenizer.json``, or in a folder that holds one.

    Raises:
        FileRefusedError: the file is missing, larger than 50 MB, or not a tokenizer.
    """
    from tokenizers import Tokenizer

    file = Path(path)
    file = file / "tokenizer.json" if file.is_dir() else file
    if not file.is_file():
        raise FileRefusedError(f"{file} is missing\ngive a tokenizer.json, or a folder that holds one")
    text = read_text(file, _MAX_FILE_BYTES)
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exception
        what = " ".join(str(error).split())[:200]
        raise FileRefusedError(f"{file}: not a tokenizer: {what}") from None
    numbers = list(tokenizer.get_vocab(with_added_tokens=True).values())
    if len(set(numbers)) < len(numbers):  # it would be another tokenizer after it is written and read
        raise FileRefusedError(f"{file}: not a tokenizer: two tokens have the same id")
    if not 0 < vocabulary_size(tokenizer) <= _LARGEST_VOCABULARY:
        raise FileRefusedError(f"{file}: ids up to {vocabulary_size(tokenizer) - 1}, 0 to 2^20 - 1 can be used")
    return tokenizer


class SpecialIds(NamedTuple):
    """The ids of special tokens by role; None for a role that no token of the tokenizer has."""

    pad: int | None
    unk: int | None
    cls: int | None
    sep: int | None
    mask: int | None
    eos: int | None


def special_ids(tokenizer: "Tokenizer") -> SpecialIds:
    """The ids of the special tokens, found by :data:`SPELLINGS`; without an ``eos``, ``sep`` is used for it."""
    found = {
        role: next((number for name in names if (number := tokenizer.token_to_id(name)) is not None), None)
        for role, names in SPELLINGS.items()
    }
    return SpecialIds(**found | {"eos": found["sep"] if found["eos"] is None else found["eos"]})


def require(ids: SpecialIds, *names: str) -> tuple[int, ...]:
    """The ids of the named roles, in their order.

    Raises:
        UsageError: the tokenizer lacks a role; the message lists the names that are looked for.
    """
    for name in names:
        if getattr(ids, name) is None:
            raise UsageError(
                f"the tokenizer has no entry for {name!r}\nlooked for: {' '.join(SPELLINGS[name])}\n"
                "add one to its tokenizer.json, or train a tokenizer on the corpus"
            )
    return tuple(getattr(ids, name) for name in names)


def plain(tokenizer: "Tokenizer") -> "Tokenizer":
    """A copy that turns a text, and nothing else, into the same ids each time; names of special tokens are text."""
    from tokenizers import Tokenizer

    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    if getattr(copy.model, "dropout", None) is not None:
        copy.model.dropout = None
    copy.encode_special_tokens = True  # otherwise a page about "[MASK]" would hold masks
    return copy


def digest(tokenizer: "Tokenizer") -> str:
    """The SHA-256 of all that decides the ids: the JSON of the :func:`plain` copy."""
    return hashlib.sha256(plain(tokenizer).to_str().encode()).hexdigest()


def vocabulary_size(tokenizer: "Tokenizer") -> int:
    """The largest id plus one: the number of rows of a table that is indexed by ids, unused ids included."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1


def may_cut_between_words(tokenizer: "Tokenizer") -> bool:
    """True if the ids of a text are the joined ids of its pieces from :func:`cut_between_words`.

    This holds for all kinds that are trained here, and for loaded tokenizers that split words as GPT-2 or BERT. For all
    others the answer is False, to be safe.
    """
    parts = json.loads(tokenizer.to_str())
    splitter, model, normalizer = parts["pre_tokenizer"] or {}, parts["model"], parts["normalizer"] or {}
    if any(not token["special"] for token in parts["added_tokens"]):
        return False  # such a token may contain white space
    if splitter.get("type") == "BertPreTokenizer":
        return normalizer.get("type") in (None, "BertNormalizer")
    if normalizer or splitter.get("type") not in (None, "ByteLevel") or splitter.get("add_prefix_space"):
        return False
    joining = ("merges", "fuse_unk", "continuing_subword_prefix", "end_of_word_suffix")
    return bool(splitter.get("use_regex")) or (model["type"] == "BPE" and not any(model.get(name) for name in joining))


def token_bytes(tokenizer: "Tokenizer") -> npt.NDArray[np.int32]:
    """The number of UTF-8 bytes of text that each token stands for, (V,) int32; 0 for special tokens and unused ids.

    For byte-level kinds and ``char`` the sum over the tokens of a text is its number of bytes, unknown characters
    excepted. WordPiece does not keep white space, and tokens count without ``##``, so the sum is smaller. For bits per
    byte, divide by the number of bytes of the text itself, which the token store records.
    """
    return np.array([len(stood_for) for stood_for in _stood_for(tokenizer)], dtype=np.int32)


def starts_word(tokenizer: "Tokenizer") -> npt.NDArray[np.bool_]:
    """True for each token that starts a word, (V,) bool. A word is such a token and all tokens up to the next one.

    In WordPiece, tokens without ``##`` start a word. In all other kinds, a token starts a word if its text does not
    begin with a letter, a digit or an accent: a space or line break belongs to the word after it. A token that begins
    inside a character continues a word, since the character is not known from it. Special tokens start a word; the
    token after a special one always starts a word too, even if this table says no.
    """
    if prefix := json.loads(tokenizer.to_str())["model"].get("continuing_subword_prefix"):
        return np.array([not text.startswith(prefix) for text in _entries(tokenizer)])
    return np.array([_begins_outside_words(stood_for) for stood_for in _stood_for(tokenizer)])


def _begins_outside_words(stood_for: bytes) -> bool:
    """True if there is no text, or if its first character is complete and is not a letter, mark or number."""
    for length in range(1, min(len(stood_for), 4) + 1):
        try:
            return unicodedata.category(stood_for[:length].decode())[0] not in "LMN"
        except UnicodeDecodeError:
            continue
    return not stood_for


def _entries(tokenizer: "Tokenizer") -> list[str]:
    """The token of every id; empty for an unused id."""
    entries = [""] * vocabulary_size(tokenizer)
    for text, number in tokenizer.get_vocab(with_added_tokens=True).items():
        entries[number] = text
    return entries


def _stood_for(tokenizer: "Tokenizer") -> list[bytes]:
    """The bytes of text that every id stands for; empty for special tokens."""
    parts, added = json.loads(tokenizer.to_str()), tokenizer.get_added_tokens_decoder()
    ends = json.dumps([parts["pre_tokenizer"], parts["decoder"]], ensure_ascii=False)
    alphabet = _byte_alphabet() if '"ByteLevel"' in ends else {}
    prefix = parts["model"].get("continuing_subword_prefix") or ""
    fallback = bool(parts["model"].get("byte_fallback"))
    result = []
    for number, text in enumerate(_entries(tokenizer)):
        if number in added:
            result.append(b"" if added[number].special else text.encode())
        elif alphabet and all(letter in alphabet for letter in text):
            result.append(bytes(alphabet[letter] for letter in text))
        elif fallback and re.fullmatch(r"<0x[0-9A-F]{2}>", text):
            result.append(bytes([int(text[3:5], 16)]))
        else:
            result.append((text.replace("▁", " ") if "▁" in ends else text.removeprefix(prefix)).encode())
    return result


def _byte_alphabet() -> dict[str, int]:
    """The byte of each character in byte-level vocabularies: printable bytes are themselves, others begin at 256."""
    prints = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(prints)]
    return {chr(byte): byte for byte in prints} | {chr(256 + rank): byte for rank, byte in enumerate(others)}
