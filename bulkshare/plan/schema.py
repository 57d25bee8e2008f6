"""What a plan looks like, as pydantic models: they check a plan and make the JSON Schema for editors.

Every value arrives as text (see `document`). pydantic's findings are put into sentences for people here.
"""

from __future__ import annotations

import difflib
import re
from math import inf
from typing import TYPE_CHECKING, Annotated, Any

import durationpy
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from bulkshare.model import Limits, RetryPolicy
from bulkshare.plan.lists import ID_PATTERN, LONGEST_ID
from bulkshare.text import clean

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from bulkshare.model import Problem
    from bulkshare.plan.document import Document

    Location = tuple[str | int, ...]

VERSION = 1
DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"  # durationpy takes more: mm is a month
LONGEST_SECONDS = 86_400.0
LIMITS, RETRY = Limits(), RetryPolicy()
ID, GROUP, FILE = "<id>", "<group>", "<file>"  # the kinds of items, as pydantic is to tell them apart
KIND_AT = 4  # where pydantic puts the kind into a location: share, 0, images, 0, KIND, or groups, images, name, 0, KIND


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _seconds(text: object) -> float:
    if not isinstance(text, str):
        raise ValueError(f"expected a duration such as 0.5s, found {_kind(text)}")  # noqa: TRY004  # pydantic wants it
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"{clean(text, 60)!r} is no duration; write e.g. 500ms, 0.5s or 2m")
    try:
        seconds = float(durationpy.from_str(text).total_seconds())
    except (OverflowError, ValueError):  # its DurationError is a ValueError
        seconds = inf
    if seconds <= 0:
        raise ValueError(f"{clean(text, 60)!r} is no time at all; write e.g. 500ms, 0.5s or 2m")
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"{clean(text, 60)!r} is more than a day; write e.g. 500ms, 0.5s or 2m")
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


def _item_kind(value: object) -> str:
    if isinstance(value, dict):
        return FILE if "file" in value else GROUP
    return ID


Visible = Annotated[str, AfterValidator(_visible)]
Duration = Annotated[
    float,
    BeforeValidator(_seconds),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["0.5s", "2m"]}),
]
Id = Annotated[str, WithJsonSchema({"type": "string", "pattern": ID_PATTERN, "maxLength": LONGEST_ID})]


class GroupItem(_Strict):
    """Everything in a group."""

    group: str = Field(min_length=1, description="The name of a group of the same kind.")


class FileItem(_Strict):
    """Every ID in a file."""

    file: str = Field(
        min_length=1,
        description="A file beside the plan: one ID a line, # begins a comment; or a .csv with a column project_id "
        "(or image_id), else its first column is taken.",
    )


Item = Annotated[
    Annotated[Id, Tag(ID)] | Annotated[GroupItem, Tag(GROUP)] | Annotated[FileItem, Tag(FILE)],
    Discriminator(_item_kind),
]
Items = Annotated[list[Item], Field(min_length=1)]


class LimitsSection(_Strict):
    """How hard the cloud may be worked."""

    concurrency: int = Field(default=LIMITS.concurrency, ge=1, le=1000, description="Requests in flight.")
    rate: float = Field(
        default=LIMITS.rate, ge=0.001, le=1_000_000, allow_inf_nan=False, description="Requests a second."
    )
    per_image: int = Field(default=LIMITS.per_image, ge=1, le=1000, description="Requests in flight for one image.")


class RetrySection(_Strict):
    """How often a pair is tried, and how long the waits in between may be."""

    attempts: int = Field(default=RETRY.attempts, ge=1, le=100, description="How often a pair is sent at most.")
    base: Duration = Field(default=RETRY.base_seconds, description="The longest first wait; it doubles each time.")
    cap: Duration = Field(default=RETRY.cap_seconds, description="The longest wait of all.")

    @model_validator(mode="after")
    def _base_below_cap(self) -> RetrySection:
        if self.base > self.cap:
            raise ValueError(f"base ({self.base:g}s) is longer than cap ({self.cap:g}s); mend one of the two")
        return self


class GroupsSection(_Strict):
    """Lists with names, to be used in several places."""

    images: dict[str, Items] = Field(default_factory=dict, description="Groups of images, by name.")
    projects: dict[str, Items] = Field(default_factory=dict, description="Groups of projects, by name.")


class EntrySection(_Strict):
    """Shares all of its images with all of its projects."""

    images: Items = Field(description="Image IDs, groups or files.")
    projects: Items = Field(description="Project IDs, groups or files.")
    excluded: Items = Field(default_factory=list, alias="except", description="Projects to leave out of this entry.")


class PlanFile(_Strict):
    """A plan: which projects are to be able to use which images."""

    version: Annotated[int, BeforeValidator(_version), WithJsonSchema({"const": VERSION})]
    name: Annotated[
        str,
        AfterValidator(_name),
        WithJsonSchema({"type": "string", "pattern": "^[a-z0-9-]+$", "maxLength": 100}),
        Field(description="Names the plan's runs and its lock."),
    ]
    # A factory, so that the schema doesn't offer "" as a default: these two may be left out, and not left empty.
    cloud: Visible = Field(default_factory=str, min_length=1, description="An entry of clouds.yaml.")
    region: Visible = Field(default_factory=str, min_length=1, description="The region, where the cloud has several.")
    limits: LimitsSection = LimitsSection()
    retry: RetrySection = RetrySection()
    groups: GroupsSection = Field(default_factory=GroupsSection)
    share: Annotated[list[EntrySection], Field(min_length=1, description="What is shared with whom.")]


def plan_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of plan files."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **PlanFile.model_json_schema()}


def validate(document: Document, problems: list[Problem]) -> PlanFile | None:
    """Check a document; None, and sentences in `problems`, where it is no plan."""
    if not isinstance(document.data, dict):
        problems.append(
            document.problem((), f"a plan is a mapping that begins with `version: 1`, not {_kind(document.data)}")
        )
        return None
    try:
        return PlanFile.model_validate(document.data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    meant: set[tuple[str | int, ...]] = set()  # the keys that are there, misspelled
    for found in errors:
        location = found["loc"]
        if found["type"] == "extra_forbidden":
            message, near = _unknown_key(location)
            meant.update((*location[:-1], key) for key in near)
            problems.append(document.problem(_plain(location), message, at_key=True))
    for found in errors:
        location = found["loc"]
        plain = _plain(location)
        if found["type"] == "missing":
            if location not in meant:
                what = "`group` or `file`" if _in_item(location) else f"`{location[-1]}`"
                problems.append(document.problem(plain[:-1], f"{what} is missing; add it here"))
        elif found["type"] != "extra_forbidden":
            if location == ("retry",) and isinstance(found["input"], dict):  # base against cap: put it at one of them
                plain = ("retry", "base" if "base" in found["input"] else "cap")
            problems.append(document.problem(plain, _sentence(found)))
    return None


def _in_item(location: Location) -> bool:
    """Say whether a location is that of a key in an item that is a mapping."""
    return len(location) == KIND_AT + 2 and location[KIND_AT] in (GROUP, FILE)


def _plain(location: Location) -> Location:
    """Return a location without the kind of an item, which is not in the file."""
    return (*location[:KIND_AT], *location[KIND_AT + 1 :])


def _unknown_key(location: Location) -> tuple[str, list[str]]:
    """Return the sentence about an unknown key, and the keys that may be meant by it."""
    key = str(location[-1])
    if _in_item(location):
        known = ["group", "file"]
        if key in known:
            return "an item is either a group or a file; make two items of it", []
    else:
        known = _keys_at(location[:-1])
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
    # An item with one key, and that a wrong one, is not short of another.
    return f"unknown key {clean(key, 60)!r}; {hint}", known if _in_item(location) else near


def _keys_at(location: Location) -> list[str]:
    """Return the keys that the section at a location may have."""
    sections: dict[Location, type[BaseModel]] = {
        (): PlanFile,
        ("limits",): LimitsSection,
        ("retry",): RetrySection,
        ("groups",): GroupsSection,
    }
    model = sections.get(location, EntrySection)
    return [field.alias or name for name, field in model.model_fields.items()]


# pydantic's error types (docs: "Validation Errors") -> sentences; {found} is what stands in the plan.
SENTENCES = {
    "too_short": "the list is empty; name at least one, or take it away",
    "list_type": "expected a list, found {found}",
    "model_type": "expected a mapping, found {found}",
    "dict_type": "expected a mapping, found {found}",
    "string_type": "expected text, found {found}",
    "string_too_short": "expected text, found nothing",
    "int_parsing": "expected a whole number, found {found}",
    "int_parsing_size": "expected a whole number, found {found}",
    "int_from_float": "expected a whole number, found {found}",
    "int_type": "expected a whole number, found {found}",
    "float_parsing": "expected a number, found {found}",
    "float_type": "expected a number, found {found}",
    "finite_number": "expected a number, found {found}",
    "greater_than_equal": "has to be {ge:g} or more, found {found}",
    "less_than_equal": "has to be {le:,.0f} or less, found {found}",
    "value_error": "{error}",
}


def _sentence(finding: ErrorDetails) -> str:
    """Put one of pydantic's findings into words for the author of a plan."""
    value = finding["input"]
    found = repr(clean(value, 60)) if isinstance(value, str) else _kind(value)
    template = SENTENCES.get(finding["type"])
    return template.format(found=found, **finding.get("ctx", {})) if template else clean(finding["msg"])


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    return "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else "text"
