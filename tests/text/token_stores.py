"""Sixty small documents, and the stores that are built of them."""

from functools import cache

from tokenizers import Tokenizer

from selfstudy.text.documents import Document
from selfstudy.text.token_build import build_store
from selfstudy.text.tokenizer import hash_fraction, plain, train_tokenizer

WORDS = ["the", "quick", "brown", "fox", "jumps", "é😀", "\n", "[EOS]", "over\r\n", "日本"]


DOCUMENTS = [
    Document(f"folder/a.txt#{number}", " ".join(WORDS[(number * step) % 10] for step in range(1, 4 + number % 9)))
    for number in range(60)
]


EOS = 5


@cache
def _json(kind):
    texts = [document.text for document in DOCUMENTS]
    return train_tokenizer(texts, kind=kind, vocab_size=300 if kind == "bpe" else "auto", corpus_bytes=1).to_str()


def tokenizer_of(kind="bpe"):
    return Tokenizer.from_str(_json(kind))


def build(folder, documents=DOCUMENTS, tokenizer=None, **options):
    settings = {"held_out": 0.3, "shard_tokens": 150, "fingerprint": "f"} | options
    return build_store(documents, tokenizer or tokenizer_of(), folder, **settings)


def encoded(documents, tokenizer=None):
    """The stream, document by document."""
    encode = plain(tokenizer or tokenizer_of()).encode
    return [number for document in documents for number in [*encode(document.text, add_special_tokens=False).ids, EOS]]


def split(documents, share=0.3):
    held = [document for document in documents if hash_fraction(document.id) < share]
    return [document for document in documents if document not in held], held


def contents(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def all_ids(stream):
    return stream.read(0, len(stream)).tolist()


def damage(file, way):
    if way == "missing":
        file.unlink()
    elif way == "short":
        file.write_bytes(file.read_bytes()[:-1])
    else:
        raw = bytearray(file.read_bytes())
        raw[3] ^= 1
        file.write_bytes(raw)
