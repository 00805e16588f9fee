"""Text encoders by name: a layout and a size. Does not import torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from selfstudy.disk.reading import read_json
from selfstudy.errors import FileRefusedError, UsageError, did_you_mean

LAYOUTS = ("modernbert", "bert", "roberta", "gpt2", "llama")
CAUSAL = ("gpt2", "llama")
POOLED = ("bert", "roberta")
"""The layouts whose networks without a head have a pooling layer, which nothing here trains."""
_ALIASES = {"gpt": "gpt2"}
_MAX_CONFIG_BYTES = 10_000_000
_SHAPE_KEYS = (("hidden_size", "n_embd"), ("num_hidden_layers", "n_layer"), ("num_attention_heads", "n_head"))


class TextShape(NamedTuple):
    """The width D, the number of layers, and the number of attention heads of each layer."""

    width: int
    depth: int
    heads: int

    @property
    def weights(self) -> int:
        """The approximate number of weights in the layers: 4 D^2 for attention and 8 D^2 for the MLP of each."""
        return 12 * self.depth * self.width**2


# The miniatures of Turc et al. 2019 (arXiv:1908.08962), of which "micro" has no name there, and base.
SIZES = {
    "tiny": TextShape(128, 2, 2),
    "micro": TextShape(128, 4, 2),
    "mini": TextShape(256, 4, 4),
    "small": TextShape(512, 4, 8),
    "medium": TextShape(512, 8, 8),
    "base": TextShape(768, 12, 12),
}
NAMES = [f"{layout}-{size}" for layout in (*LAYOUTS, *_ALIASES) for size in SIZES]

TEXT_CATALOGUE = {
    "modernbert-mini": "ModernBERT's layout, 256 wide, 4 layers: the default of bert and simcse",
    "bert-mini": "BERT's layout, 256 wide, 4 layers; also tiny, micro, small, medium, base",
    "roberta-mini": "RoBERTa's layout, 256 wide, 4 layers",
    "gpt2-mini": "GPT-2's layout, 256 wide, 4 layers, for gpt; gpt-mini is another name for it",
    "llama-mini": "Llama's layout, 256 wide, 4 layers: the default of gpt",
}


def shape_in(folder: Path) -> TextShape | None:
    """The shape of the network in a directory that transformers wrote; None if its ``config.json`` does not say."""
    try:
        config = read_json(folder / "config.json", _MAX_CONFIG_BYTES)
        numbers = [int(config.get(usual) or config[gpt2]) for usual, gpt2 in _SHAPE_KEYS]
    except (FileRefusedError, ValueError, TypeError, KeyError):
        return None
    return TextShape(*numbers) if min(numbers) > 0 else None


def first_position(layout: str, pad: int | None) -> int:
    """The index of a text's first position: 0, but RoBERTa counts from the id of its padding plus 1."""
    return (pad or 0) + 1 if layout == "roberta" else 0


def longest_row(folder: Path) -> int | None:
    """The longest row, in tokens, of the network in a transformers directory; None if ``config.json`` does not say."""
    try:
        config = read_json(folder / "config.json", _MAX_CONFIG_BYTES)
        positions = int(config.get("max_position_embeddings") or config["n_positions"])
        return positions - first_position(config["model_type"], config.get("pad_token_id"))
    except (FileRefusedError, ValueError, TypeError, KeyError):
        return None


def shape_of(name: str, changes: Mapping[str, int]) -> tuple[str, TextShape]:
    """The layout and the shape of an encoder.

    Args:
        name: a layout and a size, such as ``bert-mini``.
        changes: values of ``width``, ``depth`` or ``heads`` that replace those of the size.

    Raises:
        UsageError: the name is unknown, or the width does not divide into heads of an even width.
    """
    layout, _, size = name.partition("-")
    layout = _ALIASES.get(layout, layout)
    if layout not in LAYOUTS or size not in SIZES:
        raise UsageError(
            f"unknown text encoder {name!r}{did_you_mean(name, NAMES)}\n"
            f"layouts: {', '.join(LAYOUTS)}; sizes: {', '.join(SIZES)}; or a directory that transformers wrote"
        )
    shape = SIZES[size]._replace(**changes)
    if shape.width % shape.heads or shape.width // shape.heads % 2:
        raise UsageError(
            f"encoder.width {shape.width} does not divide into {shape.heads} heads of an even width\n"
            "change encoder.width or encoder.heads"
        )
    return layout, shape
