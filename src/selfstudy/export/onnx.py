"""An image encoder as an ONNX file, which needs neither Python nor PyTorch."""

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
from selfstudy.encoders.whitening import load_whitening
from selfstudy.errors import EnvironmentFault
from selfstudy.export.result import TOLERANCE, ExportResult, largest_difference, largest_number, require_agreement
from selfstudy.ops.whitening import Whitening
from selfstudy.views.augment import normalize

_INSTALL = "pip install 'selfstudy[onnx]'"


class _FromPixels(nn.Module):
    """The encoder with the normalisation before it, so that nobody can forget it."""

    def __init__(self, encoder: nn.Module, mean: list[float], std: list[float], *, last: nn.Module) -> None:
        super().__init__()
        self.encoder, self.mean, self.std, self.last = encoder, mean, std, last

    def forward(self, images: Tensor) -> Tensor:
        """The embeddings (B, D) of ``images`` (B, C, H, W) float32 in [0, 1]."""
        embeddings: Tensor = self.last(self.encoder(normalize(images, self.mean, self.std)))
        return embeddings


class _Whiten(nn.Module):
    """The whitening of embeddings as a layer."""

    mean: Tensor
    projection: Tensor

    def __init__(self, whitening: Whitening) -> None:
        super().__init__()
        self.register_buffer("mean", whitening.mean)
        self.register_buffer("projection", whitening.projection)

    def forward(self, embeddings: Tensor) -> Tensor:
        """The whitened embeddings (B, d) of embeddings (B, D)."""
        return Whitening(self.mean, self.projection).apply(embeddings)


def last_layer(whitening: Whitening | None) -> nn.Module:
    """The layer after an encoder: a whitening, or one that changes nothing."""
    return nn.Identity() if whitening is None else _Whiten(whitening)


def tolerance_after(whitening: Whitening | None) -> float:
    """The largest difference that an export may make: that of embeddings, times the largest gain of the whitening."""
    return TOLERANCE * (
        1.0 if whitening is None else max(1.0, float(torch.linalg.matrix_norm(whitening.projection, 2)))
    )


def layer_note(whitening: Whitening | None) -> str:
    """A line of Python that says that the last layer whitens; empty without one."""
    if whitening is None:
        return ""
    before, after = whitening.projection.shape
    return f"\n# the last layer of the graph whitens: it makes {after:,} numbers of the {before:,} of an embedding"


def export_onnx(encoder_folder: Path, out: Path, *, whiten: bool = False) -> ExportResult:
    """Write ``out/model.onnx``, reload it in ONNX Runtime and compare.

    The input ``images`` is (B, C, H, W) float32 in [0, 1], already resized, with any B; the normalisation is part of
    the file. The output ``embedding`` is (B, D) float32. The metadata of the file holds the description of the encoder
    under ``selfstudy``. With ``whiten`` the last layer of the file whitens the embedding by the statistics of the run.

    Raises:
        EnvironmentFault: onnx, onnxscript or onnxruntime is not installed.
        FileRefusedError: the encoder is damaged, or the reloaded network computes something else; nothing is kept.
        UsageError: ``whiten``, and the run has no whitening statistics.
    """
    runtime = onnx_runtime()
    encoder, config = load_encoder(encoder_folder)
    whitening = load_whitening(encoder_folder, config) if whiten else None
    if whitening is not None:
        config |= {"embed_dim": whitening.projection.shape[1], "whitened": True}
    network = _FromPixels(encoder, config["mean"], config["std"], last=last_layer(whitening)).eval()
    shape = (config["channels"], *config["image_size"])
    program = to_onnx(
        network, {"images": torch.rand(2, *shape)}, output="embedding", any_length=["batch"], about=config
    )
    file = out / "model.onnx"
    with staged_folder(out) as folder:
        program.save(folder / file.name)  # weights of more than 2 GB go into a second file
        session = runtime.InferenceSession(folder / file.name, providers=["CPUExecutionProvider"])
        worst = largest_difference(network, _as_function(session), shape=shape)
        rounding = TOLERANCE * largest_number(network, shape=shape)  # of embeddings whose numbers are large
        require_agreement(worst, at_most=max(tolerance_after(whitening), rounding))
    usage = (
        "import numpy, onnxruntime\n"
        f"session = onnxruntime.InferenceSession({str(file)!r})\n"
        f"images = numpy.zeros((1, {', '.join(map(str, shape))}), numpy.float32)  # in [0, 1]; any number of them\n"
        'vectors = session.run(["embedding"], {"images": images})[0]'
    )
    return ExportResult(file, worst, usage + layer_note(whitening), "ONNX Runtime")


def to_onnx(
    network: nn.Module, inputs: dict[str, Tensor], *, output: str, any_length: list[str], about: dict[str, Any]
) -> Any:
    """A network as an ONNX program of torch, whose ``save`` writes the file.

    Args:
        network: a network in eval mode that takes the inputs in their order.
        inputs: an example of each input, by name.
        output: the name of the only output.
        any_length: the names of the first axes of every input, which may have any length.
        about: values that JSON can hold, kept in the metadata of the file under ``selfstudy``.
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
        EnvironmentFault: onnx, onnxscript or onnxruntime is not installed.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # torch.onnx needs it, and its own message is long
    except ImportError as error:
        raise EnvironmentFault(f"the export to ONNX needs {error.name}, which is not installed\n{_INSTALL}") from None
    return onnxruntime


def _as_function(session: Any) -> Callable[[Tensor], Tensor]:
    """The network in ONNX Runtime as a function of tensors."""
    return lambda images: torch.from_numpy(session.run(["embedding"], {"images": images.numpy()})[0])


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the messages of torch's exporter about its own internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
