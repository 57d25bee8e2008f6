"""Images and projects as they are named on a command line: IDs, names, patterns, and selectors as key=value.

===================================  =====================================================
text                                 stands for
===================================  =====================================================
a UUID, with or without dashes       the image or project with that ID
id=TEXT                              the one with that ID, whatever it looks like
KEY=VALUE,...                        all that match, with the keys of a plan's selectors
property.NAME=VALUE                  images with that property
``-``                                the IDs in a list on standard input, as in a plan's file
anything else                        all with that name, in which * ? and [...] are a pattern
several of these, as in ``a,b``      each of them; a name with such a comma is `name=a,b`
===================================  =====================================================

A key may be repeated where a plan takes a list (`tag`). After a key, a comma separates only if another key follows it;
elsewhere, unless white space does. A name with keys behind it, as in ``a,tag=b``, is an error: it is likely to be meant
as one selector, and would be two.
"""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bulkshare.errors import PlanError
from bulkshare.model import IdList, Problem
from bulkshare.plan.lists import LOOKS_LIKE_AN_ID, canonical_id, id_fault, list_file, read_ids
from bulkshare.plan.messages import sentences
from bulkshare.plan.schema import ImageSelectorItem, ProjectSelectorItem
from bulkshare.plan.yaml import UnreadableError
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bulkshare.model import ImageSelector, ProjectSelector

    Selector = TypeVar("Selector", ImageSelector, ProjectSelector)

KEYED = re.compile(r"[a-z_]+(?:\.[^=,]+)?=")
SEPARATOR = re.compile(r",(?=\S)")
NEXT_KEY = re.compile(rf",\s*(?={KEYED.pattern})")
NO_DEFAULTS: Mapping[str, Any] = {}
SECTIONS: dict[str, type[ImageSelectorItem] | type[ProjectSelectorItem]] = {
    "images": ImageSelectorItem,
    "projects": ProjectSelectorItem,
}


def image_arguments(texts: Sequence[str], names: dict[str, str] | None = None) -> IdList[str | ImageSelector]:
    """Return what the arguments stand for; names beside IDs in a list are added to `names`.

    Raises `PlanError` with all that is wrong with them.
    """
    return _parsed(texts, "images", {} if names is None else names)


def project_arguments(
    texts: Sequence[str], names: dict[str, str] | None = None, *, disabled_too: bool = False
) -> IdList[str | ProjectSelector]:
    """Return what the arguments stand for, like `image_arguments`.

    disabled_too: a selector that does not say otherwise stands for disabled projects as well.
    """
    return _parsed(texts, "projects", {} if names is None else names, {"enabled": "any"} if disabled_too else {})


def _parsed(
    texts: Sequence[str], kind: str, names: dict[str, str], defaults: Mapping[str, Any] = NO_DEFAULTS
) -> IdList[Any]:
    problems: list[Problem] = []
    items: list[Any] = []
    separated = [_separated(text) for text in texts]
    problems += (
        _mixed(text, kind)
        for text, parts in zip(texts, separated, strict=True)
        if any(map(_is_name, parts[:-1])) and KEYED.match(parts[-1].lstrip())
    )
    for text in dict.fromkeys(chain.from_iterable(separated)):
        if text == "-":
            items += _piped(kind, problems, names)
        else:
            items.append(_item(text.strip(), kind, problems, defaults))
    if problems:
        raise PlanError(list(dict.fromkeys(problems)))
    return IdList(dict.fromkeys(items))


def _separated(text: str) -> list[str]:
    """Split a text at its commas, up to a selector, which has commas of its own."""
    parts = SEPARATOR.split(text)
    for number, part in enumerate(parts):
        if KEYED.match(part.lstrip()):
            return [*parts[:number], ",".join(parts[number:])]
    return parts


def argument_for(name: str) -> str:
    """Return the argument that stands for a name, which is the name itself unless it would be read otherwise."""
    return f"name={name}" if SEPARATOR.search(name) or KEYED.match(name) else name


def _is_name(text: str) -> bool:
    return text != "-" and LOOKS_LIKE_AN_ID.fullmatch(text.strip()) is None


def _mixed(text: str, kind: str) -> Problem:
    """Return the problem of a name with keys behind it: as two arguments, they would stand for far more."""
    message = f"a name and keys are one selector: write {clean(f'name={text.lstrip()}', 110)!r}, or two arguments"
    return Problem(f"{kind[:-1]} {clean(text, 100)!r}", None, None, message)


def _piped(kind: str, problems: list[Problem], names: dict[str, str]) -> IdList[str]:
    path, shown = list_file("-", Path())
    try:
        return read_ids(path, shown, kind, problems, names)
    except UnreadableError as error:
        problems.append(Problem(shown, None, None, str(error)))
        return IdList()


def _item(text: str, kind: str, problems: list[Problem], defaults: Mapping[str, Any]) -> Any:
    """Return the ID or selector that a text stands for; None for a text with problems, which are added."""
    section = SECTIONS[kind]
    place = f"{kind[:-1]} {clean(text, 100)!r}"

    def report(message: str) -> None:
        problems.append(Problem(place, None, None, message))

    if LOOKS_LIKE_AN_ID.fullmatch(text):
        return canonical_id(text, kind)
    if not KEYED.match(text):
        item: dict[str, Any] = {"name": text}
    else:
        before = len(problems)
        item = _keys(text, report)
        if len(problems) > before:
            return None
        if "id" in item:
            if len(item) > 1:
                report("`id` is enough; leave out the other keys")
            elif fault := id_fault(item["id"]):
                report(fault.message)
            else:
                return canonical_id(item["id"], kind)
            return None
    item = {**defaults, **item}
    if found := sentences(section, item):
        for message in found:
            report(message)
        return None
    return section.model_validate(item).selector(place)


def _keys(text: str, report: Any) -> dict[str, Any]:
    """Return the keys and values of a text; a key that is repeated has a list."""
    item: dict[str, Any] = {}
    for part in NEXT_KEY.split(text):
        key, _, value = part.partition("=")
        if key.startswith("property."):
            item.setdefault("property", {})[key.removeprefix("property.")] = value
        elif key == "property":
            report("write a property as property.NAME=VALUE, such as property.os_distro=ubuntu")
        elif key == "tag":
            item.setdefault("tag", []).append(value)
        elif key in item:
            report(f"`{key}` is given twice; give it once")
        else:
            item[key] = value
    return item
