"""YAML text -> plain data in which every scalar is the text that was written, and where each piece of it stands.

YAML 1.1 would make a number of the ID 0123 and a date of 2026-01-01, and would take the last of two equal keys. Here a
scalar stays text (only an empty one, `~` and `null` are None), and equal keys, tags, other documents in the file, and
aliases that blow up are problems.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from bulkshare.model import Problem
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from yaml.nodes import Node

    Location = Sequence[str | int]

DEEPEST = 50  # a plan has six levels; libyaml would overflow the stack at some ten thousand
MOST_NODES = 20_000_000  # after aliases are expanded: beyond any plan, and well below what memory holds
NULLS = frozenset({"", "~", "null", "Null", "NULL"})
DEFAULT_TAGS = frozenset(
    {yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG, "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"}
)
_FastLoader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # libyaml's: ten times as fast, where PyYAML has it


class _Loader(_FastLoader):  # type: ignore[misc]  # a choice of two classes
    """Composes nodes without guessing types, down to a bounded depth."""

    depth = 0

    def descend_resolver(self, current_node: Node | None, current_index: Any) -> None:
        """Count a level; PyYAML calls this on the way down."""
        del current_index
        self.depth += 1
        if self.depth > DEEPEST:
            mark = current_node.start_mark if current_node is not None else None
            raise yaml.MarkedYAMLError(problem=f"nested more than {DEEPEST} levels deep", problem_mark=mark)

    def ascend_resolver(self) -> None:
        """Count a level back; PyYAML calls this on the way up."""
        self.depth -= 1


@dataclass(frozen=True, slots=True)
class Document:
    """A plan's text as data. `file` is the name to show."""

    file: str
    data: Any
    root: Node

    def problem(self, location: Location, message: str, *, at_key: bool = False) -> Problem:
        """Return a problem at what `location` (keys and indexes) leads to, or as near as it goes."""
        node = self._find(location, at_key=at_key)
        return Problem(self.file, node.start_mark.line + 1, node.start_mark.column + 1, message)

    def _find(self, location: Location, *, at_key: bool) -> Node:
        node, key = self.root, self.root
        for part in location:
            if isinstance(node, yaml.MappingNode):
                for key_node, value_node in node.value:
                    if key_node.value == part:
                        node, key = value_node, key_node
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = key = node.value[part]
        return key if at_key else node


def read_document(path: Path, name: str, problems: list[Problem]) -> Document | None:
    """Read a file; None where it can't be understood at all. Problems are added to `problems`."""
    text = read_text(path, name, problems)
    if text is None:
        return None
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        problems.append(_syntax_problem(name, error, text))
        return None
    if root is None:
        problems.append(Problem(name, 1, 1, "the file is empty; a plan begins with `version: 1`"))
        return None
    builder = _Builder(name, problems)
    data, _ = builder.build(root)
    return None if builder.given_up else Document(name, data, root)


def read_text(path: Path, name: str, problems: list[Problem]) -> str | None:
    """Return a file's text, or None where there is none to be had."""
    try:
        raw = path.read_bytes()
    except IsADirectoryError:
        problems.append(Problem(name, None, None, "is a directory, not a file"))
    except FileNotFoundError:
        problems.append(Problem(name, None, None, "there is no such file"))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        problems.append(Problem(name, None, None, f"can't be read: {getattr(error, 'strerror', error)}"))
    else:
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = raw[: error.start]
            line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
            message = f"byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
            problems.append(Problem(name, line, column, message))
    return None


def _syntax_problem(name: str, error: yaml.YAMLError, text: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1
        return Problem(name, line, column, "a control character; YAML allows none")
    if mark is None:
        return Problem(name, None, None, clean(f"is no valid YAML: {error}"))
    what = ", ".join(filter(None, (getattr(error, "context", None), getattr(error, "problem", None))))
    return Problem(name, mark.line + 1, mark.column + 1, clean(f"is no valid YAML: {what}"))


class _Builder:
    """Makes data of nodes, once for each node, however many aliases lead to it."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.given_up = False
        self._file = file
        self._problems = problems
        self._built: dict[int, tuple[Any, int]] = {}
        self._open: set[int] = set()

    def build(self, node: Node) -> tuple[Any, int]:
        """Return the node's data, and how many nodes it is with its aliases expanded."""
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node), 1
        known = self._built.get(id(node))
        if known is not None:
            return known
        if id(node) in self._open:
            self._give_up(node, "an alias to what it stands in; write the list out")
            return None, 1
        self._open.add(id(node))
        self._check_tag(node)
        data, size = self._sequence(node) if isinstance(node, yaml.SequenceNode) else self._mapping(node)
        self._open.discard(id(node))
        if size > MOST_NODES:
            self._give_up(node, f"comes to more than {MOST_NODES:,} values when its aliases are expanded")
            size = 1  # said once is enough
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
                self._problem(key_node, "a key has to be a word, not a list or a mapping")
            elif key_node.value in data:
                first = places[key_node.value]
                self._problem(
                    key_node, f"key {clean(key_node.value)!r} stands here again; it is on line {first} already"
                )
            else:
                data[str(key_node.value)] = value
                places[str(key_node.value)] = key_node.start_mark.line + 1
        return data, size

    def _check_tag(self, node: Node) -> None:
        if node.tag not in DEFAULT_TAGS:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            self._problem(node, f"tags are not supported: take {clean(tag)!r} away; IDs are text in any case")

    def _give_up(self, node: Node, message: str) -> None:
        self._problem(node, message)
        self.given_up = True

    def _problem(self, node: Node, message: str) -> None:
        mark = node.start_mark
        self._problems.append(Problem(self._file, mark.line + 1, mark.column + 1, message))
