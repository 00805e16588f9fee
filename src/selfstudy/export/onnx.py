"""The encoder as an ONNX file, for every runtime that reads those: no Python, no PyTorch needed to use it."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from selfstudy.disk.atomic import staged_folder
from selfstudy.encoders.store import load_encoder
from selfstudy.errors import EnvironmentFault
from selfstudy.export.result import ExportResult, largest_difference, require_agreement
from selfstudy.views.augment import normalize

_INSTALL = "pip install 'selfstudy[onnx]'"


class _FromPixels(nn.Module):
    """The encoder with its normalisation before it, so that whoever runs the file cannot forget it."""

    def __init__(self, encoder: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.encoder, self.mean, self.std = encoder, mean, std

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings (B, D) of ``images`` (B, C, H, W) float32 in [0, 1]."""
        return self.encoder(normalize(images, self.mean, self.std))  # type: ignore[no-any-return]


def export_onnx(encoder_folder: Path, out: Path) -> ExportResult:
    """``out/model.onnx``, reloaded in ONNX Runtime and compared.

    Its input ``images`` is (B, C, H, W) float32 in [0, 1] of any B, resized already; the normalisation is part of the
    file. Its output ``embedding`` is (B, D) float32. What the encoder is stands in the file's metadata under
    ``selfstudy``.

    Raises:
        EnvironmentFault: onnx, onnxscript or onnxruntime is not installed.
        FileRefusedError: the encoder is damaged, or the reloaded network computes something else.
    """
    runtime = onnx_runtime()
    encoder, config = load_encoder(encoder_folder)
    network = _FromPixels(encoder, config["mean"], config["std"]).eval()
    shape = (config["channels"], *config["image_size"])
    program = to_onnx(
        network, {"images": torch.rand(2, *shape)}, output="embedding", any_length=["batch"], about=config
    )
    file = out / "model.onnx"
    with staged_folder(out) as folder:
        program.save(folder / file.name)  # weights of more than 2 GB go to a second file beside it
        session = runtime.InferenceSession(folder / file.name, providers=["CPUExecutionProvider"])
        worst = largest_difference(network, _as_function(session), shape=shape)
        require_agreement(worst)
    usage = (
        "import numpy, onnxruntime\n"
        f"session = onnxruntime.InferenceSession({str(file)!r})\n"
        f"images = numpy.zeros((1, {', '.join(map(str, shape))}), numpy.float32)  # in [0, 1]; any number of them\n"
        'vectors = session.run(["embedding"], {"images": images})[0]'
    )
    return ExportResult(file, worst, usage, "ONNX Runtime")


def to_onnx(
    network: nn.Module, inputs: dict[str, Tensor], *, output: str, any_length: list[str], about: dict[str, Any]
) -> Any:
    """A network as torch's ONNX program, which has ``save``.

    Args:
        network: in eval mode, of the inputs in their order.
        inputs: an example of each, by name.
        output: name of the only one.
        any_length: names of the first axes of every input, which may have any length.
        about: facts that JSON can hold, kept in the file's metadata under ``selfstudy``.
    """
    with _quiet():
        program: Any = torch.onnx.export(
            network,
            tuple(inputs.values()),
            dynamo=True,
            dynamic_shapes=tuple(dict(enumerate(any_length)) for _ in inputs),
            input_names=list(inputs),
            output_names=[output],
            verbose=False,
        )
    program.model.metadata_props["selfstudy"] = json.dumps(about)
    return program


def onnx_runtime() -> Any:
    """The module ``onnxruntime``.

    Raises:
        EnvironmentFault: it is not installed, or what torch needs to write such files.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # torch.onnx needs it, and says so at length
    except ImportError as error:
        raise EnvironmentFault(f"the export to ONNX needs {error.name}, which is not installed\n{_INSTALL}") from None
    return onnxruntime


def _as_function(session: Any) -> Callable[[Tensor], Tensor]:
    """What ONNX Runtime computes, on tensors."""
    return lambda images: torch.from_numpy(session.run(["embedding"], {"images": images.numpy()})[0])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the notes of torch's exporter on its own insides."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
