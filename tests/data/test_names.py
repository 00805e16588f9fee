import os

from selfstudy.data.names import printable


def test_only_bytes_that_are_not_utf8_are_escaped():
    assert printable(os.fsdecode("é 100%/".encode() + b"\xff\x80.png")) == "é 100%/%FF%80.png"
