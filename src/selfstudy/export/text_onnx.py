"""A text encoder as an ONNX file, with the tokenizer that makes its inputs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selfstudy.disk.atomic import staged_folder
from selfstudy.encoders.text import TextEncoder
from selfstudy.export.framing import framing_tokenizer, texts_that_fit
from selfstudy.export.onnx import last_layer, layer_note, onnx_runtime, to_onnx, tolerance_after
from selfstudy.export.result import ExportResult, require_agreement
from selfstudy.text.embedder import TextEmbedder

_OUTPUT = "sentence_embedding"  # "embedding" is the name of a node of torch's exporter


class _FromMask(nn.Module):
    """The encoder with a mask for padding. It does not look for padding in the rows, which an ONNX file cannot do."""

    def __init__(self, encoder: TextEncoder, *, last: nn.Module) -> None:
        super().__init__()
        self.encoder, self.last = encoder, last

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The embeddings (B, D) of the ``input_ids`` (B, T) int64 whose ``attention_mask`` (B, T) int64 is 1."""
        trunk: Any = self.encoder.network.base_model
        uncached = {"use_cache": False} if self.encoder.causal else {}
        states: Tensor = trunk(input_ids=input_ids, attention_mask=attention_mask, **uncached).last_hidden_state
        embeddings: Tensor = self.last(self.encoder.pooled_over(states, attention_mask.bool()))
        return embeddings


def export_text_onnx(encoder_folder: Path, out: Path, *, whiten: bool = False) -> ExportResult:
    """Write ``out/model.onnx`` and ``out/tokenizer.json``, reload them and compare vectors of texts.

    The inputs ``input_ids`` and ``attention_mask`` are (B, T) int64 with any B, and any T up to the context of the run;
    the output ``sentence_embedding`` is (B, D) float32. The tokenizer adds first and last tokens, truncates and pads.
    The metadata of ``model.onnx`` holds the description of the encoder under ``selfstudy``. With ``whiten`` the last
    layer of the file whitens the embedding by the statistics of the run.

    Raises:
        EnvironmentFault: onnx, onnxscript or onnxruntime is not installed.
        FileRefusedError: the encoder is damaged, or the reloaded files make other vectors; nothing is kept.
        UsageError: ``whiten``, and the run has no whitening statistics.
    """
    runtime = onnx_runtime()
    embedder = TextEmbedder.load(encoder_folder, device="cpu")
    embedder = embedder.whitened if whiten else embedder
    ids = torch.zeros(2, min(8, embedder.context), dtype=torch.int64)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    network = _FromMask(embedder.encoder, last=last_layer(embedder.whitening)).eval()
    about = embedder.description | ({"whitened": True} if whiten else {})
    program = to_onnx(network, inputs, output=_OUTPUT, any_length=["batch", "tokens"], about=about)
    texts = texts_that_fit(embedder)
    with staged_folder(out) as folder:
        program.save(folder / "model.onnx")
        _write_tokenizer(embedder, folder / "tokenizer.json")
        worst = float((embedder.of_texts(texts) - _reloaded(runtime, folder, texts)).abs().max())
        require_agreement(worst, at_most=tolerance_after(embedder.whitening))
    usage = _usage(embedder, out) + layer_note(embedder.whitening)
    return ExportResult(out / "model.onnx", worst, usage, "ONNX Runtime")


def _write_tokenizer(embedder: TextEmbedder, file: Path) -> None:
    """Write a tokenizer that truncates at the context and pads the texts of a batch to one length."""
    tokenizer = framing_tokenizer(embedder)
    tokenizer.enable_truncation(embedder.context)
    tokenizer.enable_padding(pad_id=embedder.encoder.vocabulary.pad or 0)  # any id will do: the mask hides it
    tokenizer.save(str(file))


def _reloaded(runtime: Any, folder: Path, texts: list[str]) -> Tensor:
    """The vectors (n, D) float32 of texts by the written files."""
    from tokenizers import Tokenizer

    session = runtime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    rows = tokenizer.encode_batch(texts)
    inputs = {
        "input_ids": np.array([row.ids for row in rows]),
        "attention_mask": np.array([row.attention_mask for row in rows]),
    }
    return torch.from_numpy(session.run([_OUTPUT], inputs)[0])


def _usage(embedder: TextEmbedder, out: Path) -> str:
    """The lines of Python that use both files."""
    return "\n".join(
        [
            "import numpy, onnxruntime, tokenizers",
            f"session = onnxruntime.InferenceSession({str(out / 'model.onnx')!r})",
            f"tokenizer = tokenizers.Tokenizer.from_file({str(out / 'tokenizer.json')!r})",
            "tokenizer.encode_special_tokens = True  # names of special tokens are text like any other",
            'rows = tokenizer.encode_batch(["a text", "another"])'
            f"  # cut off after {embedder.context} tokens; selfstudy takes the mean over the pieces of a longer text",
            "inputs = {",
            '    "input_ids": numpy.array([row.ids for row in rows]),',
            '    "attention_mask": numpy.array([row.attention_mask for row in rows]),',
            "}",
            f"vectors = session.run([{_OUTPUT!r}], inputs)[0]",
        ]
    )
