"""A text encoder as a directory that transformers opens."""

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfstudy.disk.atomic import staged_folder
from selfstudy.encoders.text import TextEncoder, quiet
from selfstudy.encoders.text_catalogue import CAUSAL, POOLED
from selfstudy.encoders.text_store import FACTS, load_text_encoder
from selfstudy.encoders.whitening import WHITENING
from selfstudy.export.result import ExportResult, require_agreement

_TOLERANCE = 1e-5


def export_transformers(encoder_folder: Path, out: Path) -> ExportResult:
    """Write configuration, weights and tokenizer to ``out/``, reload them in transformers and compare.

    Raises:
        FileRefusedError: the encoder is damaged, or the reloaded network computes something else; nothing is kept.
    """
    encoder, _, facts = load_text_encoder(encoder_folder)
    with staged_folder(out) as folder:
        for file in encoder_folder.iterdir():
            if file.is_file() and file.name not in (FACTS, WHITENING):
                shutil.copyfile(file, folder / file.name)
        worst = _difference(encoder, facts, folder)
        require_agreement(worst, at_most=_TOLERANCE)
    return ExportResult(out, worst, _usage(encoder, facts, out), "transformers")


def _auto(encoder: TextEncoder, facts: dict[str, Any]) -> str:
    """The name of the class in transformers that opens the whole network."""
    if not facts["head"]:
        return "AutoModel"
    return "AutoModelForCausalLM" if encoder.layout in CAUSAL else "AutoModelForMaskedLM"


def _difference(encoder: TextEncoder, facts: dict[str, Any], folder: Path) -> float:
    """The largest difference of logits, or of states without a head, on rows of random tokens."""
    import transformers as hf

    options = {"local_files_only": True, "trust_remote_code": False, "use_safetensors": True, "dtype": torch.float32}
    if not facts["head"] and encoder.layout in POOLED:
        options["add_pooling_layer"] = False
    with quiet():
        theirs = getattr(hf, _auto(encoder, facts)).from_pretrained(folder, **options).eval()
    generator = torch.Generator().manual_seed(0)
    length = min(encoder.context, facts["context"])  # the network may take far longer rows than the run had
    ids = torch.randint(encoder.vocabulary.size, (4, length), generator=generator)
    if encoder.vocabulary.pad is not None:
        ids = torch.where(ids == encoder.vocabulary.pad, (encoder.vocabulary.pad + 1) % encoder.vocabulary.size, ids)
    with torch.inference_mode():
        states: Tensor = encoder.states(ids)
        if facts["head"]:
            return float((encoder.logits(states) - theirs(input_ids=ids).logits).abs().max())
        return float((states - theirs(input_ids=ids).last_hidden_state).abs().max())


def _usage(encoder: TextEncoder, facts: dict[str, Any], out: Path) -> str:
    """The lines of Python that use the directory."""
    auto = _auto(encoder, facts)
    unpooled = ", add_pooling_layer=False" if not facts["head"] and encoder.layout in POOLED else ""
    lines = [
        f"from transformers import {auto}, AutoTokenizer",
        f"tokenizer = AutoTokenizer.from_pretrained({str(out)!r})",
        f"model = {auto}.from_pretrained({str(out)!r}{unpooled})",
    ]
    if facts["head"]:
        task = "text-generation" if encoder.causal else "fill-mask"
        lines.append(f"# or: transformers.pipeline({task!r}, {str(out)!r})")
    return "\n".join(lines)
