"""Lists of IDs in files of their own, and what an ID may look like."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING

from bulkshare.model import Problem
from bulkshare.plan.document import read_text
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONGEST_ID = 255  # characters; Glance's column for a member is no wider
NOT_IN_AN_ID = re.compile(r"[\s/\\?#%]")
ID_PATTERN = r"^[^\s/\\?#%]{1,255}$"  # the same for the JSON Schema, which can't say "printable"
LOOKS_LIKE_AN_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
MOST_PROBLEMS = 20  # of one file; nobody reads the thousandth


def id_trouble(text: str) -> str | None:
    """Say what is wrong with `text` as an ID, or None."""
    if not text:
        return "an ID can't be empty"
    if len(text) > LONGEST_ID:
        return f"an ID of {len(text)} characters: none has more than {LONGEST_ID}"
    if not text.isprintable():
        return f"{clean(text)!r} has a character in it that can't be seen; no ID has one"
    if not text.isascii():  # Glance takes such a member and then can't be asked for it: it reads the path as Latin-1
        return f"{clean(text)!r} has a character outside of ASCII in it; no ID has"
    found = NOT_IN_AN_ID.search(text)
    if found:
        what = "white space" if found[0].isspace() else repr(found[0])
        return f"{clean(text)!r} has {what} in it; no ID has"
    return None


def read_ids(path: Path, name: str, column: str, problems: list[Problem]) -> tuple[str, ...] | None:
    """Read a list: one ID a line, or of a .csv file the column `column`, or else the first one.

    `name` is the file's name to show. Returns None where the file can't be read as a whole, which is for the caller to
    place; problems of single lines are added to `problems`, in the file itself.
    """
    trouble: list[Problem] = []
    text = read_text(path, name, trouble)
    if text is None:
        problems.extend(trouble)
        return None
    rows = _csv_rows(text, column) if path.suffix.lower() == ".csv" else _lines(text)
    ids: list[str] = []
    try:
        for line, found in rows:
            wrong = id_trouble(found)
            if wrong is None:
                ids.append(found)
            else:
                trouble.append(Problem(name, line, None, wrong))
    except csv.Error as error:
        trouble.append(Problem(name, None, None, f"is no CSV that can be read: {error}"))
    if not ids and not trouble:
        trouble.append(Problem(name, None, None, "has no ID in it"))
    problems.extend(trouble[:MOST_PROBLEMS])
    if len(trouble) > MOST_PROBLEMS:
        problems.append(Problem(name, None, None, f"... and {len(trouble) - MOST_PROBLEMS:,} more bad lines"))
    return tuple(ids)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        found = line.partition("#")[0].strip(" \t\r")
        if found:
            yield number, found


def _csv_rows(text: str, column: str) -> Iterator[tuple[int, str]]:
    """Yield the column's cells. The first row is the header, unless its first cell already looks like an ID."""
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    header = next(reader, None)
    if header is None:
        return
    names = [name.strip().lower() for name in header]
    index = names.index(column) if column in names else 0
    if column not in names and names and LOOKS_LIKE_AN_ID.fullmatch(names[0]):
        yield 1, header[0].strip()
    for row in reader:
        cell = row[index].strip() if index < len(row) else ""
        if cell or any(field.strip() for field in row):
            yield reader.line_num, cell
