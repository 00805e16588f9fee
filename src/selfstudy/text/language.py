"""Held-out figures of language models from their losses, and the stored positions that a masked one is asked about.

Nothing here runs a model.
"""

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from selfstudy.disk.atomic import replace_file
from selfstudy.errors import DataError, EnvironmentFault, FileRefusedError, UsageError, first_line
from selfstudy.ops.random import fold, uniform

FORMAT_VERSION = 1
_FORMAT = "selfstudy mask set"
_STREAM = 0x6D61736B  # keeps these draws apart from those that training makes from the same seed
_CHUNK = 2**22  # draws made at once
_POSITIONS, _DIGEST = "positions", "stream_sha256_uint32_le"
_MAX_BYTES = 2**31


class LanguageFigures(NamedTuple):
    """The loss of a model on held-out text, and figures that follow from it.

    Attributes:
        nats_per_token: the mean loss, in nats. It depends on the tokenizer; bits per byte does not.
        tokens: the number of predicted tokens.
        text_bytes: the number of bytes of UTF-8 text that these tokens spell.
        accuracy: the share of tokens whose most probable guess was right, in percent; None where it was not counted.
    """

    nats_per_token: float
    tokens: int
    text_bytes: int
    accuracy: float | None

    @property
    def bits_per_byte(self) -> float:
        """The loss in bits per byte of text: comparable between tokenizers, not between causal and masked models."""
        return self.nats_per_token * self.tokens / math.log(2) / self.text_bytes

    @property
    def perplexity(self) -> float:
        """The exponential of the loss per token; infinite where that overflows."""
        try:
            return math.exp(self.nats_per_token)
        except OverflowError:
            return math.inf


def accumulate(parts: Iterable[tuple[Tensor, Tensor | None]], text_bytes: int) -> LanguageFigures:
    """The figures of a whole text from its parts, summed in float64.

    Args:
        parts: losses (n,) of single tokens in nats, of any float type, and (n,) bool, True where the most probable
            token was right, or None.
        text_bytes: the number of bytes that the tokens spell, positive.

    Raises:
        DataError: no token, no text, or a loss that is not finite.
    """
    sums, tokens, hits, counted = [], 0, 0, True
    for losses, right in parts:
        sums.append(float(losses.detach().cpu().double().sum()))  # on the CPU: some accelerators have no float64
        tokens += losses.numel()
        counted, hits = counted and right is not None, hits + (0 if right is None else int(right.sum()))
    if not tokens or text_bytes < 1:
        raise DataError(
            f"{tokens:,} tokens and {text_bytes:,} bytes of text: nothing was predicted\n"
            "held-out text must hold at least one row of tokens\ngive more text, or make the rows shorter"
        )
    total = math.fsum(sums) if all(map(math.isfinite, sums)) else math.nan
    if not math.isfinite(total):
        raise DataError(
            f"the loss of {tokens:,} held-out tokens is not finite\nfigures need finite losses\n"
            "evaluate in fp32, or take an earlier checkpoint if training diverged"
        )
    return LanguageFigures(total / tokens, tokens, text_bytes, 100.0 * hits / tokens if counted else None)


class MaskSet(NamedTuple):
    """The positions of a held-out stream of tokens that a masked language model is asked about.

    Attributes:
        store_length: the number of tokens in the stream.
        row_length: the number of tokens in a row; row r begins at token r * row_length. A shorter rest at the end is
            left out.
        rate: the wanted share of every row.
        seed: the seed that the positions were drawn from.
        positions: (R, P) int32 in [0, row_length), rising in every row. They count the stream's own tokens: a token put
            before a row moves them by one.
    """

    store_length: int
    row_length: int
    rate: float
    seed: int
    positions: Tensor

    @property
    def protocol(self) -> str:
        """A description of how a figure was measured with these positions, for printing with it."""
        rows, hidden = self.positions.shape
        return (
            f"masked: {hidden} of every {self.row_length} tokens hidden, always by [MASK], "
            f"stored set (seed {self.seed}), {rows:,} rows"
        )


def mask_set(store_length: int, row_length: int, rate: float, seed: int) -> MaskSet:
    """The positions of every whole row: round(rate x row_length) of them, a function of (seed, row number) alone.

    In evaluation a hidden token is always replaced by [MASK]. Training leaves or exchanges one in five, so that the
    encoder does not learn to ignore tokens other than [MASK]. A figure gains nothing from that: a tenth of the answers
    would be visible, another tenth would depend on which wrong token was drawn, and two evaluations would agree only if
    both drew the same tokens.

    Args:
        store_length: the number of tokens in the held-out stream.
        row_length: the number of tokens in a row.
        rate: the share that is hidden, by custom 0.15, even where training hides another share.
        seed: any integer.

    Raises:
        UsageError: a rate at which no token or every token of a row is hidden.
        DataError: a stream shorter than one row.
    """
    hidden = round(rate * row_length) if math.isfinite(rate) else 0
    if not 1 <= hidden < row_length:
        raise UsageError(
            f"a rate of {rate:g} hides {hidden} of {row_length} tokens in a row\n"
            "at least one must be hidden and one left\nthe usual rate is 0.15"
        )
    rows = store_length // row_length
    if not rows:
        raise DataError(
            f"held-out text of {store_length:,} tokens, rows of {row_length:,}: not one whole row\n"
            "give more text, or make the rows shorter"
        )
    parts = torch.split(torch.arange(rows), max(1, _CHUNK // row_length))
    return MaskSet(store_length, row_length, rate, seed, torch.cat([_draw(p, row_length, hidden, seed) for p in parts]))


def _draw(rows: Tensor, row_length: int, hidden: int, seed: int) -> Tensor:
    """Positions (R, P) int32 of some rows (R,): those of the smallest draws, the first among equals."""
    draws = uniform(fold(seed, _STREAM, rows), row_length)  # (R, T)
    return draws.argsort(dim=1, stable=True)[:, :hidden].sort(dim=1).values.to(torch.int32)


def hide(rows: Tensor, positions: Tensor, mask_id: int) -> tuple[Tensor, Tensor]:
    """Rows (B, T) with [MASK] at ``positions`` (B, P), and the tokens (B, P) that were there."""
    places = positions.to(rows.device, torch.int64)
    return rows.scatter(1, places, mask_id), rows.gather(1, places)


def stream_digest(blocks: Iterable[np.ndarray]) -> str:
    """SHA-256 of a stream's ids as little-endian uint32, in hex: the same for every integer type they are stored in.

    Args:
        blocks: arrays (n,) of ids, of any integer type, which together are the whole stream in order.
    """
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(np.ascontiguousarray(block, dtype="<u4").data)
    return digest.hexdigest()


def save_mask_set(masks: MaskSet, path: Path, *, digest: str) -> None:
    """Write the positions as safetensors, whole or not at all; everything else is text in its ``__metadata__``.

    Args:
        masks: the mask set.
        path: the file; its folder must exist.
        digest: :func:`stream_digest` of the stream that the positions belong to.

    Raises:
        EnvironmentFault: the disk refuses.
    """
    numbers = {key: repr(value) for key, value in masks._asdict().items() if key != _POSITIONS}
    about = {"format": _FORMAT, "format_version": str(FORMAT_VERSION), _DIGEST: digest, **numbers}
    try:
        replace_file(path, save({_POSITIONS: masks.positions.contiguous()}, about))
    except OSError as error:
        raise EnvironmentFault(f"cannot write {path}: {error.strerror or error}\nfree space or name another") from None


def load_mask_set(path: Path, *, digest: str) -> MaskSet:
    """The stored mask set for the stream with this :func:`stream_digest`.

    Raises:
        FileRefusedError: the file is missing, damaged or of a newer version, or belongs to another stream.
    """
    if not path.is_file() or path.stat().st_size > _MAX_BYTES:
        raise FileRefusedError(f"{path}: no stored mask set is here\none is written by the first evaluation")
    try:
        with safe_open(path, framework="pt") as file:
            about, positions = dict(file.metadata() or {}), file.get_tensor(_POSITIONS).clone()
        if about["format"] != _FORMAT or about["format_version"] != str(FORMAT_VERSION):
            raise ValueError(f"{about['format']!r} version {about['format_version']}, not {FORMAT_VERSION}")
        if about[_DIGEST] != digest:
            raise FileRefusedError(
                f"{path}: a mask set for another text ({about[_DIGEST][:12]}, this is {digest[:12]})\n"
                "text, held-out share and tokenizer must be the same\nremove the file to draw a new one"
            )
        return _checked(about, positions)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        reason = first_line(error)
        raise FileRefusedError(f"{path}: not a stored mask set: {reason}") from None


def _checked(about: dict[str, Any], positions: Tensor) -> MaskSet:
    """The mask set of a file; a ValueError says which part of it is impossible."""
    length, row_length = int(about["store_length"]), int(about["row_length"])
    if positions.dtype != torch.int32 or positions.ndim != 2 or row_length < 1 or not positions.numel():
        raise ValueError(f"positions are {positions.dtype} {tuple(positions.shape)}, rows of {row_length}")
    if len(positions) != length // row_length:
        raise ValueError(f"{len(positions)} rows of {row_length} in a stream of {length} tokens")
    if int(positions.min()) < 0 or int(positions.max()) >= row_length or not bool((positions.diff(dim=1) > 0).all()):
        raise ValueError(f"positions are not rising in [0, {row_length})")
    return MaskSet(length, row_length, float(about["rate"]), int(about["seed"]), positions)
