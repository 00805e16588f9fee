import json
import random
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from selfstudy.errors import DataError, FileRefusedError, UsageError
from selfstudy.text.documents import Document
from selfstudy.text.tokenizer import (
    SPECIAL_TOKENS,
    auto_vocab_size,
    cut_between_words,
    digest,
    hash_fraction,
    load_tokenizer,
    may_cut_between_words,
    plain,
    require,
    sample_for_training,
    special_ids,
    starts_word,
    token_bytes,
    train_tokenizer,
    vocabulary_size,
)

KINDS = ["bpe", "wordpiece", "char", "byte"]
EXACT = ["bpe", "char", "byte"]
AWKWARD = [
    "Hello, world! It's 12,345.60 now.",
    "emoji 😀 👩‍👩‍👧 and flags 🇩🇪",
    "e\u0301 and a\u0323\u0308 combine, é and ạ̈ are ready-made",
    "tabs\tand  many   spaces ",
    "windows\r\nline\r\n\r\nends\r\n",
    "\n\n\nempty lines\n\n",
    "long" * 700,
    "\u00a0odd\u2028spaces\u3000here\x85",
    "日本語の文章。\n中文也行。",
    "\x00\x07 control\x1c characters",
    "the names [MASK] and [EOS] in a text",
    " ",
]
ENGLISH = ["the quick brown fox jumps over the lazy dog, and the fox sat down\nagain: the end"] * 30


@cache
def _json(kind, texts, vocab_size):
    return train_tokenizer(texts, kind=kind, vocab_size=vocab_size, corpus_bytes=1000).to_str()


def _trained(kind, texts=AWKWARD, vocab_size="auto"):
    """A tokenizer of its own for each test, trained once for all."""
    return Tokenizer.from_str(_json(kind, tuple(texts), vocab_size))


def _ids(tokenizer, text):
    return plain(tokenizer).encode(text, add_special_tokens=False).ids


def _word_level(*tokens, special=()):
    tokenizer = Tokenizer(models.WordLevel({token: number for number, token in enumerate(tokens)}, unk_token=tokens[0]))
    tokenizer.add_special_tokens(list(special))
    return tokenizer


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_have_the_first_ids_and_are_marked_special(kind):
    tokenizer = _trained(kind)
    added = tokenizer.get_added_tokens_decoder()
    assert [added[number].content for number in range(6)] == list(SPECIAL_TOKENS)
    assert all(added[number].special for number in range(6))
    assert special_ids(tokenizer) == (0, 1, 2, 3, 4, 5)
    assert tokenizer.decode([2, 5]) == ""


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("text", AWKWARD)
def test_decoding_gives_the_text_back(kind, text):
    tokenizer = _trained(kind)
    assert plain(tokenizer).decode(_ids(tokenizer, text), skip_special_tokens=False) == text


@pytest.mark.parametrize("kind", ["bpe", "byte"])
def test_byte_level_kinds_know_what_they_never_saw(kind):
    tokenizer = _trained(kind, ["abc"])
    assert tokenizer.decode(_ids(tokenizer, "ひ😀\u0301\r\n")) == "ひ😀\u0301\r\n"


@pytest.mark.parametrize("text", [AWKWARD[number] for number in (0, 1, 2, 3, 4, 5, 8)])
def test_wordpiece_gives_all_except_white_space_back(text):
    tokenizer = _trained("wordpiece", vocab_size=2000)
    decoded = tokenizer.decode(_ids(tokenizer, text), skip_special_tokens=False)
    assert "".join(decoded.split()) == "".join(text.split())


def test_wordpiece_marks_pieces_that_go_on():
    tokenizer = _trained("wordpiece", ENGLISH + ["foxes"], 256)
    assert [tokenizer.id_to_token(i) for i in _ids(tokenizer, "fox foxe")] == ["fox", "fox", "##e"]


def test_an_unseen_character_is_unknown_to_char():
    assert _ids(_trained("char", ["ab"]), "aéb") == [6, 1, 7]


def test_char_numbers_the_most_frequent_characters_by_code_point():
    tokenizer = _trained("char", ["zzzaaabb\n\n\n\nc"], 9)
    assert sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])[6:] == [("\n", 6), ("a", 7), ("z", 8)]


def test_byte_has_262_entries_and_a_token_for_every_byte():
    tokenizer = _trained("byte")
    assert vocabulary_size(tokenizer) == 262
    assert len(_ids(tokenizer, "é😀 a")) == 8


def test_bpe_has_the_size_asked_for_and_joins_frequent_words():
    tokenizer = _trained("bpe", ENGLISH, 300)
    assert vocabulary_size(tokenizer) == 300
    assert len(_ids(tokenizer, " the")) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_training_twice_gives_the_same_tokenizer(kind):
    again = train_tokenizer(AWKWARD, kind=kind, vocab_size="auto", corpus_bytes=1000)
    assert again.to_str() == _trained(kind).to_str()


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_special_tokens_in_a_text_are_mere_text(kind):
    assert not set(_ids(_trained(kind), "[MASK][EOS][PAD]")) & {0, 4, 5}


@pytest.mark.parametrize(
    ("kind", "size"), [("bpe", 261), ("wordpiece", 255), ("char", 6), ("byte", 300), ("bpe", 2**20 + 1)]
)
def test_a_vocabulary_size_that_cannot_be_is_refused(kind, size):
    with pytest.raises(UsageError, match=f"vocabulary size {size} for a {kind} tokenizer"):
        _trained(kind, vocab_size=size)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "char"])
def test_training_on_nothing_is_refused(kind):
    with pytest.raises(DataError, match="no text to train"):
        _trained(kind, ["", ""])


@pytest.mark.parametrize(
    ("megabytes", "size"),
    [(0.001, 512), (0.1, 512), (1, 1024), (5, 4096), (20, 8192), (100, 16384), (1000, 32768), (9000, 32768)],
)
def test_the_automatic_size_follows_the_corpus(megabytes, size):
    assert auto_vocab_size(int(megabytes * 1e6)) == size


def test_the_automatic_size_grows_in_multiples_of_64():
    sizes = [auto_vocab_size(int(1.3**power)) for power in range(100)]
    assert sizes == sorted(sizes)
    assert all(size % 64 == 0 for size in sizes)


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("text", AWKWARD)
def test_bytes_of_the_tokens_add_up_to_those_of_the_text(kind, text):
    tokenizer = _trained(kind)
    assert token_bytes(tokenizer)[_ids(tokenizer, text)].sum() == len(text.encode())


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_stand_for_no_bytes_and_start_words(kind):
    tokenizer = _trained(kind)
    sizes, starts = token_bytes(tokenizer), starts_word(tokenizer)
    assert sizes.shape == starts.shape == (vocabulary_size(tokenizer),)
    assert sizes.dtype == np.int32 and starts.dtype == np.bool_
    assert sizes[:6].tolist() == [0] * 6 and starts[:6].all()
    assert (sizes[6:] > 0).all()


def test_bytes_of_wordpieces_leave_out_the_mark_and_white_space():
    tokenizer = _trained("wordpiece", ENGLISH + ["foxé"], 256)
    assert token_bytes(tokenizer)[_ids(tokenizer, "the  foxé\n")].sum() == len("thefoxé".encode())


def test_bytes_of_a_sentencepiece_vocabulary():
    tokenizer = Tokenizer(
        models.BPE({"<unk>": 0, "▁": 1, "▁a": 2, "<0x0A>": 3, "é": 4, "a": 5}, [("▁", "a")], byte_fallback=True)
    )
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
    assert token_bytes(tokenizer).tolist() == [5, 1, 2, 1, 2, 1]


def _words(tokenizer, text):
    """Decoded groups of tokens from one that starts a word to the next."""
    starts, groups = starts_word(tokenizer), []
    for number in _ids(tokenizer, text):
        if starts[number] or not groups:
            groups.append([])
        groups[-1].append(number)
    return [tokenizer.decode(group, skip_special_tokens=False) for group in groups]


@pytest.mark.parametrize("kind", EXACT)
def test_words_begin_at_white_space_and_punctuation(kind):
    words = _words(_trained(kind, ENGLISH), "the lazy fox, down\nagain: no")
    assert words == ["the", " lazy", " fox", ",", " down", "\nagain", ":", " no"]


def test_words_of_wordpiece_begin_without_the_mark():
    assert _words(_trained("wordpiece", [*ENGLISH, "lazyfox"], 256), "the lazyfox, no") == ["the", "lazyfox", ",", "no"]


def test_accents_and_letters_of_many_bytes_do_not_start_a_word():
    starts = starts_word(tokenizer := _trained("char", ["é\u0301日1 –😀_"]))
    expected = {"é": False, "\u0301": False, "日": False, "1": False, " ": True, "–": True, "😀": True, "_": True}
    assert {text: bool(starts[tokenizer.token_to_id(text)]) for text in expected} == expected
    byte = _trained("byte")
    assert not starts_word(byte)[_ids(byte, "é日")].any()


def test_pieces_end_before_white_space_and_join_to_the_text():
    assert list(cut_between_words("ab cd\r\nefgh i", 2)) == ["ab", " cd", "\r\nefgh", " i"]
    assert list(cut_between_words("abcdef", 2)) == ["abcdef"]
    assert list(cut_between_words("", 2)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_ids_of_the_pieces_are_the_ids_of_the_text(kind):
    tokenizer = plain(_trained(kind, AWKWARD + ENGLISH))
    assert may_cut_between_words(tokenizer)
    draw = random.Random(0)
    for _ in range(60):
        text = "".join(
            draw.choices(
                ["the", "a", "'s", ".", "?", " ", "  ", "\n", "\r\n", "\t", "\x85", "😀", "1", "é", "日"], k=60
            )
        )
        pieces = list(cut_between_words(text, draw.randint(1, 8)))
        assert "".join(pieces) == text
        ids = [number for piece in pieces for number in tokenizer.encode(piece, add_special_tokens=False).ids]
        assert ids == tokenizer.encode(text, add_special_tokens=False).ids


def test_a_tokenizer_that_treats_a_beginning_apart_is_not_cut():
    prefixing = _trained("bpe")
    prefixing.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    metaspace = _trained("bpe")
    metaspace.pre_tokenizer = pre_tokenizers.Metaspace()
    spaced = _trained("bpe")
    spaced.add_tokens(["New York"])
    joined = Tokenizer(models.BPE({"?": 0}, [], unk_token="?", fuse_unk=True))
    assert not any(may_cut_between_words(tokenizer) for tokenizer in (prefixing, metaspace, spaced, joined))


def _corpus(documents, length=3000):
    return [Document(f"a.txt#{number}", f"{number:04d} " * (length // 5)) for number in range(documents)]


def test_a_small_corpus_is_learnt_from_whole():
    documents = _corpus(20)
    assert list(sample_for_training(documents, 60_000, 60_000)) == [document.text for document in documents]


def test_the_sample_is_even_and_keeps_to_its_limit():
    sample = list(sample_for_training(_corpus(2000), 6_000_000, 1_500_000))
    assert 1_200_000 < sum(map(len, sample)) <= 1_500_000
    quarters = np.bincount([int(text[:4]) // 500 for text in sample], minlength=4)
    assert quarters.min() > 80


def test_the_sample_does_not_depend_on_the_order_of_the_documents():
    documents = _corpus(300)
    shuffled = random.Random(1).sample(documents, len(documents))
    # The claimed size is twice the real one, so that the limit, which does depend on the order, is not reached.
    first, second = (sorted(sample_for_training(these, 1_800_000, 900_000)) for these in (documents, shuffled))
    assert first == second and 50 < len(first) < 250


def test_a_single_large_document_is_sampled_in_pieces():
    text = "".join(f"{number:07d} " for number in range(500_000))
    sample = list(sample_for_training([Document("a.txt#0", text)], len(text), 1_000_000))
    assert 400_000 < sum(map(len, sample)) <= 1_000_000
    assert all(piece in text and len(piece) < 66_000 for piece in sample)


def test_the_hash_fraction_is_uniform_and_by_hand():
    drawn = [hash_fraction(str(number)) for number in range(4000)]
    assert abs(np.mean(drawn) - 0.5) < 0.02 and 0 <= min(drawn) and max(drawn) < 1
    assert hash_fraction("") == 0xE3B0C44298FC1C14 / 2**64  # SHA-256 of nothing begins so


def test_a_tokenizer_is_loaded_from_a_file_or_its_folder(tmp_path):
    tokenizer = _trained("bpe")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).to_str() == tokenizer.to_str()
    assert load_tokenizer(str(tmp_path / "tokenizer.json")).to_str() == tokenizer.to_str()


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b'{"model": {"type": "BPE"}}', b"null"])
def test_another_file_is_refused_by_name(tmp_path, content):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(FileRefusedError, match=r"tokenizer\.json: not (a tokenizer|readable as UTF-8)"):
        load_tokenizer(tmp_path)


def test_a_missing_or_huge_file_is_refused(tmp_path):
    with pytest.raises(FileRefusedError, match="is missing"):
        load_tokenizer(tmp_path / "no.json")
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate(50_000_001)
    with pytest.raises(FileRefusedError, match="at most 50,000,000"):
        load_tokenizer(tmp_path)


def test_ids_that_no_table_can_hold_are_refused(tmp_path):
    described = json.loads(_word_level("a", "b").to_str())
    described["model"]["vocab"]["b"] = 4_000_000_000
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    with pytest.raises(FileRefusedError, match="ids up to"):
        load_tokenizer(tmp_path)


def test_entries_that_share_an_id_are_refused(tmp_path):
    described = json.loads(_trained("bpe", ENGLISH, 300).to_str())
    joined = described["model"]["merges"][-1]
    described["model"]["vocab"][joined[0]] = described["model"]["vocab"]["a"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    with pytest.raises(FileRefusedError, match="two tokens have the same id"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (("<s>", "<pad>", "</s>", "<unk>", "<mask>"), (1, 3, 0, 2, 4, 2)),
        (("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), (0, 1, 2, 3, 4, 3)),
        (("x", "<|endoftext|>"), (None, None, None, None, None, 1)),
        (("x", "y"), (None,) * 6),
    ],
)
def test_roles_are_found_by_their_usual_names(tokens, expected):
    assert special_ids(_word_level(*tokens)) == expected


def test_a_missing_role_is_named_with_what_was_looked_for():
    ids = special_ids(_word_level("x", "<|endoftext|>"))
    assert require(ids, "eos") == (1,)
    with pytest.raises(UsageError, match=r"no entry for 'mask'\nlooked for: \[MASK\] <mask>"):
        require(ids, "eos", "mask")


def test_plain_takes_all_of_a_text_and_adds_nothing_and_leaves_the_original():
    tokenizer = _trained("bpe")
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=50)
    tokenizer.model.dropout = 0.5
    same = plain(tokenizer)
    assert same.decode(same.encode(AWKWARD[0]).ids) == AWKWARD[0]
    assert same.encode(AWKWARD[0]).ids == same.encode(AWKWARD[0]).ids
    assert tokenizer.truncation is not None and tokenizer.padding is not None and tokenizer.model.dropout == 0.5
    assert digest(tokenizer) == digest(same) != digest(_trained("bpe", ENGLISH))


def test_holes_in_the_vocabulary_have_rows_of_their_own():
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "bc": 3}, unk_token="a"))
    assert vocabulary_size(tokenizer) == 4
    assert token_bytes(tokenizer).tolist() == [1, 0, 0, 2]


def test_importing_the_module_does_not_import_the_library():
    code = "import sys; import selfstudy.text.tokenizer; print('tokenizers' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stdout.strip() == "False", found.stderr
