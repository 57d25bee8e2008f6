"""Lists of IDs in files of their own, and what an ID may look like."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from bulkshare.model import Problem
from bulkshare.plan.yaml import UnreadableError, read_text
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONGEST_ID = 255  # characters; Glance's column for a member is no wider
ID_PATTERN = (
    r"""^[^\s/\\?*#%,;"'\[\]]{1,255}$"""  # nearly the same for the JSON Schema, which can't say "printable ASCII"
)
NOT_IN_AN_ID = re.compile(
    r"""[^!-~]|[/\\?*#%,;"'\[\]]"""
)  # from ! to ~ is what ASCII has to see; , ; and quotes are a table read as something else, * [ ] a pattern of names
PLAIN_LIST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}\r?\n)+")
LOOKS_LIKE_AN_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
WHITE_SPACE = " \t\r\n"
ADVICE = (
    (WHITE_SPACE, "give each ID an item or a line of its own"),
    ("*?[]", "to select by name, write {name: ...} in the plan"),
)
MOST_PROBLEMS = 20  # of one file; nobody reads the thousandth


class Trouble(NamedTuple):
    """What is wrong with a text as an ID, and at which of its characters, from 0."""

    offset: int
    message: str


def id_trouble(text: str) -> Trouble | None:
    """Say what is wrong with `text` as an ID, or None."""
    if not text:
        return Trouble(0, "an ID can't be empty")
    found = NOT_IN_AN_ID.search(text)
    if found is not None:
        advice = next((f": {advice}" for characters, advice in ADVICE if found[0] in characters), "")
        return Trouble(found.start(), f"{clean(text, 60)!r} has {_describe(found[0])} in it; no ID has{advice}")
    if len(text) > LONGEST_ID:
        return Trouble(0, f"an ID of {len(text)} characters; none has more than {LONGEST_ID}")
    return None


def _describe(character: str) -> str:
    if character in WHITE_SPACE:
        return "white space"
    if not character.isprintable():
        return f"the character U+{ord(character):04X} {unicodedata.name(character, '(a control character)')}"
    # Glance takes a member outside of ASCII and then can't be asked for it: it reads the path as Latin-1.
    return repr(character)


class _Row(NamedTuple):
    """A text that stands for an ID in a list file, and where."""

    line: int
    column: int
    text: str


class _NotAListError(Exception):
    """The file as a whole can't be taken for a list of IDs; `str()` says why."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def read_ids(path: Path, name: str, column: str, problems: list[Problem]) -> tuple[str, ...]:
    """Read a list: one ID a line, or of a .csv file the column `column`, or else the first one.

    `name` is the file's name to show; the problems of its lines are added to `problems`. Raises `UnreadableError`
    where there is no text, or no ID in it.
    """
    try:
        text = read_text(path)
    except UnreadableError as error:
        if error.line is None:
            raise
        problems.append(Problem(name, error.line, error.column, str(error)))
        return ()
    if path.suffix.lower() != ".csv" and PLAIN_LIST.fullmatch(text):  # most are, and a million lines take a moment
        return tuple(text.split())
    rows = _csv_rows(text, column) if path.suffix.lower() == ".csv" else _lines(text)
    trouble: list[Problem] = []
    ids: list[str] = []
    try:
        for row in rows:
            wrong = id_trouble(row.text)
            if wrong is None:
                ids.append(row.text)
            else:
                trouble.append(Problem(name, row.line, row.column + wrong.offset, wrong.message))
    except _NotAListError as error:
        trouble.append(Problem(name, error.line, 1, str(error)))
    if not ids and not trouble:
        raise UnreadableError("has no ID in it; fill it, or take it out of the plan")
    problems.extend(trouble[:MOST_PROBLEMS])
    if len(trouble) > MOST_PROBLEMS:
        more = len(trouble) - MOST_PROBLEMS
        lines = "line" if more == 1 else "lines"
        problems.append(Problem(name, trouble[MOST_PROBLEMS].line, None, f"{more:,} more bad {lines} from here on"))
    return tuple(ids)


def _lines(text: str) -> Iterator[_Row]:
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        found = line.partition("#")[0].strip()
        if found:
            yield _Row(number, line.index(found) + 1, found)


def _csv_rows(text: str, column: str) -> Iterator[_Row]:
    """Yield the cells of `column`, or else of the first one.

    The first row is a heading where it names `column`, or where the second row begins with what looks like an ID and
    the first does not; it holds an ID where it looks like one. Anything else would be a guess: a heading taken for an
    ID is shared with nobody, and an ID taken for a heading is left out, and neither would be noticed.
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
                first[0], f"no telling whether this row is a heading; add a heading that names the column {column}"
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
        raise _NotAListError(ended + 1, f"is no CSV: {error}") from None
