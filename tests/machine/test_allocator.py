"""The behaviour of glibc's allocator after each call, read in a fresh process."""

import platform
import subprocess
import sys
from unittest.mock import Mock, call

import pytest

from selfstudy.machine import allocator

_CODE = """
import ctypes
from selfstudy.machine import allocator as memory

class Info(ctypes.Structure):
    _fields_ = [(f"field{i}", ctypes.c_size_t) for i in range(10)]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
assert CALL
libc.free(libc.malloc(8 << 20))  # by default glibc then keeps blocks of up to this size
before = libc.mallinfo2().field4  # bytes in blocks of their own
libc.malloc(6 << 20)
print(libc.mallinfo2().field4 - before >= 6 << 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
@pytest.mark.parametrize(
    ("call", "apart"),
    [("True", False), ("memory.return_large_blocks()", True), ("memory.keep_freed_memory()", False)],
)
def test_large_blocks_are_given_back_or_kept_as_asked(call, apart):
    done = subprocess.run(
        [sys.executable, "-c", _CODE.replace("CALL", call)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(apart)


@pytest.fixture
def glibc(monkeypatch):
    """A C library that only notes what it is asked for."""
    library = Mock()
    monkeypatch.setattr(allocator, "_glibc", lambda: library)
    return library


GIB, TRIM, MMAP = 1 << 30, -1, -3  # the names of malloc.h


def test_the_thresholds_are_as_large_as_a_c_int_allows(glibc):
    assert allocator.keep_freed_memory()
    assert glibc.mock_calls == [call.mallopt(MMAP, GIB), call.mallopt(TRIM, 2**31 - 1)]


def test_blocks_of_four_mebibytes_are_returned(glibc):
    assert allocator.return_large_blocks()
    assert glibc.mock_calls == [call.mallopt(MMAP, 4 << 20)]


def test_all_freed_memory_is_given_back(glibc):
    assert allocator.give_back_freed_memory()
    assert glibc.mock_calls == [call.malloc_trim(0)]


CALLS = [allocator.keep_freed_memory, allocator.return_large_blocks, allocator.give_back_freed_memory]


@pytest.mark.parametrize("function", CALLS)
def test_a_call_that_glibc_refuses_gives_false(glibc, function):
    glibc.mallopt.side_effect = glibc.malloc_trim.side_effect = [0, 1]
    assert function() is False


@pytest.mark.parametrize("function", CALLS)
def test_nothing_happens_on_other_c_libraries(monkeypatch, function):
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    assert function() is False
