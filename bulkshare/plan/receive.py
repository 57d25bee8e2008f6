"""What other projects share with ours: what to ask a cloud for, and which memberships are to be answered. Pure."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

from bulkshare.model import Entry, IdList, Problem, Want
from bulkshare.plan.selectors import PAGE, select_images
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from bulkshare.model import Image, ImageSelector, ProjectSelector, Receive


class MemberStatus(StrEnum):
    """A filter of `GET /v2/images` for images that are shared with the asking project."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    ANY = "all"


def statuses(receive: Iterable[Receive]) -> list[MemberStatus]:
    """Return which lists of images are needed."""
    found: dict[MemberStatus, None] = {}
    for each in receive:
        if any(isinstance(item, str) for item in each.images):
            found[MemberStatus.ANY] = None
        if not each.images or any(not isinstance(item, str) for item in each.images):
            found[_status(each)] = None
    return list(found)


def received_query(status: MemberStatus, *, hidden: bool = False) -> list[tuple[str, str]]:
    """Return the query for the images that are shared with us; the owner gets their own shared images as well.

    hidden: for those that other lists leave out.
    """
    query = [("visibility", "shared"), ("member_status", status.value), ("limit", str(PAGE))]
    return [*query, ("os_hidden", "true")] if hidden else query


def owner_selectors(receive: Iterable[Receive]) -> list[ProjectSelector]:
    """Return the selectors among the owners."""
    return list(dict.fromkeys(owner for each in receive for owner in each.owners if not isinstance(owner, str)))


def received_entries(
    receive: Iterable[Receive],
    images: Mapping[MemberStatus, Sequence[Image]],
    owners: Mapping[ProjectSelector, Sequence[str]],
    problems: list[Problem],
    *,
    own_project_id: str,
    now: datetime,
) -> tuple[Entry, ...]:
    """Return the entries of a plan that answer; each has our own project as its only one.

    images: what `received_query` found, by status. Our own are left out.
    owners: the IDs that `owner_selectors` stand for.
    An image that is named and not among those shared with us by the owner is added to `problems`.
    """
    entries: list[Entry] = []
    taken: set[str] = set()
    for each in receive:
        wanted = {
            owner_id for owner in each.owners for owner_id in ([owner] if isinstance(owner, str) else owners[owner])
        }
        shared = {
            status: {
                image.id: image
                for image in found
                if image.owner != own_project_id and (not each.owners or image.owner in wanted)
            }
            for status, found in images.items()
        }
        chosen: dict[str, None] = {} if each.images else dict.fromkeys(shared[_status(each)])
        named: dict[str, None] = {}
        for item in each.images:
            if not isinstance(item, str):
                found = _select(item, shared[_status(each)].values(), own_project_id, now)
                chosen.update(dict.fromkeys(image.id for image in found))
            elif item in shared[MemberStatus.ANY]:
                named[item] = None
            else:
                by = " by these owners" if each.owners else ""
                message = f"is not shared with project {clean(own_project_id, 64)}{by}"
                problems.append(Problem(f"image {clean(item, 100)}", None, None, message))
        for image_ids, forced in ((named, Want.FORCED), (chosen, Want.MEMBER)):
            new = [image_id for image_id in image_ids if image_id not in taken]
            taken.update(new)
            want = Want.RECEIVED | (Want.DECLINED if each.declined or each.hidden else Want.ACCEPTED | forced)
            if new:
                entries.append(Entry(IdList(new), IdList([own_project_id]), want=want, accept_as_project=False))
    return tuple(entries)


def _status(receive: Receive) -> MemberStatus:
    return MemberStatus.ACCEPTED if receive.hidden else MemberStatus.PENDING


def _select(selector: ImageSelector, images: Iterable[Image], own_project_id: str, now: datetime) -> list[Image]:
    owner = "any" if selector.owner == "self" else selector.owner  # none of these is our own
    return select_images(replace(selector, owner=owner), images, own_project_id=own_project_id, now=now)


def both_ways(received: Iterable[Entry], others: Iterable[Entry]) -> list[Problem]:
    """Return a problem for each image that a plan both receives and shares: they need different rights."""
    ours = {image_id for entry in received for image_id in entry.images}
    doubly = {item for entry in others for item in entry.images if item in ours}
    message = "is under both `share` and `receive`; leave it out of one of them"
    return [Problem(f"image {clean(str(image_id), 100)}", None, None, message) for image_id in sorted(map(str, doubly))]
