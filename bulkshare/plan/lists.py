"""Lists of IDs in separate files, and the syntax of an ID."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from bulkshare.model import IdList, Problem
from bulkshare.plan.yaml import UnreadableError, read_text
from bulkshare.text import clean, counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONGEST_ID = 255  # characters: the width of Glance's column for a member
# Nearly NOT_IN_AN_ID for the JSON Schema, which can't express "printable ASCII".
ID_PATTERN = r"""^[^\s/\\?*#%,;"'\[\]]{1,255}$"""
# Everything outside printable ASCII; , ; and quotes, which hint at a table; * [ ], which hint at a glob.
NOT_IN_AN_ID = re.compile(r"""[^!-~]|[/\\?*#%,;"'\[\]]""")
PLAIN_LIST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}\r?\n)+")
LOOKS_LIKE_AN_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
WHITE_SPACE = " \t\r\n"
ADVICE = (
    (WHITE_SPACE, "give each ID its own item or line"),
    ("*?[]", "to select by name, write {name: ...} in the plan"),
)
MOST_PROBLEMS = 20  # reported of one file; the rest are counted


class IdFault(NamedTuple):
    """Why a text is not an ID, and the offset of the offending character."""

    offset: int
    message: str


def id_fault(text: str) -> IdFault | None:
    """Return why `text` is not an ID; None if it is one."""
    if not text:
        return IdFault(0, "an ID can't be empty")
    found = NOT_IN_AN_ID.search(text)
    if found is not None:
        advice = next((f": {advice}" for characters, advice in ADVICE if found[0] in characters), "")
        return IdFault(
            found.start(), f"{clean(text, 60)!r} contains {_describe(found[0])}, which no ID may contain{advice}"
        )
    if len(text) > LONGEST_ID:
        return IdFault(0, f"an ID of {len(text)} characters; the maximum is {LONGEST_ID}")
    return None


def _describe(character: str) -> str:
    if character in WHITE_SPACE:
        return "white space"
    if not character.isprintable():
        return f"the invisible character U+{ord(character):04X} {unicodedata.name(character, '(a control character)')}"
    # Glance accepts a member outside ASCII, but can't be asked for it later: it reads the path as Latin-1.
    return repr(character)


class _Row(NamedTuple):
    """The text of an ID in a list file, and its position."""

    line: int
    column: int
    text: str


class _NotAListError(Exception):
    """The file as a whole is not a list of IDs; `str()` says why."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def read_ids(path: Path, name: str, column: str, problems: list[Problem]) -> IdList[str]:
    """Read a list: one ID per line, or from a .csv file the column `column`, else the first column.

    `name` is the file's name to show; problems in its lines are added to `problems`. Raises `UnreadableError` if the
    file has no text, or no IDs.
    """
    try:
        text = read_text(path)
    except UnreadableError as error:
        if error.line is None:
            raise
        problems.append(Problem(name, error.line, error.column, str(error)))
        return IdList()
    if path.suffix.lower() != ".csv" and PLAIN_LIST.fullmatch(text):  # the common case, worth being fast
        return IdList(text.split())
    rows = _csv_rows(text, column) if path.suffix.lower() == ".csv" else _lines(text)
    bad_lines: list[Problem] = []
    ids: list[str] = []
    try:
        for row in rows:
            fault = id_fault(row.text)
            if fault is None:
                ids.append(row.text)
            else:
                bad_lines.append(Problem(name, row.line, row.column + fault.offset, fault.message))
    except _NotAListError as error:
        bad_lines.append(Problem(name, error.line, 1, str(error)))
    if not ids and not bad_lines:
        raise UnreadableError("contains no IDs; add some, or remove it from the plan")
    problems.extend(bad_lines[:MOST_PROBLEMS])
    if (more := len(bad_lines) - MOST_PROBLEMS) > 0:
        message = f"{counted(more, 'more bad line')} from here on"
        problems.append(Problem(name, bad_lines[MOST_PROBLEMS].line, None, message))
    return IdList(ids)


def _lines(text: str) -> Iterator[_Row]:
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        found = line.partition("#")[0].strip()
        if found:
            yield _Row(number, line.index(found) + 1, found)


def _csv_rows(text: str, column: str) -> Iterator[_Row]:
    """Yield the cells of `column`, else of the first column.

    The first row is a heading if it names `column`, or if the second row starts with what looks like an ID and the
    first does not. It holds an ID if it looks like one. Anything else would be a guess, and a wrong guess would go
    unnoticed: a heading taken for an ID shares with no one, an ID taken for a heading is left out.
    """
    lines = io.StringIO(text, newline=None).readlines()
    rows = _cells(lines)
    first = next(rows, None)
    if first is None:
        return
    names = [cell.lower() for cell in first[1]]
    index = names.index(column) if column in names else 0
    if column not in names:
        second = [row for row in (next(rows, None),) if row is not None]
        if LOOKS_LIKE_AN_ID.fullmatch(names[0]):
            rows = chain([first], second, rows)
        elif second and LOOKS_LIKE_AN_ID.fullmatch(second[0][1][0]):
            rows = chain(second, rows)
        else:
            raise _NotAListError(
                first[0], f"it is unclear whether this row is a heading; add a heading with the column {column}"
            )
    for number, cells in rows:
        cell = cells[index] if index < len(cells) else ""
        yield _Row(number, max(lines[number - 1].find(cell), 0) + 1, cell)


def _cells(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of each row that is not blank."""
    reader = csv.reader(lines, strict=True)
    ended = 0  # the line on which the last good row ended
    try:
        for row in reader:
            ended = reader.line_num
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise _NotAListError(ended + 1, f"is not valid CSV: {error}") from None
