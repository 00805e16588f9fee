"""Text encoders that were saved with their tokenizers, for every export."""

import torch

from selfstudy.encoders.base import Vocabulary
from selfstudy.encoders.text import build_text_encoder
from selfstudy.encoders.text_catalogue import LAYOUTS
from selfstudy.encoders.text_store import save_text_encoder
from selfstudy.text.tokenizer import special_ids, train_tokenizer, vocabulary_size

CONTEXT = 24


SENTENCES = ["the red ball is round and large", "a small blue box stands next to the cup", "green cups, red boxes"]


TEXTS = ["red ball", "a cup", "box [CLS] cup", "small round red ball"]


TOKENIZERS = dict(zip(LAYOUTS, ["bpe", "wordpiece", "char", "byte", "bpe"], strict=True))


def saved(folder, layout, *, pool="mean", head=False):
    tokenizer = train_tokenizer(SENTENCES * 9, kind=TOKENIZERS[layout], vocab_size="auto", corpus_bytes=900)
    ids = special_ids(tokenizer)
    vocabulary = Vocabulary(vocabulary_size(tokenizer), ids.pad, ids.cls, ids.sep, ids.mask, ids.eos)
    torch.manual_seed(0)
    changes = {"width": 16, "depth": 2, "heads": 2}
    encoder = build_text_encoder(
        f"{layout}-tiny", vocabulary, head=head, context=CONTEXT, changes=changes, pool=pool
    ).eval()
    facts = {"method": "simcse", "weights": "student", "seed": 0, "name": f"{layout}-tiny", "head": head}
    save_text_encoder(encoder, tokenizer, folder, context=CONTEXT, extra=facts)
    return folder
