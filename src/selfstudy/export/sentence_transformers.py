"""A text encoder as a directory from which sentence-transformers makes the same vectors as we do.

In addition to the files of transformers it holds four files, with the names and keys of sentence-transformers 5, which
version 6 reads too: ``modules.json`` lists the modules, ``sentence_bert_config.json`` holds the largest length of a
text, ``1_Pooling/config.json`` says how tokens become one vector, and ``config_sentence_transformers.json`` holds
general settings. Two things differ from the directory for transformers: the head is left out, since no vector depends
on it, and the tokenizer adds first and last tokens as :class:`~selfstudy.text.embedder.TextEmbedder` does, for causal
encoders too.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfstudy.disk.atomic import staged_folder
from selfstudy.encoders.text import TextEncoder, quiet
from selfstudy.encoders.text_catalogue import POOLED
from selfstudy.encoders.text_store import tokenizer_config
from selfstudy.export.framing import framing_tokenizer, texts_that_fit
from selfstudy.export.result import ExportResult, require_agreement
from selfstudy.text.embedder import TextEmbedder

_TOLERANCE = 1e-5
_POOLING = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "last": "pooling_mode_lasttoken"}
_POOLING_FILE, _LENGTH_FILE = "1_Pooling/config.json", "sentence_bert_config.json"


def export_sentence_transformers(encoder_folder: Path, out: Path) -> ExportResult:
    """Write ``out/`` as a model of sentence-transformers, reload it there and compare vectors of texts.

    If sentence-transformers is not installed, transformers opens network and tokenizer, and their outputs are pooled as
    the written files say.

    Raises:
        FileRefusedError: the encoder is damaged, or the reloaded model makes other vectors; nothing is kept.
    """
    embedder = TextEmbedder.load(encoder_folder, device="cpu")
    texts = texts_that_fit(embedder)
    with staged_folder(out) as folder:
        _write(embedder, folder)
        library, theirs = "sentence-transformers", _by_sentence_transformers(folder, texts)
        if theirs is None:
            library, theirs = "transformers (sentence-transformers is not installed)", _by_transformers(folder, texts)
        worst = float((embedder.of_texts(texts) - theirs).abs().max())
        require_agreement(worst, at_most=_TOLERANCE)
    return ExportResult(out, worst, _usage(embedder, out), library)


def _write(embedder: TextEmbedder, out: Path) -> None:
    """Write all files."""
    encoder, context = embedder.encoder, embedder.context
    tokenizer = framing_tokenizer(embedder)
    trunk: Any = encoder.network.base_model
    with quiet():
        trunk.save_pretrained(out)
    content = {
        "tokenizer.json": json.loads(tokenizer.to_str()),
        "tokenizer_config.json": tokenizer_config(tokenizer, encoder, context) | {"split_special_tokens": True},
        **_descriptions(encoder, context),
    }
    (out / "1_Pooling").mkdir(exist_ok=True)
    for name, value in content.items():
        (out / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _descriptions(encoder: TextEncoder, context: int) -> dict[str, Any]:
    """The contents of the four files for sentence-transformers, by name."""
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    pooling = {key: key == _POOLING[encoder.pool] for key in _POOLING.values()}
    unpooled = {"model_args": {"add_pooling_layer": False}} if encoder.layout in POOLED else {}
    return {
        "modules.json": [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for number, (path, kind) in enumerate(modules)
        ],
        "config_sentence_transformers.json": {
            "model_type": "SentenceTransformer",
            "prompts": {},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
        _LENGTH_FILE: {"max_seq_length": context, "do_lower_case": False, **unpooled},
        _POOLING_FILE: {"word_embedding_dimension": encoder.embed_dim, **pooling, "include_prompt": True},
    }


def _by_sentence_transformers(folder: Path, texts: list[str]) -> Tensor | None:
    """The vectors (n, D) float32 of texts by sentence-transformers; None if it is not installed."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        return None
    with quiet():
        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True, trust_remote_code=False)
    return torch.from_numpy(model.encode(texts, show_progress_bar=False))


def _by_transformers(folder: Path, texts: list[str]) -> Tensor:
    """The vectors (n, D) float32 of texts by transformers, pooled as the written files say."""
    import transformers as hf

    length, pooling = (json.loads((folder / name).read_text("utf-8")) for name in (_LENGTH_FILE, _POOLING_FILE))
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    options = local | {"use_safetensors": True, "dtype": torch.float32} | length.get("model_args", {})
    with quiet():
        network = hf.AutoModel.from_pretrained(folder, **options).eval()
    tokenizer: Any = hf.AutoTokenizer.from_pretrained(folder, **local)
    batch = tokenizer(texts, padding=True, truncation=True, max_length=length["max_seq_length"], return_tensors="pt")
    with torch.inference_mode():
        states: Tensor = network(**batch).last_hidden_state.float()  # (n, T, D)
    mask: Tensor = batch["attention_mask"]  # (n, T)
    if pooling[_POOLING["cls"]]:
        return states[:, 0]
    if pooling[_POOLING["last"]]:
        return states[torch.arange(len(states)), mask.sum(dim=1) - 1]
    return (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def _usage(embedder: TextEmbedder, out: Path) -> str:
    """The lines of Python that use the directory."""
    return "\n".join(
        [
            "from sentence_transformers import SentenceTransformer",
            f"model = SentenceTransformer({str(out)!r})",
            'vectors = model.encode(["a text", "another"])'
            f"  # cut off after {embedder.context} tokens; selfstudy takes the mean over the pieces of a longer text",
        ]
    )
