"""Tokenizers: trained on the corpus or loaded from a file, and what their entries stand for.

All of them are objects of the ``tokenizers`` library, whose threads work inside a call only. A process that forks after
such a call gets that library's own warning unless ``TOKENIZERS_PARALLELISM`` is set; nothing here sets it.
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

if TYPE_CHECKING:  # the library itself is imported where it is used, so that importing this module stays cheap
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
"""The names by which a tokenizer's special entries are known, the first that it has wins."""

_VOCABULARY_BY_BYTES = ((1e5, 512), (1e6, 1024), (5e6, 4096), (20e6, 8192), (100e6, 16384), (1e9, 32768))
_LARGEST_VOCABULARY = 2**20
_CHAR_VOCABULARY = 2**16  # as many as two bytes can number
_BYTES = len(SPECIAL_TOKENS) + 256
_SIZES = {
    "bpe": (_BYTES, _LARGEST_VOCABULARY),
    "wordpiece": (256, _LARGEST_VOCABULARY),
    "char": (len(SPECIAL_TOKENS) + 1, _LARGEST_VOCABULARY),
    "byte": (_BYTES, _BYTES),
}
_MAX_FILE_BYTES = 50_000_000
_TRAINING_PIECE = 2**16  # characters; fine enough that a corpus of a few large files is sampled evenly too
_WORD_END = re.compile(r"\S(?=[ \r\n])")


def auto_vocab_size(corpus_bytes: int) -> int:
    """Vocabulary size for a corpus: a multiple of 64, special tokens included.

    Straight lines, in logarithms, through 512 at 0.1 MB, 1k at 1 MB, 4k at 5 MB, 8k at 20 MB, 16k at 100 MB and 32k at
    1 GB; level outside. New words keep coming in as a corpus grows, but ever more slowly (Heaps' law: about as its
    square root), and an entry is worth its embedding only when it occurs some hundred times. Matrix hardware likes
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
    """A tokenizer learnt from texts; ids 0 to 5 are :data:`SPECIAL_TOKENS`.

    Args:
        texts: what it learns from; :func:`sample_for_training` keeps this small on a large corpus.
        kind: ``bpe`` byte-level pairs, nothing is unknown, decoding is exact. ``wordpiece`` as BERT's, cased; white
            space is not kept. ``char`` one entry per character, exact where none is unknown. ``byte`` all bytes, exact.
        vocab_size: entries at most, specials included; a small corpus can give fewer. ``auto``:
            :func:`auto_vocab_size`, for ``char`` every character there is. ``byte`` always has 262.
        corpus_bytes: UTF-8 bytes of the whole corpus, not of ``texts`` alone; read by ``auto`` only.

    Raises:
        UsageError: a vocabulary size that this kind cannot have.
        DataError: there is no text.
    """
    least, most = _SIZES[kind]
    if vocab_size != "auto" and not least <= vocab_size <= most:
        raise UsageError(
            f"vocabulary size {vocab_size} for a {kind} tokenizer\n{least:,} to {most:,} can be used, or auto"
        )
    if kind == "byte":
        return _train_bpe((), _BYTES, use_regex=False)
    some = _with_text(texts)
    if kind == "char":
        return _char_tokenizer(some, _CHAR_VOCABULARY if vocab_size == "auto" else vocab_size)
    size = auto_vocab_size(corpus_bytes) if vocab_size == "auto" else vocab_size
    return _train_bpe(some, size, use_regex=True) if kind == "bpe" else _train_wordpiece(some, size)


def _with_text(texts: Iterable[str]) -> Iterator[str]:
    """The texts, once the first of them is found not to be missing."""
    rest = iter(texts)
    first = next((text for text in rest if text), None)
    if first is None:
        raise DataError("there is no text to train a tokenizer on")
    return chain([first], rest)


def _train_bpe(texts: Iterable[str], size: int, *, use_regex: bool) -> "Tokenizer":
    """Byte-level BPE; without ``use_regex`` and without merges every byte is a token."""
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
    """WordPiece, in two rounds: which characters begin and continue words, then what they are joined to.

    In one round the library numbers the continuing ones as its hash table yields them and decides ties by the numbers:
    no two trainings would agree.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=False, handle_chinese_chars=True, strip_accents=False, lowercase=False
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    packed = [text.encode() for text in texts]  # read three times; as bytes no character takes four times its room
    # A character costs two entries, and rare ones would leave no room for words.
    kept = set(_most_frequent((text.decode() for text in packed), size // 4))
    found = _wordpieces(tokenizer, packed, 0, [])
    letters = sorted(piece for piece in found if len(piece.removeprefix("##")) == 1 and piece[-1] in kept)
    pieces = _wordpieces(tokenizer, packed, size, letters)
    tokenizer.model = models.WordPiece(pieces, unk_token="[UNK]")
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def _wordpieces(tokenizer: "Tokenizer", packed: list[bytes], size: int, letters: list[str]) -> dict[str, int]:
    """The vocabulary learnt; letters given are numbered in their order, and others are left out."""
    from tokenizers import Tokenizer, trainers

    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=[*SPECIAL_TOKENS, *letters],
        limit_alphabet=0 if letters else 2**21,  # more than there are characters
        show_progress=False,
    )
    learner = Tokenizer.from_str(tokenizer.to_str())
    learner.train_from_iterator((text.decode() for text in packed), trainer)
    return learner.get_vocab()


def _char_tokenizer(texts: Iterable[str], size: int) -> "Tokenizer":
    from tokenizers import Tokenizer, decoders, models

    kept = _most_frequent(texts, size - len(SPECIAL_TOKENS))
    vocabulary = {token: number for number, token in enumerate([*SPECIAL_TOKENS, *sorted(kept)])}
    # Pairs without merges: splitting the text into characters first does the same at several times the cost.
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="[UNK]"))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def _most_frequent(texts: Iterable[str], at_most: int) -> list[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    return sorted(counts, key=lambda character: (-counts[character], character))[:at_most]


def sample_for_training(documents: Iterable[Document], corpus_bytes: int, at_most: int) -> Iterator[str]:
    """Texts for :func:`train_tokenizer`, at most so many bytes, drawn evenly over the corpus.

    Documents are cut into pieces of about 65,000 characters, and a hash of its document's id and its number decides
    whether a piece is drawn: it matters neither in which order the documents come nor how many fit in memory.

    Args:
        documents: read once.
        corpus_bytes: UTF-8 bytes of all of them; an estimate will do.
        at_most: UTF-8 bytes of what is given; a smaller corpus is given whole.
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
    """The SHA-256 of a name as a fraction of the largest there can be, in [0, 1): a draw that needs no state."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def cut_between_words(text: str, length: int) -> Iterator[str]:
    """The text in pieces of ``length`` characters or a little more, each but the last ending before white space.

    Without white space to come a piece goes on to the end of the text. Joined, the pieces are the text.
    """
    start = 0
    while found := _WORD_END.search(text, start + length - 1):
        yield text[start : found.end()]
        start = found.end()
    if start < len(text):
        yield text[start:]


def load_tokenizer(path: str | Path) -> "Tokenizer":
    """The tokenizer of a ``tokenizer.json``, or of a folder that holds one.

    Raises:
        FileRefusedError: no such file, more than 50 MB, or not a tokenizer.
    """
    from tokenizers import Tokenizer

    file = Path(path)
    file = file / "tokenizer.json" if file.is_dir() else file
    if not file.is_file():
        raise FileRefusedError(f"{file} is missing\na tokenizer.json, or a folder that holds one, is needed")
    text = read_text(file, _MAX_FILE_BYTES)
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exception
        what = " ".join(str(error).split())[:200]
        raise FileRefusedError(f"{file}: not a tokenizer: {what}") from None
    numbers = list(tokenizer.get_vocab(with_added_tokens=True).values())
    if len(set(numbers)) < len(numbers):  # it would be another tokenizer each time it is written
        raise FileRefusedError(f"{file}: not a tokenizer: two entries have one id")
    if not 0 < vocabulary_size(tokenizer) <= _LARGEST_VOCABULARY:
        raise FileRefusedError(f"{file}: ids up to {vocabulary_size(tokenizer) - 1}, 0 to 2^20 - 1 can be used")
    return tokenizer


class SpecialIds(NamedTuple):
    """Ids of the entries with a role, None where the tokenizer has no such entry."""

    pad: int | None
    unk: int | None
    cls: int | None
    sep: int | None
    mask: int | None
    eos: int | None


def roles(tokenizer: "Tokenizer") -> SpecialIds:
    """The special entries, found by the names in :data:`SPELLINGS`; ``sep`` serves as ``eos`` if there is none."""
    found = {
        role: next((number for name in names if (number := tokenizer.token_to_id(name)) is not None), None)
        for role, names in SPELLINGS.items()
    }
    return SpecialIds(**found | {"eos": found["sep"] if found["eos"] is None else found["eos"]})


def require(ids: SpecialIds, *names: str) -> tuple[int, ...]:
    """The ids of the roles named, in that order.

    Raises:
        UsageError: the tokenizer lacks one; the message says which and what it may be called.
    """
    for name in names:
        if getattr(ids, name) is None:
            raise UsageError(
                f"the tokenizer has no entry for {name!r}\nlooked for: {' '.join(SPELLINGS[name])}\n"
                "add one to its tokenizer.json, or train a tokenizer on the corpus"
            )
    return tuple(getattr(ids, name) for name in names)


def plain(tokenizer: "Tokenizer") -> "Tokenizer":
    """A copy that gives a text the same ids each time: all of it, nothing added, names of specials as mere text."""
    from tokenizers import Tokenizer

    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    if getattr(copy.model, "dropout", None) is not None:
        copy.model.dropout = None
    copy.encode_special_tokens = True  # else a page about "[MASK]" would hold masks
    return copy


def digest(tokenizer: "Tokenizer") -> str:
    """SHA-256 of what decides its ids: the JSON of its :func:`plain` copy."""
    return hashlib.sha256(plain(tokenizer).to_str().encode()).hexdigest()


def vocabulary_size(tokenizer: "Tokenizer") -> int:
    """The largest id plus one: the rows that a table indexed by ids needs, holes included."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1


def may_cut_between_words(tokenizer: "Tokenizer") -> bool:
    """Whether the ids of a text are those of its pieces from :func:`cut_between_words`, joined.

    True for all kinds trained here and for loaded ones that split words as GPT-2 or BERT do; else False, to be safe.
    """
    parts = json.loads(tokenizer.to_str())
    splitter, model, normalizer = parts["pre_tokenizer"] or {}, parts["model"], parts["normalizer"] or {}
    if any(not token["special"] for token in parts["added_tokens"]):
        return False  # such a token may hold white space itself
    if splitter.get("type") == "BertPreTokenizer":
        return normalizer.get("type") in (None, "BertNormalizer")
    if normalizer or splitter.get("type") not in (None, "ByteLevel") or splitter.get("add_prefix_space"):
        return False
    joining = ("merges", "fuse_unk", "continuing_subword_prefix", "end_of_word_suffix")
    return bool(splitter.get("use_regex")) or (model["type"] == "BPE" and not any(model.get(name) for name in joining))


def token_bytes(tokenizer: "Tokenizer") -> npt.NDArray[np.int32]:
    """UTF-8 bytes of text that each entry stands for, (V,) int32; 0 for special tokens and unused ids.

    Exact for byte-level kinds and ``char``: the sum over a text's tokens is its bytes, unknown characters aside.
    WordPiece keeps no white space: entries count without ``##`` and spaces are in no entry, so that the sum is less
    than the text's bytes. For bits per byte divide by the bytes of the text itself, which the token store records.
    """
    return np.array([len(stood_for) for stood_for in _stood_for(tokenizer)], dtype=np.int32)


def starts_word(tokenizer: "Tokenizer") -> npt.NDArray[np.bool_]:
    """Whether each entry starts a word, (V,) bool, to mask whole words: a word is such a token and all up to the next.

    WordPiece: entries without ``##``. All other kinds: entries whose text begins with anything but a letter, a digit or
    an accent, so that a space or line break belongs to the word that follows it. Entries that begin inside a character
    continue a word, since they alone do not tell which character it is. Specials start a word; so does, whatever this
    table says, the token that follows one.
    """
    if prefix := json.loads(tokenizer.to_str())["model"].get("continuing_subword_prefix"):
        return np.array([not text.startswith(prefix) for text in _entries(tokenizer)])
    return np.array([_begins_outside_words(stood_for) for stood_for in _stood_for(tokenizer)])


def _begins_outside_words(stood_for: bytes) -> bool:
    """Whether there is no text, or its first character is whole and neither letter, mark nor number."""
    for length in range(1, min(len(stood_for), 4) + 1):
        try:
            return unicodedata.category(stood_for[:length].decode())[0] not in "LMN"
        except UnicodeDecodeError:
            continue
    return not stood_for


def _entries(tokenizer: "Tokenizer") -> list[str]:
    """The entry of every id, empty where an id is unused."""
    entries = [""] * vocabulary_size(tokenizer)
    for text, number in tokenizer.get_vocab(with_added_tokens=True).items():
        entries[number] = text
    return entries


def _stood_for(tokenizer: "Tokenizer") -> list[bytes]:
    """The bytes of text behind every id, none for specials."""
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
    """The character by which byte-level vocabularies write each byte: itself if it prints, else one from 256 on."""
    prints = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(prints)]
    return {chr(byte): byte for byte in prints} | {chr(256 + rank): byte for rank, byte in enumerate(others)}
