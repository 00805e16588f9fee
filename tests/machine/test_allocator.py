"""The behaviour of glibc's allocator after each call, read in a fresh process."""

import platform
import subprocess
import sys

import pytest

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
