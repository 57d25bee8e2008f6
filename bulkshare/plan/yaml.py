"""YAML text -> data that knows the position of everything.

The data is built from the parser's events, without a tree of nodes: a list of a million IDs is a list of a million
texts and nothing more. Positions are found in such a tree, which is made when the first of them is asked for.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import yaml
from yaml.composer import ComposerError
from yaml.events import (
    AliasEvent,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from bulkshare.model import Problem
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from yaml.nodes import Node

    Location = tuple[str | int, ...]  # keys and indexes, from the root

UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
UTF_16_SAMPLE = 4096  # bytes looked at for UTF-16 without the mark
LARGEST = 1 << 28  # bytes: enough for seven million IDs, and a bound for /dev/zero
DEEPEST = 50  # levels: a plan has seven; libyaml overflows the stack at some ten thousand
MOST_NODES = 5_000_000  # with aliases expanded: beyond any plan, and well within memory
MOST_CHARACTERS_REPORTED = 20  # that YAML does not allow; a binary file is full of them
COMMENT_AFTER_SOMETHING = re.compile(r"[^ \t\r\n][ \t]+#")
COMMENT = re.compile(r"[ \t]*[\],]?[ \t]+#(.*)")  # after an item, which may be the last of [a list]
NULLS = frozenset({"", "~", "null", "Null", "NULL"})
DEFAULT_TAGS = frozenset(
    {None, "!", yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG, "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"}
)
# What YAML 1.1, 5.1 "Character Set" leaves out, and the line ends that no editor shows. The set of what it has would
# do, negated, but `re` would take a twentieth of a `check` to compile it.
NOT_IN_YAML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
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


@dataclass(frozen=True)
class Document:
    """A plan's text as data: dicts, lists, strings and None. `file` is the name to show."""

    file: str
    data: Any
    text: str

    @cached_property
    def _root(self) -> Node:
        root = yaml.compose(self.text, Loader=_FastLoader)
        assert root is not None  # noqa: S101  there is data
        return root

    def problem(self, location: Location, message: str, *, at_key: bool = False) -> Problem:
        """Return a problem at `location`, or as close to it as the document goes."""
        node = self._find(location, at_key=at_key)
        return Problem(self.file, node.start_mark.line + 1, node.start_mark.column + 1, message)

    def comments(self, location: Location) -> dict[int, str]:
        """Return the comments on texts in the list at `location`, by index, without the #.

        A comment belongs to the item before it if that is the only one on its line.
        """
        if not self._has_comments:
            return {}
        node = self._find(location, at_key=False)
        if not isinstance(node, yaml.SequenceNode):
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

    @cached_property
    def _has_comments(self) -> bool:
        """Whether there may be any after an item."""
        return COMMENT_AFTER_SOMETHING.search(self.text) is not None

    def _find(self, location: Location, *, at_key: bool) -> Node:
        node, key = self._root, self._root
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
    del raw  # as large as the text, and perhaps no one else has it
    if odd := _odd_characters(name, text):
        problems.extend(odd)
        return None
    builder = _Builder(name, text)
    try:
        data, _ = builder.build_document()
    except yaml.YAMLError as error:
        problems.append(_syntax_problem(name, error))
        return None
    if builder.is_empty:
        problems.append(Problem(name, 1, 1, "the file is empty; a plan begins with `version: 1`"))
        return None
    problems += builder.problems
    return None if builder.failed else Document(name, data, text)


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
    """Turns the parser's events into data: a collection with an anchor once, however many aliases refer to it."""

    def __init__(self, file: str, text: str) -> None:
        self.failed = False
        self.is_empty = False
        self.problems: list[Problem] = []
        self._file = file
        self._loader = _FastLoader(text)
        self._next: Callable[[], Any] = self._loader.get_event
        self._texts: dict[str, str] = {}  # each once: entries name the same projects
        self._anchors: dict[str, tuple[Any, Any, int]] = {}  # data and size; size 0: it is not complete
        self._open: list[Any] = []  # where the nodes around the next one begin, outermost first

    def build_document(self) -> tuple[Any, int]:
        """Return the only document's data, and its number of values with aliases expanded. Raises `yaml.YAMLError`."""
        try:
            self._next()  # the stream's start
            start = self._next()
            if isinstance(start, StreamEndEvent):
                self.is_empty = True
                return None, 0
            built = self._build(self._next())
            self._next()  # the document's end
            another = self._next()
            if not isinstance(another, StreamEndEvent):
                raise ComposerError(
                    "expected a single document in the stream",
                    start.start_mark,
                    "but found another document",
                    another.start_mark,
                )
            return built
        finally:
            self._loader.dispose()

    def _build(self, event: Any) -> tuple[Any, int]:
        """Return the data of the node that begins with an event, and its number of values."""
        if isinstance(event, AliasEvent):
            first, data, size = self._aliased(event)
            if not size:
                self._fail(first.start_mark, "contains an alias of itself; write the list out")
            return data, size or 1
        self._check_tag(event)
        if event.anchor is not None:
            if event.anchor in self._anchors:
                first = self._anchors[event.anchor][0]
                raise ComposerError(
                    "found duplicate anchor; first occurrence", first.start_mark, "second occurrence", event.start_mark
                )
            self._anchors[event.anchor] = event, None, 0
        if len(self._open) == DEEPEST:
            raise _TooDeepError(problem_mark=self._open[-1])
        self._open.append(event.start_mark)
        if isinstance(event, ScalarEvent):
            data, size = self._scalar(event), 1
        else:
            data, size = self._sequence() if isinstance(event, SequenceStartEvent) else self._mapping()
        self._open.pop()
        if size > MOST_NODES:
            self._fail(event.start_mark, f"expands to more than {MOST_NODES:,} values through its aliases; use groups")
            size = 1  # report it once
        if event.anchor is not None:
            self._anchors[event.anchor] = event, data, size
        return data, size

    def _aliased(self, event: Any) -> tuple[Any, Any, int]:
        if event.anchor not in self._anchors:
            raise ComposerError(None, None, "found undefined alias", event.start_mark)
        return self._anchors[event.anchor]

    def _scalar(self, event: Any) -> str | None:
        value = event.value
        return None if not event.style and value in NULLS else self._texts.setdefault(value, value)

    def _sequence(self) -> tuple[list[Any], int]:
        data: list[Any] = []
        size = 1
        while not isinstance(event := self._next(), SequenceEndEvent):
            if type(event) is ScalarEvent and event.anchor is None is event.tag:  # the usual case, worth being fast
                data.append(self._scalar(event))
                size += 1
                continue
            value, count = self._build(event)
            data.append(value)
            size += count
        return data, size

    def _mapping(self) -> tuple[dict[str, Any], int]:
        data: dict[str, Any] = {}
        places: dict[str, int] = {}
        size = 1
        while not isinstance(key_event := self._next(), MappingEndEvent):
            self._build(key_event)
            if isinstance(key_event, AliasEvent):
                key_event = self._aliased(key_event)[0]
            value, count = self._build(self._next())
            size += count
            mark = key_event.start_mark
            if not isinstance(key_event, ScalarEvent):
                self._problem(mark, "a key must be a word, not a list or a mapping; quote text that contains braces")
                continue
            key = str(key_event.value)
            if key in data:
                again = f"key {clean(key, 60)!r} is repeated; it is already on line {places[key]}"
                self._problem(mark, f"{again}. Keep one")
                continue
            if key == "<<" and not key_event.style:
                self._problem(mark, "merge keys (<<) are not supported; write the keys out, or use groups")
                continue
            data[key] = value
            places[key] = mark.line + 1
        return data, size

    def _check_tag(self, event: Any) -> None:
        if event.tag not in DEFAULT_TAGS:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            message = f"tags are not supported; remove {clean(tag, 60)!r}: IDs are always text"
            self._problem(event.start_mark, message)

    def _fail(self, mark: Any, message: str) -> None:
        self._problem(mark, message)
        self.failed = True

    def _problem(self, mark: Any, message: str) -> None:
        self.problems.append(Problem(self._file, mark.line + 1, mark.column + 1, message))
