"""YAML text -> data that remembers the position of everything."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from bulkshare.model import Problem
from bulkshare.text import clean

if TYPE_CHECKING:
    from pathlib import Path

    from yaml.nodes import Node

    Location = tuple[str | int, ...]  # keys and indexes, from the root

UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
UTF_16_SAMPLE = 4096  # bytes looked at for UTF-16 without the mark
LARGEST = 1 << 28  # bytes: enough for seven million IDs, and a bound for /dev/zero
DEEPEST = 50  # levels: a plan has seven; libyaml overflows the stack at some ten thousand
MOST_NODES = 5_000_000  # with aliases expanded: beyond any plan, and well within memory
MOST_CHARACTERS_REPORTED = 20  # that YAML does not allow; a binary file is full of them
COMMENT = re.compile(r"[ \t]*[\],]?[ \t]+#(.*)")  # after an item, which may be the last of [a list]
NULLS = frozenset({"", "~", "null", "Null", "NULL"})
DEFAULT_TAGS = frozenset(
    {yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG, "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"}
)
# YAML 1.1, 5.1 "Character Set", without the line ends that no editor shows.
NOT_IN_YAML = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
# A part of PyYAML's message that libyaml and the pure Python parser share -> advice.
ADVICE = (
    ("tab character", "indent with spaces"),
    ("cannot start any token", "quote text that begins with this character, and indent with spaces, not tabs"),
    ("mapping values are not allowed", "check the indentation, and quote text that contains `: `"),
    ("sequence entries are not allowed", "start the list on its own line"),
    ("',' or ']'", "a comma is missing, or the [ is not closed"),
    ("',' or '}'", "a comma is missing, or the { is not closed"),
    ("end of stream", "a quote is not closed"),
    ("expected ':'", "a key needs `: ` after it"),
    ("undefined alias", "quote text that begins with *"),
    ("another document", "a plan is a single document: remove the ---"),
    ("escape", "a backslash in double quotes starts an escape; use single quotes"),
    ("duplicate anchor", "give each anchor its own name"),
    ("expected", "check the indentation of this line and of the one above"),
)
_FastLoader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # libyaml's, ten times as fast, if PyYAML has it


class UnreadableError(Exception):
    """A file has no text. `str()` continues a sentence that begins with its name; line and column count from 1."""

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def read_bytes(path: Path) -> bytes:
    """Return what a file contains. Raises `UnreadableError`."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise UnreadableError("no such file") from None
    except IsADirectoryError:
        raise UnreadableError("is a directory, not a file") from None
    except PermissionError:
        raise UnreadableError("is not readable by this user") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UnreadableError(f"can't be read: {getattr(error, 'strerror', None) or error}") from None
    return require_small(raw)


def require_small(raw: bytes) -> bytes:
    """Return a file's contents. Raises `UnreadableError` if they are more than `LARGEST` bytes."""
    if len(raw) > LARGEST:
        raise UnreadableError(f"is larger than {LARGEST >> 20} MiB; split it")
    return raw


def decode(raw: bytes, *, utf_16: bool = False) -> str:
    """Return a file's text: UTF-8, or with `utf_16` also UTF-16; with or without a byte order mark.

    Raises `UnreadableError`, with line and column.
    """
    encoding = _utf_16_of(raw)
    if encoding:
        if not utf_16:
            raise UnreadableError("is UTF-16; save the file as UTF-8", 1, 1)
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            raise UnreadableError("is not valid UTF-16; save the file as UTF-8", 1, 1) from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8")  # `object` lacks the byte order mark
        line, column = place_of(before, len(before))
        message = f"byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise UnreadableError(message, line, column) from None


def _utf_16_of(raw: bytes) -> str:
    """Return which UTF-16 a file is in; empty if in none. Without the mark, zeros as every other byte show it."""
    if raw.startswith(UTF_16_MARKS):
        return "utf-16"
    sample = raw[:UTF_16_SAMPLE]
    high, low = sample[0::2].count(0), sample[1::2].count(0)
    for zeros, others, encoding in ((low, high, "utf-16-le"), (high, low, "utf-16-be")):
        if zeros and 4 * zeros >= len(sample) and 4 * others <= zeros:
            return encoding
    return ""


def place_of(text: str, offset: int) -> tuple[int, int]:
    """Return line and column, from 1, of the character at `offset`, or of the text's end if it is shorter."""
    before = text[:offset].replace("\r\n", "\n").replace("\r", "\n")
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


class _TooDeepError(yaml.MarkedYAMLError):
    """Valid YAML that would overflow the stack."""


class _Loader(_FastLoader):  # type: ignore[misc]  # one of two classes
    """Composes nodes without guessing types, to a bounded depth."""

    depth = 0

    def descend_resolver(self, current_node: Node | None, current_index: Any) -> None:
        """Count a level; PyYAML calls this when it descends."""
        del current_index
        self.depth += 1
        if self.depth > DEEPEST:
            mark = current_node.start_mark if current_node is not None else None
            raise _TooDeepError(problem_mark=mark)

    def ascend_resolver(self) -> None:
        """Uncount a level; PyYAML calls this when it ascends."""
        self.depth -= 1


@dataclass(frozen=True, slots=True)
class Document:
    """A plan's text as data: dicts, lists, strings and None. `file` is the name to show."""

    file: str
    data: Any
    root: Node
    text: str

    def problem(self, location: Location, message: str, *, at_key: bool = False) -> Problem:
        """Return a problem at `location`, or as close to it as the document goes."""
        node = self._find(location, at_key=at_key)
        return Problem(self.file, node.start_mark.line + 1, node.start_mark.column + 1, message)

    def comments(self, location: Location) -> dict[int, str]:
        """Return the comments on texts in the list at `location`, by index, without the #.

        A comment belongs to the item before it if that is the only one on its line.
        """
        node = self._find(location, at_key=False)
        if "#" not in self.text or not isinstance(node, yaml.SequenceNode):
            return {}
        found = {}
        last_line = -1
        for number, item in enumerate(node.value):
            start, end = item.start_mark, item.end_mark
            if start.line != last_line and start.line == end.line and isinstance(item, yaml.ScalarNode):
                comment = COMMENT.match(self.text, end.index)
                if comment is not None:
                    found[number] = comment[1]
            last_line = end.line
        return found

    def _find(self, location: Location, *, at_key: bool) -> Node:
        node, key = self.root, self.root
        for part in location:
            if isinstance(node, yaml.MappingNode):
                found = next((pair for pair in node.value if pair[0].value == part), None)
                if found is None:
                    break
                key, node = found
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = key = node.value[part]
            else:
                break
        return key if at_key else node


def read_document(raw: bytes, name: str, problems: list[Problem]) -> Document | None:
    """Read a file's contents; None if they can't be parsed at all. Problems are added to `problems`."""
    try:
        text = decode(raw)
    except UnreadableError as error:
        problems.append(Problem(name, error.line, error.column, str(error)))
        return None
    if odd := _odd_characters(name, text):
        problems.extend(odd)
        return None
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        problems.append(_syntax_problem(name, error))
        return None
    if root is None:
        problems.append(Problem(name, 1, 1, "the file is empty; a plan begins with `version: 1`"))
        return None
    builder = _Builder(name, problems)
    data, _ = builder.build(root)
    return None if builder.failed else Document(name, data, root, text)


def _odd_characters(name: str, text: str) -> list[Problem]:
    problems = []
    for found in NOT_IN_YAML.finditer(text):
        message = f"the invisible character U+{ord(found[0]):04X} is not allowed in YAML; remove it"
        problems.append(Problem(name, *place_of(text, found.start()), message))
        if len(problems) == MOST_CHARACTERS_REPORTED:
            break
    return problems


def _syntax_problem(name: str, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (None, None)
    if isinstance(error, _TooDeepError):
        return Problem(name, line, column, f"is nested more than {DEEPEST} levels deep; a plan has seven")
    detail = ", ".join(filter(None, (getattr(error, "context", None), getattr(error, "problem", None)))) or str(error)
    start = getattr(error, "context_mark", None)
    since = f" (started on line {start.line + 1})" if start is not None and start.line + 1 != line else ""
    advice = next((f"; {advice}" for part, advice in ADVICE if part in detail), "")
    return Problem(name, line, column, clean(f"is not valid YAML: {detail}{since}{advice}"))


class _Builder:
    """Turns nodes into data, once per node, however many aliases refer to it."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.failed = False
        self._file = file
        self._problems = problems
        self._built: dict[int, tuple[Any, int]] = {}
        self._open: set[int] = set()

    def build(self, node: Node) -> tuple[Any, int]:
        """Return the node's data, and its number of nodes with aliases expanded."""
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node), 1
        known = self._built.get(id(node))
        if known is not None:
            return known
        if id(node) in self._open:
            self._fail(node, "contains an alias of itself; write the list out")
            return None, 1
        self._open.add(id(node))
        self._check_tag(node)
        data, size = self._sequence(node) if isinstance(node, yaml.SequenceNode) else self._mapping(node)
        self._open.discard(id(node))
        if size > MOST_NODES:
            self._fail(node, f"expands to more than {MOST_NODES:,} values through its aliases; use groups")
            size = 1  # report it once
        self._built[id(node)] = data, size
        return data, size

    def _scalar(self, node: yaml.ScalarNode) -> str | None:
        self._check_tag(node)
        return None if not node.style and node.value in NULLS else str(node.value)

    def _sequence(self, node: yaml.SequenceNode) -> tuple[list[Any], int]:
        data, size = [], 1
        for item in node.value:
            value, count = self.build(item)
            data.append(value)
            size += count
        return data, size

    def _mapping(self, node: Node) -> tuple[dict[str, Any], int]:
        data: dict[str, Any] = {}
        places: dict[str, int] = {}
        size = 1
        for key_node, value_node in node.value:
            value, count = self.build(value_node)
            size += count
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(
                    key_node, "a key must be a word, not a list or a mapping; quote text that contains braces"
                )
                continue
            self._check_tag(key_node)
            key = str(key_node.value)
            if key in data:
                again = f"key {clean(key, 60)!r} is repeated; it is already on line {places[key]}"
                self._problem(key_node, f"{again}. Keep one")
                continue
            if key == "<<" and not key_node.style:
                self._problem(key_node, "merge keys (<<) are not supported; write the keys out, or use groups")
                continue
            data[key] = value
            places[key] = key_node.start_mark.line + 1
        return data, size

    def _check_tag(self, node: Node) -> None:
        if node.tag not in DEFAULT_TAGS:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            self._problem(node, f"tags are not supported; remove {clean(tag, 60)!r}: IDs are always text")

    def _fail(self, node: Node, message: str) -> None:
        self._problem(node, message)
        self.failed = True

    def _problem(self, node: Node, message: str) -> None:
        mark = node.start_mark
        self._problems.append(Problem(self._file, mark.line + 1, mark.column + 1, message))
