"""The schemas of the JSON that `diff` and `verify` print, as pydantic models. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field, RootModel

if TYPE_CHECKING:
    from collections.abc import Mapping

Ids = list[str]


class ImageChangesDocument(BaseModel):
    """What a run would change about an image. Lists hold project IDs."""

    image_id: str
    make_shared: bool = Field(description="The image is private, and would be made shared first.")
    add: Ids = Field(description="Would be added as members.")
    accept: Ids = Field(description="Would have their membership accepted; those in `add` may be among them.")
    decline: Ids = Field(description="Would have their membership's status set to rejected.")
    reset: Ids = Field(description="Would have their membership's status set back to pending.")
    remove: Ids = Field(description="Would be removed.")
    refused: dict[str, Ids] = Field(description="For which nothing can be done, by reason.")
    unlisted: str | None = Field(description="Why the image's members can't be listed; null if they can.")
    unknown: Ids = Field(description="Of which nothing is known, because of `unlisted`.")


class CloudChangesDocument(BaseModel):
    """What a run of a plan would change on a cloud. Images without changes or problems are left out."""

    plan: str
    cloud: str
    changes: bool = Field(description="Whether a run would change anything.")
    add: int = Field(description="Members to be added.")
    accept: int = Field(description="Memberships to be accepted, those of added members included.")
    decline: int = Field(description="Memberships whose status would be set to rejected.")
    reset: int = Field(description="Memberships whose status would be set back to pending.")
    remove: int = Field(description="Members to be removed.")
    make_shared: int = Field(description="Private images to be made shared.")
    refused: int = Field(description="Pairs that can't be carried out.")
    unknown: int = Field(description="Pairs of images whose members can't be listed.")
    as_planned: int = Field(description="Pairs that need nothing.")
    incomplete: str | None = Field(description="Why the cloud was not read as a whole; null if it was.")
    not_checked: list[str] = Field(description="What only a run will show.")
    images: list[ImageChangesDocument]
    names: dict[str, str] = Field(description="Known names of these images and projects, by ID.")


class CloudComparisonDocument(BaseModel):
    """How a cloud differs from a plan. Lists hold project IDs, by image ID."""

    plan: str
    cloud: str
    planned: int = Field(description="Pairs of the plan.")
    present: int = Field(description="Those of them that are on the cloud.")
    missing: dict[str, Ids] = Field(description="In the plan, not on the cloud.")
    extra: dict[str, Ids] = Field(description="Members that the plan doesn't name.")
    by_status: dict[str, int] = Field(description="Pairs that are present, by member status or visibility.")
    unlisted: dict[str, str] = Field(description="Why members can't be listed; such pairs count as missing.")
    names: dict[str, str] = Field(description="Known names of these images and projects, by ID.")


class ChangesOfOneCloud(CloudChangesDocument):
    """`bulkshare diff --format json`, for a plan with one cloud."""

    version: Literal[1]


class ChangesOfSeveralClouds(BaseModel):
    """`bulkshare diff --format json`, for a plan with several clouds."""

    version: Literal[1]
    clouds: list[CloudChangesDocument]


class ComparisonOfOneCloud(CloudComparisonDocument):
    """`bulkshare verify --format json`, for a plan with one cloud."""

    version: Literal[1]


class ComparisonOfSeveralClouds(BaseModel):
    """`bulkshare verify --format json`, for a plan with several clouds."""

    version: Literal[1]
    clouds: list[CloudComparisonDocument]


class DiffDocument(RootModel[ChangesOfOneCloud | ChangesOfSeveralClouds]):
    """`bulkshare diff --format json`."""


class VerifyDocument(RootModel[ComparisonOfOneCloud | ComparisonOfSeveralClouds]):
    """`bulkshare verify --format json`."""


DOCUMENTS: Mapping[str, type[BaseModel]] = {"diff": DiffDocument, "verify": VerifyDocument}


def document_schema(command: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what a command in `DOCUMENTS` prints."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **DOCUMENTS[command].model_json_schema()}
