"""Safetensors files, written and read one tensor at a time: neither takes a second copy of a model in memory.

The library's own writer takes the whole file as bytes objects and refuses tensors that share memory; the format
(length of the header, JSON header, the tensors' bytes) is simple enough to be produced here. The library reads it.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from selfstudy.disk.file_system import Bytes

_CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def is_storable(dtype: torch.dtype) -> bool:
    """Whether the format has a name for this element type."""
    return dtype in _CODES


def byte_count(tensors: Mapping[str, Tensor]) -> int:
    """Bytes that the elements take, the header left out."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def tensor_chunks(tensors: Mapping[str, Tensor]) -> Iterator[Bytes]:
    """The file's bytes: the header, then each tensor; those that share memory are written once each.

    Raises:
        TypeError: an element type that the format does not have.
    """
    # Wide elements first, as the library does: every tensor then begins at a multiple of its element size.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header, end = {}, 0
    for name, tensor in ordered:
        if not is_storable(tensor.dtype):
            raise TypeError(f"{name} is {tensor.dtype}, which a safetensors file cannot hold")
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for _, tensor in ordered:
        yield as_bytes(tensor).numpy().data


def as_bytes(tensor: Tensor) -> Tensor:
    """The elements in row-major order as a flat uint8 tensor on the CPU, a view where possible."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Raises:
        SafetensorError: the file breaks the format.
    """
    with safe_open(path, framework="pt") as file:
        # Cloned, because the library maps the file: a tensor must not change or vanish with it.
        return {name: file.get_tensor(name).clone() for name in file.keys()}
