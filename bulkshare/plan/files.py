"""Reads text files that a user named: every way in which that can fail is a sentence."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 1 << 28  # bytes: seven million IDs, and an end to /dev/zero


class UnreadableError(Exception):
    """A file has no text. `str()` continues a sentence that begins with its name; line and column are from 1."""

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def read_text(path: Path) -> str:
    """Return a file's text, of UTF-8 with or without a byte order mark. Raises `UnreadableError`."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise UnreadableError("there is no such file") from None
    except IsADirectoryError:
        raise UnreadableError("is a directory, not a file") from None
    except PermissionError:
        raise UnreadableError("may not be read by this user") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UnreadableError(f"can't be read: {getattr(error, 'strerror', None) or error}") from None
    if len(raw) > LARGEST:
        raise UnreadableError(f"is larger than {LARGEST >> 20} MiB; divide it")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UnreadableError("is UTF-16; save the file as UTF-8", 1, 1) from None
        before = error.object[: error.start].decode("utf-8")  # `object` is without the byte order mark
        line, column = place_of(before, len(before))
        message = f"byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise UnreadableError(message, line, column) from None


def place_of(text: str, offset: int) -> tuple[int, int]:
    """Return line and column, from 1, of the character at `offset`, or of the end of a shorter text."""
    before = text[:offset].replace("\r\n", "\n").replace("\r", "\n")
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
