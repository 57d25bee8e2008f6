"""What can't be done for an image, told before anything is written, from what is known of it. Must not ask anybody.

Only what is known leads to a finding: of an image that the cloud did not tell, the first request tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bulkshare.model import Want

if TYPE_CHECKING:
    from bulkshare.model import Account, Image, Orders


OPEN_TO_ALL = frozenset({"public", "community"})
NOT_LISTED = "its members could not be listed, so nobody knows how many would be removed"
EXACT = 9  # digits after the point, beyond which a product of floats means nothing


class Facts(NamedTuple):
    """What is known of an image with pending pairs.

    `image` is None where the cloud did not tell. `chosen` says that a plan chose the image for what it is. `members` is
    how many it has, and None where they were not listed; `refused` says that the cloud refused to list them. The
    pending pairs: how many are `to_add` (its owner among them or not), how many `to_remove`, and all that any wants.
    """

    image_id: str
    image: Image | None = None
    chosen: bool = False
    members: int | None = None
    refused: bool = False
    to_add: int = 0
    to_remove: int = 0
    owner_to_add: bool = False
    want: Want = Want.MEMBER


class SkipRest(NamedTuple):
    """The image's pending pairs are not to be tried: removals (`gone` True), all others (False), or both (None)."""

    reason: str
    gone: bool | None = None


class OverPruneLimit(NamedTuple):
    """More of the image's members would be removed than the limit allows: nobody is to be removed from any image."""

    reason: str


class SkipPair(NamedTuple):
    """The pair of this member is not to be tried."""

    member_id: str
    reason: str


class QuotaRoom(NamedTuple):
    """Of the members that are to be added only the first so many fit; the others are not to be tried."""

    room: int
    reason: str


class Open(NamedTuple):
    """The image is private, and is to be made `shared` first."""


Finding = SkipRest | OverPruneLimit | SkipPair | QuotaRoom | Open


def findings(
    facts: Facts, orders: Orders, account: Account | None, *, members_per_image: int, prune_limit: float
) -> list[Finding]:
    """Return what to do about an image before its pairs are tried, in this order.

    `members_per_image` is the quota (0: none); `prune_limit` the share of an image's members that may be removed.
    """
    found: list[Finding] = []
    closed = _closed(facts, account)
    if closed:
        return [SkipRest(closed)]
    image = facts.image
    if image is not None and image.visibility == "private" and Want.SET_SHARED in facts.want:
        found.append(Open())
    too_many = _too_many_removals(facts, orders, prune_limit)
    found += too_many
    removals = 0 if too_many else facts.to_remove
    if image is not None and image.status not in {None, "active"} and not facts.chosen:
        return [*found, SkipRest(f"the image is {image.status}, not active", gone=False)]
    to_add = facts.to_add
    if facts.owner_to_add and image is not None and image.owner is not None:
        found.append(SkipPair(image.owner, "is the image's owner"))
        to_add -= 1
    over = _over_quota(facts, to_add, removals, members_per_image)
    if over is not None:
        found.append(over if orders.fill else over._replace(room=0))
    return found


def _closed(facts: Facts, account: Account | None) -> str:
    """Return why the image takes no members from us at all; empty where nothing says so."""
    image = facts.image
    if image is None:
        return ""
    if image.visibility in OPEN_TO_ALL:
        return f"the image is {image.visibility}: every project can use it, and it takes no members"
    if account is not None and not account.admin and image.owner not in {None, account.project_id}:
        return f"the image is not ours but project {image.owner}'s"
    # Older services share private images as they are: it takes a refusal to know that this one does not.
    if image.visibility == "private" and facts.refused and Want.SET_SHARED not in facts.want:
        return "the image is private; `openstack image set --shared` opens it, or `make_shared: true` in the plan"
    return ""


def _too_many_removals(facts: Facts, orders: Orders, prune_limit: float) -> list[Finding]:
    if not facts.to_remove or (facts.members is None and not orders.prune):
        return []  # without orders it was looked at before: a run that goes on without its plan
    if facts.members is None:
        return [SkipRest(NOT_LISTED, gone=True)]
    if facts.to_remove <= round(prune_limit * facts.members, EXACT):
        return []
    share = f"{prune_limit * 100:g} %"
    many = f"{facts.to_remove:,} of {facts.members:,} members would be removed"
    return [OverPruneLimit(f"{many}, more than the prune limit of {share}")]


def _over_quota(facts: Facts, to_add: int, removals: int, quota: int) -> QuotaRoom | None:
    """Return how many fit where not all do. More members than the quota show that it is another one."""
    if not quota or facts.members is None or facts.members > quota:
        return None
    has = facts.members - removals
    if has + to_add <= quota:
        return None
    after = f" when {removals:,} are removed" if removals else ""
    return QuotaRoom(quota - has, f"needs {has + to_add:,}, has {has:,} of {quota:,} members{after}")
