"""Lists of IDs in separate files, and the syntax of an ID."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bulkshare.model import IdList, Problem
from bulkshare.plan.yaml import UnreadableError, decode, place_of, read_bytes
from bulkshare.text import clean, counted, escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence, Sized

STANDARD_INPUT = Path("/dev/stdin")
LONGEST_ID = 255  # characters: the width of Glance's column for a member
# Nearly NOT_IN_AN_ID for the JSON Schema, which can't express "printable ASCII".
ID_PATTERN = r"""^[^\s/\\?*#%,;"'\[\]]{1,255}$"""
# Everything outside printable ASCII; , ; and quotes, which hint at a table; * [ ], which hint at a glob.
NOT_IN_AN_ID = re.compile(r"""[^!-~]|[/\\?*#%,;"'\[\]]""")
RULE = re.compile(r"[-+=|_]{2,}")
BORDER = re.compile(r"\+(?:[-=]+\+)+")  # of a table as `openstack project list` prints it
BOXED = re.compile(rf"\s*{BORDER.pattern}\s*\n[ \t]*\|")
SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # a line before the heading, for Excel
SPACE = re.compile(r"[ \t\r\n]*")  # between the items of JSON
ROUNDED = re.compile(r"\d(\.\d+)?[eE]\+\d+")
CUT_OFF = re.compile(r"[0-9a-f-]{8,35}", re.IGNORECASE)
COMMENT_AFTER_A_NAME = re.compile(r"(^|(?<=\s))#.*")
PLAIN_LIST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}+\r?\n)++")  # possessive: going back would take 80 bytes a line
LOOKS_LIKE_AN_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_WITH_DASHES = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# UUIDs as `canonical_id` returns them, of either kind: nearly all IDs are, and no more is to be found out about those.
CANONICAL = {"images": re.compile(_WITH_DASHES), "projects": re.compile(f"[0-9a-f]{{32}}|{_WITH_DASHES}")}
WHITE_SPACE = " \t\r\n"
ADVICE = (
    (WHITE_SPACE, "give each ID its own item or line"),
    ("*?[]", "to select by name, write {name: ...} in the plan"),
)
MOST_PROBLEMS = 20  # reported of one file; the rest are counted
COLUMNS = {"images": "image_id", "projects": "project_id"}
# The headings of others, best first, without case, spaces and underscores: `openstack ... list -f csv` writes "ID".
HEADINGS = {"images": ("imageid", "id"), "projects": ("projectid", "tenantid", "id")}
NAME_HEADINGS = ("name",)
BESIDE_AN_ID = ("name", "projectname", "tenantname", "imagename", "comment")  # headings of names beside IDs
LONGEST_NAME = 80  # characters; a longer comment is a sentence
DELIMITERS = ",;\t"
SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .ods are ZIP archives, .xls is an OLE file


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
    if RULE.fullmatch(text):
        return IdFault(0, f"{text[:60]!r} is a line of a table, not an ID; remove it")
    if ROUNDED.fullmatch(text):
        return IdFault(0, f"{text!r} was rounded by a spreadsheet; format the column as text and export it again")
    return None


def canonical_id(text: str, kind: str) -> str:
    """Return an ID as the cloud writes it: a UUID in lower case, and that of an image with dashes.

    Whether project IDs have dashes depends on the cloud, so these stay. Any other text stays as it is.
    """
    if not LOOKS_LIKE_AN_ID.fullmatch(text):
        return text
    if kind == "images" and "-" not in text:
        text = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    return text.lower()


def all_canonical(texts: Iterable[str], kind: str) -> bool:
    """Whether every text is a UUID as `canonical_id` returns it. Runs at C speed: lists have a million lines."""
    return all(map(CANONICAL[kind].fullmatch, texts))


def outliers(texts: Sequence[str]) -> list[int]:
    """Return the indexes of texts that are no UUIDs, in a list of which at least half are."""
    odd = [index for index, text in enumerate(texts) if not LOOKS_LIKE_AN_ID.fullmatch(text)]
    return odd if _stand_out(odd, texts) else []


def _stand_out(odd: Sized, texts: Sized) -> bool:
    """Whether those of the texts that are no UUIDs are few enough to be mistakes."""
    return 2 * len(odd) <= len(texts)


def describe_outlier(text: str, by_name: str) -> str:
    """Return why a text among UUIDs is a problem; `by_name` is how the plan would select by name instead."""
    if CUT_OFF.fullmatch(text):
        advice = f"it has {len(text)} characters: is it cut off?"
    else:
        advice = f"correct it, or remove it; to select by name, write {by_name}"
    return f"{clean(text, 60)!r} does not look like the other IDs of this list; {advice}"


def _describe(character: str) -> str:
    if character in WHITE_SPACE:
        return "white space"
    if not character.isprintable():
        return f"the invisible character U+{ord(character):04X} {unicodedata.name(character, '(a control character)')}"
    # Glance accepts a member outside ASCII, but can't be asked for it later: it reads the path as Latin-1.
    return repr(character)


class Row(NamedTuple):
    """The text of an ID or a name in a list file, and its position; `beside` is the name or comment next to an ID."""

    line: int
    column: int
    text: str
    beside: str = ""


class _NotAListError(Exception):
    """The file as a whole is not a list of IDs; `str()` says why."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def name_beside(text: str) -> str:
    """Return a comment or a column's text as the name of the ID beside it; empty if it is a sentence or a URL."""
    name = clean(text, LONGEST_NAME + 1)
    return "" if len(name) > LONGEST_NAME or "://" in name else name


def list_file(name: str, folder: Path) -> tuple[Path, str]:
    """Return the path of a list, relative to a folder, and its name to show. `-` is standard input."""
    if name == "-":
        return STANDARD_INPUT, "standard input"
    path = folder / name
    return path, clean(str(path), 1000)


def read_ids(path: Path, name: str, kind: str, problems: list[Problem], names: dict[str, str]) -> IdList[str]:
    """Read a list of IDs of "images" or "projects": one per line, or a column of a table, or JSON objects.

    `name` is the file's name to show; problems in its lines are added to `problems`, and names beside IDs to `names`,
    unless it has one for the ID. Raises `UnreadableError` if the file has no text, or no IDs.
    """
    text = _read_list(path, name, problems)
    if text is None:
        return IdList()
    if path.suffix.lower() != ".csv" and PLAIN_LIST.fullmatch(text):  # the common case, worth being fast
        plain = text.split()
        if all_canonical(plain, kind):
            return IdList(plain)
        if not outliers(plain) and not any(map(id_fault, plain)):
            return IdList(canonical_id(item, kind) for item in plain)
    return _read_rows(text, path, name, kind, problems, names)


def _read_rows(
    text: str, path: Path, name: str, kind: str, problems: list[Problem], names: dict[str, str]
) -> IdList[str]:
    """Read a list row by row: it has names beside IDs, or columns, or faults."""
    bad_lines: list[Problem] = []
    found: list[str] = []
    odd: list[Row] = []
    is_canonical = CANONICAL[kind].fullmatch
    for row in _rows(text, path, HEADINGS[kind], COLUMNS[kind], bad_lines, name):
        known_id = row.text
        if not is_canonical(known_id):
            fault = id_fault(known_id)
            if fault is not None:
                column = row.column + fault.offset
                bad_lines.append(Problem(name, row.line, column, fault.message + _hint_at_names(row.text)))
                continue
            if not LOOKS_LIKE_AN_ID.fullmatch(known_id):
                odd.append(row)
            known_id = canonical_id(known_id, kind)
        found.append(known_id)
        if row.beside and (beside := name_beside(row.beside)):
            names.setdefault(known_id, beside)
    by_name = f"{{file: {path.name}, as: name}}"
    if _stand_out(odd, found):
        bad_lines += (Problem(name, row.line, row.column, describe_outlier(row.text, by_name)) for row in odd)
    if not found and not bad_lines:
        raise UnreadableError("contains no IDs; add some, or remove it from the plan")
    _report(name, bad_lines, problems)
    return IdList(found)


def read_names(path: Path, name: str, problems: list[Problem]) -> list[Row]:
    """Read a list of names: one per line, or the column `name` of a table, or of JSON objects. As `read_ids`."""
    text = _read_list(path, name, problems)
    if text is None:
        return []
    bad_lines: list[Problem] = []
    rows: list[Row] = []
    for row in _rows(text, path, NAME_HEADINGS, "name", bad_lines, name):
        if row.text and row.text.isprintable():
            rows.append(row)
        else:
            message = f"{clean(row.text, 60)!r} has invisible characters" if row.text else "a name can't be empty"
            bad_lines.append(Problem(name, row.line, row.column, message))
    if not rows and not bad_lines:
        raise UnreadableError("contains no names; add some, or remove it from the plan")
    _report(name, bad_lines, problems)
    return rows


def _report(name: str, bad_lines: list[Problem], problems: list[Problem]) -> None:
    bad_lines.sort(key=lambda problem: problem.line or 0)
    problems.extend(bad_lines[:MOST_PROBLEMS])
    if (more := len(bad_lines) - MOST_PROBLEMS) > 0:
        message = f"{counted(more, 'more bad line')} from here on"
        problems.append(Problem(name, bad_lines[MOST_PROBLEMS].line, None, message))


def _hint_at_names(text: str) -> str:
    found = NOT_IN_AN_ID.search(text)
    like_a_name = found is not None and (found[0] == " " or found[0].isalpha())
    return ". A list of names is {file: ..., as: name}" if like_a_name else ""


def _read_list(path: Path, name: str, problems: list[Problem]) -> str | None:
    """Return a list's text; None if it is not text, which is added to `problems`. Raises `UnreadableError`."""
    raw = read_bytes(path)
    if raw.startswith(SPREADSHEETS):
        raise UnreadableError("is a spreadsheet; save it as CSV, with the column of IDs formatted as text")
    try:
        return decode(raw, utf_16=True)
    except UnreadableError as error:
        problems.append(Problem(name, error.line, error.column, str(error)))
        return None


def _rows(
    text: str, path: Path, headings: tuple[str, ...], column: str, bad_lines: list[Problem], name: str
) -> Iterator[Row]:
    """Yield the texts of a list, in whichever of the formats it is written."""
    try:
        if text.lstrip().startswith("[") and path.suffix.lower() in {".json", ".txt", ""}:
            yield from _json_rows(text, headings, column)
        elif BOXED.match(text):
            yield from _boxed_rows(text, headings, column)
        elif path.suffix.lower() in {".csv", ".tsv"} or _has_heading(text, headings):
            yield from _table_rows(text, headings, column)
        else:
            yield from _lines(text, names=headings is NAME_HEADINGS)
    except _NotAListError as error:
        bad_lines.append(Problem(name, error.line, 1, str(error)))


def _normalized(heading: str) -> str:
    return heading.strip().casefold().replace("_", "").replace(" ", "").replace("-", "")


def _index(cells: Sequence[str], headings: tuple[str, ...], column: str) -> int | None:
    """Return which of a first row's cells is the heading of the column: `column` itself, or the best other one."""
    exact = [cell.lower() for cell in cells]
    if column in exact:
        return exact.index(column)
    known = [_normalized(cell) for cell in cells]
    return next((known.index(heading) for heading in headings if heading in known), None)


def _name_index(cells: Sequence[str], headings: tuple[str, ...]) -> int | None:
    """Return which of a first row's cells is the heading of the names beside IDs."""
    return None if headings is NAME_HEADINGS else _index(cells, BESIDE_AN_ID, "")


def _has_heading(text: str, headings: tuple[str, ...]) -> bool:
    """Return whether a text is a table, going by its first line."""
    first = _first_line(text)
    if SEPARATOR.fullmatch(first):
        return True
    delimiter = _delimiter(first, headings, "")
    return delimiter in first and _index(_split(first, delimiter), headings, "") is not None


def _first_line(text: str) -> str:
    return next((line for line in io.StringIO(text, newline=None) if line.strip()), "").strip("\n")


def _split(first: str, delimiter: str) -> list[str]:
    return [cell.strip().strip('"') for cell in first.split(delimiter)]


def _delimiter(first: str, headings: tuple[str, ...], column: str) -> str:
    """Return what separates a table's columns: what sets its heading apart, or else is most frequent in its first line.

    A line with the column alone has no delimiter, and any will do.
    """
    for delimiter in DELIMITERS:
        if _index(_split(first, delimiter), headings, column) is not None:
            return delimiter
    return max(DELIMITERS, key=first.count)


def _lines(text: str, *, names: bool) -> Iterator[Row]:
    """Yield each line that is not blank, without its comment. Of `openstack ... -f value` only the ID is yielded."""
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        if names:
            found, beside = COMMENT_AFTER_A_NAME.sub("", line).strip(), ""
        else:
            found, _, beside = line.partition("#")
            found = found.strip()
        if found:
            words = [] if names else [word for word in found.split() if LOOKS_LIKE_AN_ID.fullmatch(word)]
            if len(words) == 1:
                beside = found.replace(words[0], "", 1).strip() or beside
                found = words[0]
            yield Row(number, line.index(found) + 1, found, beside)


def _json_rows(text: str, headings: tuple[str, ...], column: str) -> Iterator[Row]:
    """Yield the IDs or names of what `openstack ... list -f json` prints: objects, or texts alone."""
    line, line_start, counted_to = 1, 0, 0
    indexes: dict[tuple[str, ...], tuple[int | None, int | None]] = {}  # objects of a list mostly have the same keys
    for number, (start, end, item) in enumerate(_json_items(text), 1):
        found, beside = item, None
        if isinstance(item, dict):
            keys, values = tuple(item), tuple(item.values())
            if keys not in indexes:
                indexes[keys] = _index(keys, headings, column), _name_index(keys, headings)
            index, name_index = indexes[keys]
            found = None if index is None else values[index]
            beside = None if name_index is None else values[name_index]
        at = max(text.find(f'"{found}"', start, end), start - 1) + 1  # of an ID written with escapes: of its object
        if lines := text.count("\n", counted_to, at):
            line, line_start = line + lines, text.rfind("\n", counted_to, at) + 1
        counted_to = at
        if not isinstance(found, str):
            raise _NotAListError(line, f"item {number} has no text under {column} or {headings[-1]}")
        yield Row(line, at - line_start + 1, found, beside if isinstance(beside, str) else "")


def _json_items(text: str) -> Iterator[tuple[int, int, Any]]:
    """Yield start, end and value of each item of a JSON list."""
    decoder = json.JSONDecoder()
    at = _skip_space(text, _skip_space(text, 0) + 1)
    try:
        while text[at : at + 1] != "]":
            item, end = decoder.raw_decode(text, at)
            yield at, end, item
            at = _skip_space(text, end)
            if text[at : at + 1] == ",":
                at = _skip_space(text, at + 1)
            elif text[at : at + 1] != "]":
                raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        at = _skip_space(text, at + 1)
        if at != len(text):
            raise json.JSONDecodeError("Extra data", text, at)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None) or place_of(text, at)[0]
        raise _NotAListError(line, f"is not valid JSON: {clean(str(error))}") from None


def _skip_space(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    return at if found is None else found.end()


def _boxed_rows(text: str, headings: tuple[str, ...], column: str) -> Iterator[Row]:
    """Yield the cells of a column of what `openstack ... list` prints without -f: a table with borders."""
    names: list[str] | None = None
    index, name_index = 0, None
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        bare = line.strip()
        if not bare or BORDER.fullmatch(bare):
            continue
        if not (bare.startswith("|") and bare.endswith("|") and len(bare) > 1):
            raise _NotAListError(number, "is not a row of the table above; remove it, or print it with -f csv")
        cells = [cell.strip() for cell in bare[1:-1].split("|")]
        if names is None:
            names, known = cells, _index(cells, headings, column)
            if known is None:
                raise _NotAListError(number, f"this table has no column {column} or {headings[-1].upper()}")
            index, name_index = known, _name_index(cells, headings)
            continue
        if len(cells) < len(names):
            raise _NotAListError(number, "has fewer columns than the table's heading; print it with -f csv")
        exact = len(cells) == len(names)  # else a name contains the border
        cell = cells[index]
        yield Row(number, line.find(cell) + 1, cell, cells[name_index] if exact and name_index is not None else "")


def _table_rows(text: str, headings: tuple[str, ...], column: str) -> Iterator[Row]:
    """Yield the cells of a table's column: that of a known heading, else the first.

    The first row is a heading if it has a known one, or if the second row starts with what looks like an ID and the
    first does not. It holds an ID if it looks like one. Anything else would be a guess, and a wrong guess would go
    unnoticed: a heading taken for an ID shares with no one, an ID taken for a heading is left out.
    """
    lines = io.StringIO(text, newline=None).readlines()
    separator = SEPARATOR.fullmatch(_first_line(text))
    if separator is not None:
        lines[next(number for number, line in enumerate(lines) if line.strip())] = "\n"
    delimiter = _delimiter(_first_line(text), headings, column) if separator is None else separator[1]
    rows = _cells(lines, delimiter)
    first = next(rows, None)
    if first is None:
        return
    names = first[1]
    index, name_index = _index(names, headings, column), _name_index(names, headings)
    if index is None:
        index = 0
        if name_index is None and headings is not NAME_HEADINGS:
            name_index = 1
        second = [row for row in (next(rows, None),) if row is not None]
        if LOOKS_LIKE_AN_ID.fullmatch(names[0]) or (headings is NAME_HEADINGS and len(names) == 1):
            rows = chain([first], second, rows)
        elif second and LOOKS_LIKE_AN_ID.fullmatch(second[0][1][0]):
            rows = chain(second, rows)
        elif _index(names, NAME_HEADINGS, "name") is not None:
            raise _NotAListError(
                first[0], f"this heading has a column of names, but none of IDs; add {column}, or write `as: name`"
            )
        else:
            raise _NotAListError(
                first[0], f"it is unclear whether this row is a heading; add a heading with the column {column}"
            )
    for number, cells in rows:
        cell = cells[index] if index < len(cells) else ""
        beside = cells[name_index] if name_index is not None and name_index < len(cells) else ""
        yield Row(number, max(lines[number - 1].find(cell), 0) + 1, cell, beside)


def _cells(lines: list[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of each row that is not blank."""
    reader = csv.reader(lines, strict=True, delimiter=delimiter)
    ended = 0  # the line on which the last good row ended
    try:
        for row in reader:
            ended = reader.line_num
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise _NotAListError(ended + 1, f"is not valid CSV: {escaped(str(error))}") from None
