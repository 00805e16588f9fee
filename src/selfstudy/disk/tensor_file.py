"""Safetensors files, written and read tensor by tensor, so that no second copy of a model is held in memory.

The writer of the library needs the whole file in memory and refuses tensors that share memory. The format is simple
(the length of the header, a JSON header, the bytes of the tensors), so it is written here; the library reads it.
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
    """True if the format has a name for this element type."""
    return dtype in _CODES


def byte_count(tensors: Mapping[str, Tensor]) -> int:
    """The number of bytes of all elements, without the header."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def tensor_chunks(tensors: Mapping[str, Tensor]) -> Iterator[Bytes]:
    """The bytes of the file: the header, then each tensor. Tensors that share memory are each written in full.

    Raises:
        TypeError: the format has no name for an element type.
    """
    # Wide elements first, as in the library: every tensor then begins at a multiple of its element size.
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
    """The bytes of a tensor of any shape in row-major order, (n,) uint8 on the CPU; a view if possible."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Raises:
        SafetensorError: the file is not in the format.
    """
    with safe_open(path, framework="pt") as file:
        # The library maps the file into memory: without a copy the tensors would change with the file.
        return {name: file.get_tensor(name).clone() for name in file.keys()}
