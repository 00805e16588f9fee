"""A text encoder as an ONNX file, with the tokenizer that makes its inputs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selfstudy.disk.atomic import staged_folder
from selfstudy.encoders.text import TextEncoder
from selfstudy.export.framing import framing_tokenizer, texts_that_fit
from selfstudy.export.onnx import onnx_runtime, to_onnx
from selfstudy.export.result import ExportResult, require_agreement
from selfstudy.text.embedder import TextEmbedder

_OUTPUT = "sentence_embedding"  # torch's exporter calls a node of its own "embedding"


class _FromMask(nn.Module):
    """The encoder told by a mask what is padding: whether a row holds any is not asked, which no ONNX file can."""

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Embeddings (B, D) of ``input_ids`` (B, T) int64 where ``attention_mask`` (B, T) int64 is 1."""
        trunk: Any = self.encoder.network.base_model
        uncached = {"use_cache": False} if self.encoder.causal else {}
        states: Tensor = trunk(input_ids=input_ids, attention_mask=attention_mask, **uncached).last_hidden_state
        return self.encoder.pooled_over(states, attention_mask.bool())


def export_text_onnx(encoder_folder: Path, out: Path) -> ExportResult:
    """``out/model.onnx`` and ``out/tokenizer.json``, reloaded in ONNX Runtime and tokenizers, and compared on texts.

    The inputs ``input_ids`` and ``attention_mask`` are (B, T) int64 of any B and of any T up to the run's context; the
    output ``sentence_embedding`` is (B, D) float32. The tokenizer frames, cuts off and pads as the network needs it.
    What the encoder is stands in the metadata of ``model.onnx`` under ``selfstudy``.

    Raises:
        EnvironmentFault: onnx, onnxscript or onnxruntime is not installed.
        FileRefusedError: the encoder is damaged, or what is reloaded gives other vectors; nothing is kept.
    """
    runtime = onnx_runtime()
    embedder = TextEmbedder.load(encoder_folder, device="cpu")
    ids = torch.zeros(2, min(8, embedder.context), dtype=torch.int64)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    network = _FromMask(embedder.encoder).eval()
    program = to_onnx(network, inputs, output=_OUTPUT, any_length=["batch", "tokens"], about=embedder.description)
    texts = texts_that_fit(embedder)
    with staged_folder(out) as folder:
        program.save(folder / "model.onnx")
        _write_tokenizer(embedder, folder / "tokenizer.json")
        worst = float((embedder.of_texts(texts) - _reloaded(runtime, folder, texts)).abs().max())
        require_agreement(worst)
    return ExportResult(out / "model.onnx", worst, _usage(embedder, out), "ONNX Runtime")


def _write_tokenizer(embedder: TextEmbedder, file: Path) -> None:
    """Write the tokenizer, made to cut off at the context and to pad the texts of a batch to one length."""
    tokenizer = framing_tokenizer(embedder)
    tokenizer.enable_truncation(embedder.context)
    tokenizer.enable_padding(pad_id=embedder.encoder.vocabulary.pad or 0)  # the mask hides it, whatever it is
    tokenizer.save(str(file))


def _reloaded(runtime: Any, folder: Path, texts: list[str]) -> Tensor:
    """Vectors (n, D) float32 as the written files give them."""
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
    """Lines of Python that use both files."""
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
