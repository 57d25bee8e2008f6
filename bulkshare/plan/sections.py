"""What a plan looks like, as pydantic models: they check a plan and make the JSON Schema for editors."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from bulkshare.model import CheckProjects, ImageSelector, Limits, ProjectSelector, RetryPolicy
from bulkshare.plan.values import (
    Age,
    Flag,
    FlagOrAny,
    FlagOrForce,
    Id,
    ImageTags,
    ItemId,
    PlanName,
    ProjectTags,
    Status,
    Version,
    Visible,
    Wait,
)

LIMITS, RETRY, IMAGES, PROJECTS = Limits(), RetryPolicy(), ImageSelector(), ProjectSelector()
ID, GROUP, FILE, SELECTOR = "<id>", "<group>", "<file>", "<selector>"  # the kinds of items, for pydantic to tell apart
AT_KEY = "at_key"  # the type of a problem of a whole section that is to be shown at one of its keys


def _at_key(message: str, *keys: str) -> PydanticCustomError:
    """Return an error to be shown at the first of the keys that is there; the message has no braces."""
    return PydanticCustomError(AT_KEY, "{message}", {"message": message, "keys": keys})


class Section(BaseModel):
    """A mapping in a plan. It has the keys of its fields and no others.

    A key that may be left out, but not left empty, has a factory that makes what nobody can write: so the JSON Schema
    offers no such default, and null is no value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class GroupItem(Section):
    """Everything in a group."""

    group: str = Field(min_length=1, description="The name of a group of the same kind.")


class FileItem(Section):
    """Every ID in a file."""

    file: str = Field(
        min_length=1,
        description="A file beside the plan: one ID a line, # begins a comment; or a .csv with a column project_id "
        "(or image_id), else its first column is taken.",
    )


ALLOW_EMPTY = Field(default=False, description="Matching nothing is no error.")


class _SelectorItem(Section):
    """What is meant by what it is."""

    refining: ClassVar[frozenset[str]] = frozenset({"allow_empty"})  # keys that select nothing by themselves

    @model_validator(mode="after")
    def _selects(self) -> _SelectorItem:
        selecting = [name for name in type(self).model_fields if name not in self.refining]
        if not self.model_fields_set.intersection(selecting):
            raise ValueError(f"selects nothing; add `group`, `file`, or what to select by: {', '.join(selecting)}")
        return self


def _needs_one_of(keys: list[str]) -> dict[str, Any]:
    return {"anyOf": [{"required": [key]} for key in keys]}


class ImageSelectorItem(_SelectorItem):
    """All images that fit every key. Hidden images are not meant."""

    model_config = ConfigDict(
        json_schema_extra=_needs_one_of(["name", "tag", "property", "owner", "status", "newer_than"])
        | {"dependentRequired": {"per": ["latest"]}}
    )
    refining: ClassVar[frozenset[str]] = frozenset({"allow_empty", "latest", "per"})

    name: Visible = Field(default_factory=str, description="A name; * ? and [...] make it a pattern.")
    tag: ImageTags = Field(default_factory=list, description="A tag, or several that it must all have.")
    property: dict[Visible, Visible] = Field(default_factory=dict, min_length=1, description="Properties and values.")
    owner: Id = Field(default=IMAGES.owner, description="`self` (the project of the run), `any`, or a project ID.")
    status: Status = Field(default="active", description="Only an active image can be used by anyone.")
    newer_than: Age = Field(default_factory=float, description="Created so long ago at most.")
    latest: int = Field(default_factory=int, ge=1, le=1000, description="Only the newest so many.")
    per: Visible = Field(
        default_factory=str,
        description="`latest` for each value of this property (or `name`); images without it are left out.",
    )

    allow_empty: Flag = ALLOW_EMPTY

    @model_validator(mode="after")
    def _per_what(self) -> ImageSelectorItem:
        if self.per and not self.latest:
            raise _at_key("`per` needs `latest`; add it, or take this away", "per")
        return self

    def selector(self, place: str) -> ImageSelector:
        """Return what is selected; `place` is where it stands."""
        return ImageSelector(
            name=self.name or None,
            tags=frozenset(self.tag),
            properties=tuple(sorted(self.property.items())),
            owner=self.owner,
            status=self.status,
            newer_than_seconds=self.newer_than or None,
            latest=self.latest or None,
            per=self.per or None,
            allow_empty=self.allow_empty,
            place=place,
        )


class ProjectSelectorItem(_SelectorItem):
    """All projects that fit every key."""

    model_config = ConfigDict(json_schema_extra=_needs_one_of(["name", "domain", "tag", "enabled", "parent"]))

    name: Visible = Field(
        default_factory=str, description="A name, which has to fit one project alone; * ? and [...] make it a pattern."
    )
    domain: Visible = Field(default_factory=str, description="The name or the ID of the domain.")
    tag: ProjectTags = Field(default_factory=list, description="A tag, or several that it must all have.")
    enabled: FlagOrAny = Field(default=True, description="`any` selects disabled projects, too.")
    parent: Id = Field(default_factory=str, description="The ID of the project right above.")
    allow_empty: Flag = ALLOW_EMPTY

    def selector(self, place: str) -> ProjectSelector:
        """Return what is selected; `place` is where it stands."""
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


_Listed = Annotated[ItemId, Tag(ID)] | Annotated[GroupItem, Tag(GROUP)] | Annotated[FileItem, Tag(FILE)]
ImageItems = Annotated[
    list[Annotated[_Listed | Annotated[ImageSelectorItem, Tag(SELECTOR)], Discriminator(_item_kind)]],
    Field(min_length=1),
]
ProjectItems = Annotated[
    list[Annotated[_Listed | Annotated[ProjectSelectorItem, Tag(SELECTOR)], Discriminator(_item_kind)]],
    Field(min_length=1),
]


class LimitsSection(Section):
    """How hard the cloud may be worked."""

    concurrency: int = Field(default=LIMITS.concurrency, ge=1, le=1000, description="Requests in flight.")
    rate: float = Field(
        default=LIMITS.rate, ge=0.001, le=1_000_000, allow_inf_nan=False, description="Requests a second."
    )
    per_image: int = Field(default=LIMITS.per_image, ge=1, le=1000, description="Requests in flight for one image.")
    members_per_image: int = Field(
        default=LIMITS.members_per_image,
        ge=0,
        le=1_000_000,
        description="How many members the cloud lets an image have (image_member_quota of Glance); 0: any number.",
    )


class RetrySection(Section):
    """How often a pair is tried, and how long the waits in between may be."""

    attempts: int = Field(default=RETRY.attempts, ge=1, le=100, description="How often a pair is sent at most.")
    base: Wait = Field(default=RETRY.base_seconds, description="The longest first wait; it doubles each time.")
    cap: Wait = Field(default=RETRY.cap_seconds, description="The longest wait of all.")

    @model_validator(mode="after")
    def _base_below_cap(self) -> RetrySection:
        if self.base > self.cap:
            message = f"base ({self.base:g}s) is longer than cap ({self.cap:g}s); mend one of the two"
            raise _at_key(message, "base", "cap")
        return self


class GroupsSection(Section):
    """Lists with names, to be used in several places."""

    images: dict[str, ImageItems] = Field(default_factory=dict, description="Groups of images, by name.")
    projects: dict[str, ProjectItems] = Field(default_factory=dict, description="Groups of projects, by name.")


class EntrySection(Section):
    """Shares all of its images with all of its projects."""

    model_config = ConfigDict(json_schema_extra={"dependentRequired": {"accept_as": ["accept"]}})

    images: ImageItems = Field(description="Image IDs, groups, files or selectors.")
    projects: ProjectItems = Field(description="Project IDs, groups, files or selectors.")
    excluded: ProjectItems = Field(
        default_factory=list, alias="except", description="Projects to leave out of this entry."
    )
    accept: FlagOrForce = Field(
        default=False,
        description="Accept the image for the projects, so that it shows in their lists; `force`: also where a "
        "project has rejected it.",
    )
    accept_as: Literal["auto", "self", "project"] = Field(
        default="auto",
        description="Accept with the run's own token, which needs the role admin, or with one for each project, in "
        "which the user needs a role; `auto`: as the token allows.",
    )
    make_shared: Flag = Field(default=False, description="Make a private image `shared` first.")
    prune: Flag = Field(default=False, description="Remove members of the images that the plan does not name.")
    keep: ProjectItems = Field(default_factory=list, description="Members that pruning leaves alone.")
    on_quota: Literal["fail", "fill"] = Field(
        default="fail",
        description="Where an image has no room for all: add none of them, or as many as fit.",
    )
    cloud: Visible = Field(default_factory=str, description="Of the plan's clouds the only one that this is for.")

    @model_validator(mode="after")
    def _accepts_as(self) -> EntrySection:
        if "accept_as" in self.model_fields_set and not self.accept:
            raise _at_key("`accept_as` needs `accept: true`; add it, or take this away", "accept_as")
        return self


class PlanFile(Section):
    """A plan: which projects are to be able to use which images."""

    model_config = ConfigDict(json_schema_extra={"not": {"required": ["cloud", "clouds"]}})

    version: Version
    name: PlanName = Field(description="Names the plan's runs and its lock.")
    cloud: Visible = Field(default_factory=str, description="An entry of clouds.yaml.")
    clouds: list[Visible] = Field(default_factory=list, min_length=1, description="Several entries of clouds.yaml.")
    region: Visible = Field(default_factory=str, description="The region, where the cloud has several.")
    check_projects: CheckProjects = Field(
        default=CheckProjects.AUTO,
        description="Look project IDs up at the identity service first; `auto`: where it may be asked.",
    )
    limits: LimitsSection = LimitsSection()
    retry: RetrySection = RetrySection()
    groups: GroupsSection = Field(default_factory=GroupsSection)
    share: list[EntrySection] = Field(min_length=1, description="What is shared with whom.")


def plan_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of plan files."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **PlanFile.model_json_schema()}
