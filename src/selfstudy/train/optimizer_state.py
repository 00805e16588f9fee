"""The ``state_dict`` of a torch optimizer as named tensors and JSON, and back, bit for bit.

JSON holds None, booleans, integers, strings, lists and finite floats (with enough digits for the same bits). Every
other value becomes a mapping whose first key begins with ``!``: ``!tensor``, ``!tuple``, ``!dict`` (whose keys are not
strings) and ``!float`` (infinity and NaN).
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from selfstudy.disk.tensor_file import as_bytes, is_storable


def split_state(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], Any]:
    """The tensors of a ``state_dict`` by name, and everything else as a JSON value that refers to them.

    Raises:
        TypeError: a value is neither a tensor nor plain data.
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _encode(dict(state), "", tensors)


def join_state(structure: Any, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The ``state_dict`` that :func:`split_state` was given.

    Raises:
        ValueError: a tensor is missing, nothing refers to a tensor, or the structure is not a mapping.
    """
    left = dict(tensors)
    state = _decode(structure, left)
    if left:
        raise ValueError(f"holds {sorted(left)[0]!r}, which nothing refers to")
    if not isinstance(state, dict):
        raise ValueError("the optimizer's structure is not a mapping")
    return state


def _encode(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """``value`` as JSON; tensors are added to ``tensors``, named by a number and their path."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"!float": repr(value)}
    if isinstance(value, Tensor):
        return _encode_tensor(value, f"{len(tensors)}{path}", tensors)
    if isinstance(value, list | tuple):
        items = [_encode(item, f"{path}.{i}", tensors) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"!tuple": items}
    if isinstance(value, dict):
        pairs = [(key, _encode(item, f"{path}.{key}", tensors)) for key, item in value.items()]
        plain = all(isinstance(key, str) and not key.startswith("!") for key in value)
        return dict(pairs) if plain else {"!dict": pairs}
    raise TypeError(f"the optimizer's state holds a {type(value).__name__} at {path[1:]!r}; plain data is needed")


def _encode_tensor(tensor: Tensor, name: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """A reference to ``tensor``, with the strides and the dtype if the file cannot hold them.

    The memory layout matters: fused CPU kernels of torch go through a parameter and its buffers element by element and
    ignore strides (seen in torch 2.14), so a channels-last buffer that is restored row-major would be scrambled.
    """
    node: dict[str, Any] = {"!tensor": name}
    if not tensor.is_contiguous() and torch.empty_like(tensor).stride() == tensor.stride():
        node["stride"] = list(tensor.stride())
    if is_storable(tensor.dtype):
        tensors[name] = tensor
    else:
        node |= {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}
        tensors[name] = as_bytes(tensor)
    return node


def _decode(node: Any, tensors: dict[str, Tensor]) -> Any:
    """The value that :func:`_encode` was given; the tensors it uses are removed from ``tensors``."""
    if isinstance(node, list):
        return [_decode(item, tensors) for item in node]
    if not isinstance(node, dict):
        return node
    tag = next(iter(node), "")
    if tag == "!tensor":
        return _decode_tensor(node, tensors)
    if tag == "!tuple":
        return tuple(_decode(item, tensors) for item in node[tag])
    if tag == "!dict":
        return {key: _decode(item, tensors) for key, item in node[tag]}
    if tag == "!float":
        return float(node[tag])
    return {key: _decode(item, tensors) for key, item in node.items()}


def _decode_tensor(node: Mapping[str, Any], tensors: dict[str, Tensor]) -> Tensor:
    """The tensor of a reference, in its dtype, shape and memory layout."""
    name = node["!tensor"]
    if name not in tensors:
        raise ValueError(f"lacks {name!r}")
    tensor = tensors.pop(name)
    if "dtype" in node:
        dtype = getattr(torch, node["dtype"], None)
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"{name!r} is of unknown type {node['dtype']!r}")
        tensor = tensor.view(dtype).reshape(node["shape"])
    if "stride" in node:
        laid_out = torch.empty(tensor.numel(), dtype=tensor.dtype).as_strided(tensor.shape, node["stride"])
        tensor = laid_out.copy_(tensor)
    return tensor
