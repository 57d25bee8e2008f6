"""The contents of a plan file: its values and sections, as pydantic models."""

from __future__ import annotations

import re
from functools import partial
from math import inf
from typing import Annotated, Any, ClassVar, Literal

import durationpy
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from bulkshare.model import (
    LEAST_RATE,
    MOST_CONCURRENCY,
    MOST_RATE,
    Api,
    CheckProjects,
    ImageSelector,
    Limits,
    Notify,
    NotifyOn,
    ProjectSelector,
    PruneLimit,
    RetryPolicy,
    WebhookFormat,
)
from bulkshare.plan.lists import ID_PATTERN, LONGEST_ID, id_fault
from bulkshare.text import clean

VERSION = 1
DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"  # durationpy takes more: mm is a month
DAY_SECONDS = 86_400.0
VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
LONGEST_AGE_DAYS = 36_500


def kind(value: object) -> str:
    """Return the kind of a value, as a sentence names it."""
    if value is None:
        return "nothing"
    return "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else "text"


def found(value: object) -> str:
    """Return a value as a sentence shows it: text quoted, anything else by its kind."""
    return repr(clean(value, 60)) if isinstance(value, str) else kind(value)


def _seconds(text: object, *, longest: float, what: str, such_as: tuple[str, ...]) -> float:
    if not isinstance(text, str):
        raise ValueError(f"expected a duration such as {such_as[0]}, found {kind(text)}")  # noqa: TRY004  # pydantic wants it
    advice = f"write for example {', '.join(such_as[:-1])} or {such_as[-1]}"
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"{clean(text, 60)!r} is not a duration; {advice}")
    try:
        seconds = float(durationpy.from_str(text).total_seconds())
    except (OverflowError, ValueError):  # its DurationError is a ValueError
        seconds = inf
    if seconds <= 0:
        raise ValueError(f"{clean(text, 60)!r} is not longer than zero; {advice}")
    if seconds > longest:
        raise ValueError(f"{clean(text, 60)!r} is more than {what}; {advice}")
    return seconds


def _version(text: object) -> int:
    if not isinstance(text, str) or not text.isascii() or not text.isdecimal():
        raise ValueError(f"expected the plan format's version, which is {VERSION}")
    number = int(text.lstrip("0")[:9] or "0")  # nine digits are enough to compare
    if number > VERSION:
        raise ValueError(f"version {clean(text, 20)} is for a newer bulkshare; this one reads version {VERSION}")
    if number < VERSION:
        raise ValueError(f"there is no version 0; the first is {VERSION}")
    return VERSION


def _name(text: str) -> str:
    if not text or not text.isascii() or not all(c.islower() or c.isdigit() or c == "-" for c in text):
        raise ValueError(f"{clean(text, 60)!r} is not a valid plan name; use a-z, 0-9 and -")
    if len(text) > 100:
        raise ValueError("a plan's name has at most 100 characters")
    return text


def _visible(text: str) -> str:
    if text != text.strip() or not text.isprintable():
        raise ValueError(f"{clean(text, 60)!r} has surrounding white space or invisible characters; remove them")
    return text


def _id(text: str) -> str:
    if fault := id_fault(text):
        raise ValueError(fault.message)
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
        raise ValueError(f"{clean(text, 60)!r} has {sign!r}, which project tags can't contain")
    return text


def _prune_limit(text: object) -> PruneLimit:
    if not isinstance(text, str):
        raise ValueError(f"expected a prune limit such as 10%, found {kind(text)}")  # noqa: TRY004  # pydantic wants it
    try:
        return PruneLimit.parse(text)
    except ValueError as error:
        raise ValueError(f"{clean(text, 60)!r} is not a prune limit; {error}") from None


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
# An item of a list. Whether it is a valid ID is checked when lists are read.
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
PruneLimitText = Annotated[
    PruneLimit | None,
    BeforeValidator(_prune_limit),
    WithJsonSchema(
        {
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "minLength": 1}],
            "examples": ["10%", "10%, at least 1", 5],
        }
    ),
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
OnWhat = Annotated[
    list[NotifyOn],
    Field(min_length=1),
    BeforeValidator(_texts),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": [*NotifyOn]},
                {"type": "array", "items": {"enum": [*NotifyOn]}, "minItems": 1},
            ]
        }
    ),
]
Status = Literal["queued", "saving", "uploading", "importing", "active", "deactivated"]


LIMITS, RETRY, IMAGES, PROJECTS, NOTIFY = Limits(), RetryPolicy(), ImageSelector(), ProjectSelector(), Notify()
ID, GROUP, FILE, SELECTOR = "<id>", "<group>", "<file>", "<selector>"  # tags by which pydantic knows the kinds of items
AT_KEY = "at_key"  # the error type of a problem that is shown at one of its section's keys


def _at_key(message: str, *keys: str) -> PydanticCustomError:
    """Return an error that is shown at the first of the keys that is present; the message contains no braces."""
    return PydanticCustomError(AT_KEY, "{message}", {"message": message, "keys": keys})


def _absent() -> Any:
    """Return the value of a section that may be absent but not empty; `model_fields_set` tells."""
    return None


class Section(BaseModel):
    """A mapping in a plan, with the keys of its fields and no others.

    A key that may be absent but not empty has a default factory whose value can't be written in a plan, so that the
    JSON Schema offers no such default and null is not accepted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class GroupItem(Section):
    """All items of a group."""

    group: str = Field(min_length=1, description="The name of a group of the same kind.")


class FileItem(Section):
    """All IDs in a file, or with `as: name` all that its names stand for."""

    file: str = Field(
        min_length=1,
        description="A file, relative to the plan, or - for standard input: one ID per line, # starts a comment; or a "
        ".csv file with a column project_id (or image_id) or ID, else its first column is used; or the output of "
        "`openstack ... list -f json`.",
    )
    holds: Literal["id", "name"] = Field(default="id", alias="as", description="What the file lists.")


ALLOW_EMPTY = Field(default=False, description="Matching nothing is not an error.")


class _SelectorItem(Section):
    """Images or projects, chosen by their attributes."""

    refining: ClassVar[frozenset[str]] = frozenset({"allow_empty"})  # keys that select nothing on their own

    @model_validator(mode="after")
    def _selects(self) -> _SelectorItem:
        selecting = [name for name in type(self).model_fields if name not in self.refining]
        if not self.model_fields_set.intersection(selecting):
            raise ValueError(f"selects nothing; add `group`, `file`, or what to select by: {', '.join(selecting)}")
        return self


def _needs_one_of(keys: list[str]) -> dict[str, Any]:
    return {"anyOf": [{"required": [key]} for key in keys]}


class ImageSelectorItem(_SelectorItem):
    """All images that match every key. Hidden images are left out."""

    model_config = ConfigDict(
        json_schema_extra=_needs_one_of(["name", "tag", "property", "owner", "status", "newer_than", "older_than"])
        | {"if": {"required": ["per"]}, "then": _needs_one_of(["latest", "skip_latest"])}
    )
    refining: ClassVar[frozenset[str]] = frozenset({"allow_empty", "latest", "skip_latest", "per"})

    name: Visible = Field(default_factory=str, description="A name; * ? and [...] make it a pattern.")
    tag: ImageTags = Field(default_factory=list, description="A tag, or several that must all be present.")
    property: dict[Visible, Visible] = Field(default_factory=dict, min_length=1, description="Properties and values.")
    owner: Id = Field(default=IMAGES.owner, description="`self` (the project of the run), `any`, or a project ID.")
    status: Status = Field(default="active", description="Only active images can be used.")
    newer_than: Age = Field(default_factory=float, description="Created within this time.")
    older_than: Age = Field(default_factory=float, description="Created longer ago than this.")
    latest: int = Field(default_factory=int, ge=1, le=1000, description="Only this many of the newest images.")
    skip_latest: int = Field(
        default_factory=int,
        ge=1,
        le=1000,
        description="Not this many of the newest images, however old they are.",
    )
    per: Visible = Field(
        default_factory=str,
        description="Count `latest` and `skip_latest` per value of this property (or `name`); images without it are "
        "left out.",
    )

    allow_empty: Flag = ALLOW_EMPTY

    @model_validator(mode="after")
    def _per_what(self) -> ImageSelectorItem:
        if self.per and not self.latest and not self.skip_latest:
            raise _at_key("`per` needs `latest` or `skip_latest`; add one, or remove this", "per")
        return self

    @model_validator(mode="after")
    def _some_age(self) -> ImageSelectorItem:
        if self.newer_than and self.older_than >= self.newer_than:
            raise _at_key("no image is both newer than `newer_than` and older than `older_than`", "older_than")
        return self

    def selector(self, place: str) -> ImageSelector:
        """Return what is selected; `place` is its position: file:line:column."""
        return ImageSelector(
            name=self.name or None,
            tags=frozenset(self.tag),
            properties=tuple(sorted(self.property.items())),
            owner=self.owner,
            status=self.status,
            newer_than_seconds=self.newer_than or None,
            older_than_seconds=self.older_than or None,
            latest=self.latest or None,
            skip_latest=self.skip_latest or None,
            per=self.per or None,
            allow_empty=self.allow_empty,
            place=place,
        )


class ProjectSelectorItem(_SelectorItem):
    """All projects that match every key."""

    model_config = ConfigDict(json_schema_extra=_needs_one_of(["name", "domain", "tag", "enabled", "parent"]))

    name: Visible = Field(
        default_factory=str,
        description="A name, which must match exactly one project; * ? and [...] make it a pattern.",
    )
    domain: Visible = Field(default_factory=str, description="The name or the ID of the domain.")
    tag: ProjectTags = Field(default_factory=list, description="A tag, or several that must all be present.")
    enabled: FlagOrAny = Field(default=True, description="`any` also selects disabled projects.")
    parent: Id = Field(default_factory=str, description="The ID of the parent project.")
    allow_empty: Flag = ALLOW_EMPTY

    def selector(self, place: str) -> ProjectSelector:
        """Return what is selected; `place` is its position: file:line:column."""
        return ProjectSelector(
            name=self.name or None,
            domain=self.domain or None,
            tags=frozenset(self.tag),
            enabled=None if self.enabled == "any" else self.enabled,
            parent=self.parent or None,
            allow_empty=self.allow_empty,
            place=place,
        )


def _item_kind(value: object) -> str:
    if isinstance(value, dict):
        return FILE if "file" in value else GROUP if "group" in value else SELECTOR
    return ID


def _only_texts(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """Return a list of texts as it is; pydantic looks at each item of any other."""
    return value if isinstance(value, list) and set(map(type, value)) == {str} else handler(value)


_Listed = Annotated[ItemId, Tag(ID)] | Annotated[GroupItem, Tag(GROUP)] | Annotated[FileItem, Tag(FILE)]
ImageItems = Annotated[
    list[Annotated[_Listed | Annotated[ImageSelectorItem, Tag(SELECTOR)], Discriminator(_item_kind)]],
    Field(min_length=1),
    WrapValidator(_only_texts),
]
_ProjectItems = list[Annotated[_Listed | Annotated[ProjectSelectorItem, Tag(SELECTOR)], Discriminator(_item_kind)]]
ProjectItemsOrNone = Annotated[_ProjectItems, WrapValidator(_only_texts)]
ProjectItems = Annotated[_ProjectItems, Field(min_length=1), WrapValidator(_only_texts)]


class LimitsSection(Section):
    """How much load a run may put on the cloud."""

    concurrency: int = Field(default=LIMITS.concurrency, ge=1, le=MOST_CONCURRENCY, description="Requests in flight.")
    rate: float = Field(
        default=LIMITS.rate, ge=LEAST_RATE, le=MOST_RATE, allow_inf_nan=False, description="Requests per second."
    )
    per_image: int = Field(default=LIMITS.per_image, ge=1, le=1000, description="Requests in flight for one image.")
    members_per_image: int = Field(
        default_factory=int,
        ge=0,
        le=1_000_000,
        description="The most members an image may have; 0: any number. Default: as many as the cloud takes.",
    )

    @property
    def most_members(self) -> int | None:
        """`members_per_image`, or None if it is not given."""
        return self.members_per_image if "members_per_image" in self.model_fields_set else None

    batch: int = Field(
        default=LIMITS.batch, ge=1, le=500, description="Pairs in one request, where the cloud has batches."
    )
    jobs: int = Field(default=LIMITS.jobs, ge=1, le=100, description="Batches that the cloud works on at once.")


class RetrySection(Section):
    """How often a pair is tried, and how long to wait in between."""

    attempts: int = Field(default=RETRY.attempts, ge=1, le=100, description="The most times a pair is sent.")
    base: Wait = Field(
        default=RETRY.base_seconds, description="The upper bound of the first wait; it doubles each time."
    )
    cap: Wait = Field(default=RETRY.cap_seconds, description="The upper bound of any wait.")

    @model_validator(mode="after")
    def _base_below_cap(self) -> RetrySection:
        if self.base > self.cap:
            message = f"base ({self.base:g}s) is longer than cap ({self.cap:g}s); change one of them"
            raise _at_key(message, "base", "cap")
        return self


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("has a NUL character, which no program can be given")
    return text


Argument = Annotated[str, AfterValidator(_no_nul)]
Variable = Annotated[str, Field(pattern=VARIABLE_PATTERN)]


class WebhookSection(Section):
    """A webhook. Its URL is a secret, so the plan says where it stands."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["from_env"]}, {"required": ["file"]}]})

    from_env: Variable = Field(default_factory=str, description="The environment variable that has the URL.")
    file: Visible = Field(default_factory=str, description="A file, relative to the plan, that has the URL alone.")
    form: WebhookFormat = Field(
        default=NOTIFY.format,
        alias="format",
        description="`json`: the same as the command gets; `slack`: a message; `alertmanager`: an alert.",
    )

    @model_validator(mode="after")
    def _has_one(self) -> WebhookSection:
        if self.from_env and self.file:
            raise _at_key("`from_env` and `file` are both present; keep one", "file")
        if not self.from_env and not self.file:
            raise ValueError("has no URL; add `from_env` (an environment variable) or `file`")
        return self


class NotifySection(Section):
    """Who is notified when a run ends."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["command"]}, {"required": ["webhook"]}]})

    command: list[Argument] = Field(
        default_factory=list,
        min_length=1,
        description="A program, relative to the plan if its name has a slash, and its arguments. It gets JSON on "
        "standard input. No shell reads them.",
    )
    webhook: WebhookSection = Field(default_factory=_absent, description="Where the same is posted.")
    on: OnWhat = Field(
        default_factory=lambda: [NotifyOn.ALWAYS],
        description="The ends to notify of: `failure` (any exit code but 0), `change` (something was changed in the "
        "cloud), `always`; or a list of them.",
    )
    timeout: Wait = Field(default=NOTIFY.timeout_seconds, description="How long each of them may take.")

    @model_validator(mode="after")
    def _tells_someone(self) -> NotifySection:
        if not self.model_fields_set & {"command", "webhook"}:
            raise ValueError("notifies no one; add `command` or `webhook`")
        if self.command and not self.command[0]:
            raise _at_key("the command begins with nothing; name a program", "command")
        return self


class GroupsSection(Section):
    """Named lists that can be used in several places."""

    images: dict[str, ImageItems] = Field(default_factory=dict, description="Groups of images, by name.")
    projects: dict[str, ProjectItems] = Field(default_factory=dict, description="Groups of projects, by name.")


FOR_PROJECTS = ("except", "accept", "accept_as", "make_shared", "on_quota")  # senseless in an entry without projects


class EntrySection(Section):
    """An entry: all of its images are shared with all of its projects."""

    model_config = ConfigDict(
        json_schema_extra={
            "dependentRequired": {"accept_as": ["accept"]},
            "if": {"properties": {"projects": {"maxItems": 0}}},
            "then": {
                "properties": {"prune": {"const": True}, **dict.fromkeys(FOR_PROJECTS, False)},
                "required": ["prune"],
            },
        }
    )

    images: ImageItems = Field(description="Image IDs, groups, files or selectors.")
    projects: ProjectItemsOrNone = Field(
        description="Project IDs, groups, files or selectors. An empty list, with `prune: true`, stands for no one."
    )
    excluded: ProjectItems = Field(
        default_factory=list, alias="except", description="Projects to exclude from this entry."
    )
    accept: FlagOrForce = Field(
        default=False,
        description="Accept the image on behalf of the projects, so that it appears in their lists; `force`: even if "
        "a project has rejected it.",
    )
    accept_as: Literal["auto", "self", "project"] = Field(
        default="auto",
        description="Accept with the run's own token, which needs the admin role, or with a token for each project, "
        "in which the user needs a role; `auto`: whichever the token allows.",
    )
    make_shared: Flag = Field(default=False, description="Make a private image `shared` first.")
    prune: Flag = Field(default=False, description="Remove members of the images that the plan does not name.")
    keep: ProjectItems = Field(default_factory=list, description="Members that pruning does not remove.")
    prune_limit: PruneLimitText = Field(default_factory=type(None), description="Takes the place of the plan's.")
    on_quota: Literal["fail", "fill"] = Field(
        default="fail",
        description="If an image has no room for all members: add none of them, or as many as fit.",
    )
    cloud: Visible = Field(
        default_factory=str, description="The only one of the plan's clouds that this entry applies to."
    )

    @model_validator(mode="after")
    def _accepts_as(self) -> EntrySection:
        if "accept_as" in self.model_fields_set and not self.accept:
            raise _at_key("`accept_as` needs `accept: true`; add it, or remove this", "accept_as")
        return self


class ReceiveSection(Section):
    """Images that other projects share with the run's own, and how to answer. The first one that matches decides."""

    images: ImageItems = Field(
        default_factory=list, description="Image IDs, groups, files or selectors. Default: all that are pending."
    )
    owners: ProjectItems = Field(
        default_factory=list, alias="from", description="The projects that share them. Default: any."
    )
    status: Literal["accepted", "rejected"] = Field(default="accepted", description="How to answer.")
    hide: Flag = Field(
        default=False,
        description="Reject those that have been accepted, not those that are pending, so that they leave the list.",
    )
    cloud: Visible = Field(
        default_factory=str, description="The only one of the plan's clouds that this entry applies to."
    )

    @model_validator(mode="after")
    def _hides(self) -> ReceiveSection:
        if self.hide and "status" in self.model_fields_set and self.status == "accepted":
            raise _at_key("`hide` sets the status to rejected; remove this", "status")
        return self


class PlanFile(Section):
    """A plan: which projects should be able to use which images."""

    model_config = ConfigDict(
        json_schema_extra={"not": {"required": ["cloud", "clouds"]}} | _needs_one_of(["share", "receive"])
    )

    version: Version
    name: PlanName = Field(description="Names the plan's runs and its lock.")
    cloud: Visible = Field(default_factory=str, description="An entry of clouds.yaml.")
    clouds: list[Visible] = Field(default_factory=list, min_length=1, description="Several entries of clouds.yaml.")
    region: Visible = Field(default_factory=str, description="The region, if the cloud has several.")
    api: Api = Field(
        default=Api.AUTO,
        description="How members are changed: `native`, pair by pair, or `batch`, many in a request, as Huawei Cloud "
        "and Open Telekom Cloud can; `auto`: in batches on Huawei Cloud.",
    )
    check_projects: CheckProjects = Field(
        default=CheckProjects.AUTO,
        description="Look up project IDs in the identity service first; `auto`: if the account may.",
    )
    prune_limit: PruneLimitText = Field(
        default_factory=type(None),
        description="How many of an image's members may be removed: a percentage of them (10%), one with a minimum "
        "(10%, at least 1), or a number. If it would be more, no member is removed from any image. Default: 10%.",
    )
    strict: Flag = Field(
        default=False,
        description="Report pairs of public and community images as not done. Otherwise they are as planned, because "
        "every project can use these images.",
    )
    limits: LimitsSection = LimitsSection()
    retry: RetrySection = RetrySection()
    notify: NotifySection = Field(default_factory=_absent, description="Who is notified when a run of the plan ends.")
    groups: GroupsSection = Field(default_factory=GroupsSection)
    share: list[EntrySection] = Field(
        default_factory=list, min_length=1, description="Which images are shared with which projects."
    )
    receive: list[ReceiveSection] = Field(
        default_factory=list,
        min_length=1,
        description="How to answer images that other projects share with the run's own.",
    )


def plan_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of plan files."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **PlanFile.model_json_schema()}
