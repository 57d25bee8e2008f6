"""pydantic's findings about a plan as sentences for its author, each with its position."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from bulkshare.plan.schema import (
    AT_KEY,
    FILE,
    GROUP,
    SELECTOR,
    EntrySection,
    FileItem,
    GroupItem,
    GroupsSection,
    ImageSelectorItem,
    LimitsSection,
    NotifySection,
    PlanFile,
    ProjectSelectorItem,
    ReceiveSection,
    RetrySection,
    WebhookSection,
    found,
    kind,
)
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

    from bulkshare.model import Problem
    from bulkshare.plan.yaml import Document, Location

KIND_AT = (
    4  # index of the item's kind in pydantic's locations: share, 0, images, 0, KIND; groups, images, name, 0, KIND
)
# pydantic's error types (docs: "Validation Errors") -> sentences; {found} is the value in the plan.
SENTENCES = {
    "too_short": "the {what} is empty; add at least one item, or remove it",
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
    "greater_than_equal": "must be {ge:g} or more, found {found}",
    "less_than_equal": "must be {le:,.0f} or less, found {found}",
    "string_pattern_mismatch": "{found} is not a name of an environment variable",
    "literal_error": "expected {expected}, found {found}",
    "enum": "expected {expected}, found {found}",
    "value_error": "{error}",
    AT_KEY: "{message}",
}


def validate(document: Document, problems: list[Problem]) -> PlanFile | None:
    """Return a document as a plan file; None if it is not valid, with sentences added to `problems`."""
    if not isinstance(document.data, dict):
        problems.append(
            document.problem((), f"a plan is a mapping that begins with `version: 1`, not {kind(document.data)}")
        )
        return None
    plan, findings = _validated(document.data)
    if not findings:
        return plan
    meant: set[Location] = set()  # keys that are present but misspelled
    for finding in findings:
        location = finding["loc"]
        if finding["type"] == "extra_forbidden":
            message, near = _unknown_key(location)
            meant.update((*location[:-1], key) for key in near)
            problems.append(document.problem(_plain(location), message, at_key=True))
    for finding in findings:
        location = finding["loc"]
        if finding["type"] == "missing":
            if location not in meant:
                problems.append(document.problem(_plain(location)[:-1], f"`{location[-1]}` is missing; add it here"))
        elif finding["type"] != "extra_forbidden":
            problems.append(document.problem(_plain(_place(finding)), _sentence(finding)))
    return None


def _validated(data: dict[str, Any]) -> tuple[PlanFile | None, list[ErrorDetails]]:
    plan: PlanFile | None = None
    findings: list[ErrorDetails] = []
    try:
        plan = PlanFile.model_validate(data)
    except ValidationError as error:
        findings = error.errors(include_url=False)
    if not data.keys() & {"share", "receive"}:
        findings.append({"type": "missing", "loc": ("share",), "msg": "", "input": data})
    return plan, findings


def sentences(section: type[BaseModel], item: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a mapping that stands alone, such as a selector on a command line."""
    try:
        section.model_validate(item)
    except ValidationError as error:
        findings = error.errors(include_url=False)
    else:
        return []
    known = _keys(section)
    return [
        _not_known(str(finding["loc"][-1]), known)[0]
        if finding["type"] == "extra_forbidden"
        else f"{''.join(f'`{key}`: ' for key in finding['loc'][:1])}{_sentence(finding)}"
        for finding in findings
    ]


def _place(finding: ErrorDetails) -> Location:
    """Return where to show a finding: one about a whole section is shown at one of its keys."""
    location, section = finding["loc"], finding["input"]
    key = next((key for key in finding.get("ctx", {}).get("keys", ()) if key in section), None)
    return location if key is None else (*location, key)


def _item_section(location: Location) -> type[BaseModel] | None:
    """Return the section of an item that is a mapping, if the location leads to or into one."""
    if len(location) <= KIND_AT:
        return None
    of_images = "images" in (location[1], location[2])
    sections: dict[str, type[BaseModel]] = {
        GROUP: GroupItem,
        FILE: FileItem,
        SELECTOR: ImageSelectorItem if of_images else ProjectSelectorItem,
    }
    return sections.get(str(location[KIND_AT]))


def _plain(location: Location) -> Location:
    """Return a location without the item's kind, which is not in the file."""
    return (*location[:KIND_AT], *location[KIND_AT + 1 :])


def _unknown_key(location: Location) -> tuple[str, list[str]]:
    """Return the sentence about an unknown key, and the keys that it is close to."""
    key = str(location[-1])
    section = _item_section(location[:-1])
    if section is not None:
        selector = _item_section((*location[:KIND_AT], SELECTOR))
        known = ["group", "file", *_keys(selector or section)]
        if location[KIND_AT] == FILE:
            known.append("as")
        if key in known:
            return "an item is either a group, a file or a selector; make it two items", []
    else:
        known = _keys_at(location[:-1])
        if len(location) == 1 and key in _keys(EntrySection):
            return f"`{key}` is a key of the items under `share`; move it there", []
    return _not_known(key, known)


def _not_known(key: str, known: list[str]) -> tuple[str, list[str]]:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
    return f"unknown key {clean(key, 60)!r}; {hint}", near


def _keys_at(location: Location) -> list[str]:
    """Return the keys that the section at a location may have."""
    sections: dict[Location, type[BaseModel]] = {
        (): PlanFile,
        ("limits",): LimitsSection,
        ("retry",): RetrySection,
        ("groups",): GroupsSection,
        ("notify",): NotifySection,
        ("notify", "webhook"): WebhookSection,
    }
    return _keys(sections.get(location, ReceiveSection if location[:1] == ("receive",) else EntrySection))


def _keys(section: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in section.model_fields.items()]


def _sentence(finding: ErrorDetails) -> str:
    """Return one of pydantic's findings as a sentence for the author of the plan."""
    value = finding["input"]
    template = SENTENCES.get(finding["type"])
    if template is None:
        return clean(finding["msg"])
    what = "mapping" if isinstance(value, dict) else "list"
    return template.format(found=found(value), what=what, **finding.get("ctx", {}))
