"""Reading files that anyone may have written: bounded, and every refusal names the file."""

import hashlib
import json
from pathlib import Path
from typing import Any

from selfstudy.errors import FileRefusedError

_CHUNK_BYTES = 2**20


def read_bytes(file: Path, most: int) -> bytes:
    """The content of a file of at most ``most`` bytes.

    Raises:
        FileRefusedError: the file is larger, or the system does not give it (it may be missing).
    """
    try:
        with file.open("rb") as handle:
            content = handle.read(most + 1)
    except OSError as error:
        raise FileRefusedError(f"{file}: {error.strerror or error}") from None
    if len(content) > most:
        raise FileRefusedError(f"{file}: at most {most:,} bytes are read")
    return content


def read_text(file: Path, most: int) -> str:
    """The text of a UTF-8 file of at most ``most`` bytes.

    Raises:
        FileRefusedError: as for :func:`read_bytes`, or the file is not UTF-8.
    """
    try:
        return read_bytes(file, most).decode("utf-8")
    except UnicodeDecodeError:
        raise FileRefusedError(f"{file}: not readable as UTF-8") from None


def read_json(file: Path, most: int) -> dict[str, Any]:
    """The JSON mapping in a file of at most ``most`` bytes.

    Raises:
        FileRefusedError: as for :func:`read_bytes`, or the file does not hold a JSON mapping.
    """
    try:
        content = json.loads(read_bytes(file, most))
    except (ValueError, RecursionError):
        raise FileRefusedError(f"{file}: not readable as JSON") from None
    if not isinstance(content, dict):
        raise FileRefusedError(f"{file}: holds a {type(content).__name__}, a mapping is needed")
    return content


def file_digest(file: Path) -> str:
    """The SHA-256 of a file of any size, in hexadecimal.

    Raises:
        OSError: the system does not give the file.
    """
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        while chunk := handle.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
