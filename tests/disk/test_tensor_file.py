import pytest
import torch
from safetensors.torch import load
from safetensors.torch import save as library_save

from selfstudy.disk.tensor_file import byte_count, read_tensors, tensor_chunks


def _file(tensors):
    return b"".join(tensor_chunks(tensors))


def test_the_file_is_the_one_the_library_writes():
    tensors = {
        "b": torch.randn(3, 4),
        "a": torch.randn(5),
        "steps": torch.tensor(7, dtype=torch.int64),
        "half": torch.randn(3).bfloat16(),
        "none": torch.zeros(0, 3),
        "mask": torch.tensor([True, False]),
    }
    assert _file(tensors) == library_save(tensors)


def test_no_tensors_is_a_file_too():
    assert load(_file({})) == {}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.uint8, torch.int32, torch.complex64], ids=str)
def test_the_library_reads_every_layout_back(dtype):
    base = torch.arange(24).to(dtype).reshape(2, 3, 2, 2)
    tensors = {
        "plain": base,
        "channels_last": base.to(memory_format=torch.channels_last),
        "part": base[:, 1:, ::2],
        "turned": base.transpose(0, 3),
        "expanded": base[:1].expand(4, 3, 2, 2),
        "parameter": torch.nn.Parameter(base, requires_grad=False),
    }
    back = load(_file(tensors))
    assert all(torch.equal(back[name], tensor) and back[name].dtype == dtype for name, tensor in tensors.items())


def test_tensors_that_share_memory_are_each_written(tmp_path):
    base = torch.randn(4, 4)
    (tmp_path / "file").write_bytes(_file({"a": base, "b": base, "row": base[1]}))
    back = read_tensors(tmp_path / "file")
    assert torch.equal(back["a"], base) and torch.equal(back["b"], base) and torch.equal(back["row"], base[1])
    back["a"].zero_()
    assert torch.equal(back["b"], base)


def test_writing_copies_no_tensor_that_lies_in_order():
    tensor = torch.zeros(8)
    *_, chunk = tensor_chunks({"a": tensor})
    tensor[0] = 1.0
    assert bytes(chunk[:4]) == b"\x00\x00\x80?"


def test_bytes_are_counted_without_the_header():
    assert byte_count({"a": torch.zeros(3, 2), "b": torch.zeros(5, dtype=torch.uint8)}) == 29


def test_a_type_that_the_format_lacks_is_named():
    with pytest.raises(TypeError, match="phase is torch.complex128, which a safetensors file cannot hold"):
        _file({"phase": torch.zeros(2, dtype=torch.complex128)})
