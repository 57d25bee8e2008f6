"""The kinds of values a plan has: from text to what is meant, or a sentence about what is wrong with it.

Every value arrives as text (see `document`). The types carry what the JSON Schema for editors says of them.
"""

from __future__ import annotations

import re
from functools import partial
from math import inf
from typing import Annotated, Literal

import durationpy
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from bulkshare.plan.lists import ID_PATTERN, LONGEST_ID, id_trouble
from bulkshare.text import clean

VERSION = 1
DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"  # durationpy takes more: mm is a month
DAY_SECONDS = 86_400.0
LONGEST_AGE_DAYS = 36_500


def kind(value: object) -> str:
    """Name the kind of a value for a sentence."""
    if value is None:
        return "nothing"
    return "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else "text"


def found(value: object) -> str:
    """Name a value for a sentence: what it is, or where it is a text, how it reads."""
    return repr(clean(value, 60)) if isinstance(value, str) else kind(value)


def _seconds(text: object, *, longest: float, what: str, such_as: tuple[str, ...]) -> float:
    if not isinstance(text, str):
        raise ValueError(f"expected a duration such as {such_as[0]}, found {kind(text)}")  # noqa: TRY004  # pydantic wants it
    advice = f"write e.g. {', '.join(such_as[:-1])} or {such_as[-1]}"
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"{clean(text, 60)!r} is no duration; {advice}")
    try:
        seconds = float(durationpy.from_str(text).total_seconds())
    except (OverflowError, ValueError):  # its DurationError is a ValueError
        seconds = inf
    if seconds <= 0:
        raise ValueError(f"{clean(text, 60)!r} is no time at all; {advice}")
    if seconds > longest:
        raise ValueError(f"{clean(text, 60)!r} is more than {what}; {advice}")
    return seconds


def _version(text: object) -> int:
    if not isinstance(text, str) or not text.isascii() or not text.isdecimal():
        raise ValueError(f"expected the plan format's version, which is {VERSION}")
    number = int(text.lstrip("0")[:9] or "0")  # nine digits are enough to tell
    if number > VERSION:
        raise ValueError(f"version {clean(text, 20)} is for a newer bulkshare; this one reads version {VERSION}")
    if number < VERSION:
        raise ValueError(f"there is no version 0; the first is {VERSION}")
    return VERSION


def _name(text: str) -> str:
    if not text or not text.isascii() or not all(c.islower() or c.isdigit() or c == "-" for c in text):
        raise ValueError(f"{clean(text, 60)!r} is no name for a plan; use a-z, 0-9 and -")
    if len(text) > 100:
        raise ValueError("a plan's name has at most 100 characters")
    return text


def _visible(text: str) -> str:
    if text != text.strip() or not text.isprintable():
        raise ValueError(
            f"{clean(text, 60)!r} has white space around it or characters that can't be seen; take them away"
        )
    return text


def _id(text: str) -> str:
    if trouble := id_trouble(text):
        raise ValueError(trouble.message)
    return text


def _flag(text: object, words: tuple[str, ...] = ()) -> bool | str:
    known = {"true": True, "false": False} | {word: word for word in words}
    if isinstance(text, str) and text.lower() in known:
        return known[text.lower()]
    raise ValueError(
        f"expected {'true, false' if words else 'true'} or {words[-1] if words else 'false'}, found {found(text)}"
    )


def _texts(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _no_separators(text: str) -> str:
    if sign := next((sign for sign in ",/" if sign in text), None):
        raise ValueError(f"{clean(text, 60)!r} has {sign!r} in it; no tag of a project has")
    return text


Version = Annotated[int, BeforeValidator(_version), WithJsonSchema({"const": VERSION})]
PlanName = Annotated[
    str,
    AfterValidator(_name),
    WithJsonSchema({"type": "string", "pattern": "^[a-z0-9-]+$", "maxLength": 100}),
]
Visible = Annotated[str, Field(min_length=1), AfterValidator(_visible)]
Wait = Annotated[
    float,
    BeforeValidator(partial(_seconds, longest=DAY_SECONDS, what="a day", such_as=("500ms", "0.5s", "2m"))),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["0.5s", "2m"]}),
]
Age = Annotated[
    float,
    BeforeValidator(
        partial(
            _seconds, longest=LONGEST_AGE_DAYS * DAY_SECONDS, what="a hundred years", such_as=("30d", "12h", "1d12h")
        )
    ),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["30d", "12h"]}),
]
# An item of a list: what is wrong with it as an ID is told where lists are read.
ItemId = Annotated[str, WithJsonSchema({"type": "string", "pattern": ID_PATTERN, "maxLength": LONGEST_ID})]
Id = Annotated[
    str, AfterValidator(_id), WithJsonSchema({"type": "string", "pattern": ID_PATTERN, "maxLength": LONGEST_ID})
]
Flag = Annotated[bool, BeforeValidator(_flag), WithJsonSchema({"type": "boolean"})]
FlagOrAny = Annotated[
    bool | Literal["any"],
    BeforeValidator(partial(_flag, words=("any",))),
    WithJsonSchema({"enum": [True, False, "any"]}),
]
FlagOrForce = Annotated[
    bool | Literal["force"],
    BeforeValidator(partial(_flag, words=("force",))),
    WithJsonSchema({"enum": [True, False, "force"]}),
]
_TEXT_OR_TEXTS = WithJsonSchema(
    {
        "anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
        ]
    }
)
ImageTags = Annotated[list[Visible], Field(min_length=1), BeforeValidator(_texts), _TEXT_OR_TEXTS]
ProjectTags = Annotated[
    list[Annotated[Visible, AfterValidator(_no_separators)]],
    Field(min_length=1),
    BeforeValidator(_texts),
    _TEXT_OR_TEXTS,
]
Status = Literal["queued", "saving", "uploading", "importing", "active", "deactivated"]
