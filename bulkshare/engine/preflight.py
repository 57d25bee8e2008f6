"""What can't be done for an image, found out before anything is written, from what is known of it. Pure.

Only knowledge leads to a finding. If the cloud did not describe an image, its first request will tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bulkshare.model import Account, Image, Orders


PLANS_LIMIT = "the limit is the plan's (`limits.members_per_image`)"
CLOUDS_LIMIT = "the limit is the cloud's"
# Statuses of images that no project can use, nor ever will without a person's doing. The others are on their way.
WITHDRAWN = frozenset({"deactivated", "killed", "pending_delete", "deleted"})
NOT_LISTED = "its members could not be listed, so it is not known how many would be removed"


class Facts(NamedTuple):
    """What is known of an image with pending pairs.

    image: None if the cloud did not describe it.
    selected: the plan selected the image by its attributes.
    members: how many it has; None if they were not listed.
    refused: the cloud refused to list them.
    to_add, to_accept, to_remove: how many members are pending for it.
    owner_to_add, owner_to_accept: the image's owner is among them.
    quota: how many members the cloud says it may have; None if it doesn't say.
    received: the pending pair is our own membership; the image is another project's, and has no other pair.
    """

    image_id: str
    image: Image | None = None
    selected: bool = False
    members: int | None = None
    refused: bool = False
    to_add: int = 0
    to_accept: int = 0
    to_remove: int = 0
    owner_to_add: bool = False
    owner_to_accept: bool = False
    quota: int | None = None
    received: bool = False


class SkipRest(NamedTuple):
    """Don't try the image's pending pairs: removals (`removals` True), all others (False), or both (None)."""

    reason: str
    removals: bool | None = None


class UsableByAll(NamedTuple):
    """Every project can use the image: all is as planned but the image's pending removals."""

    reason: str


class OverPruneLimit(NamedTuple):
    """More of the image's members would be removed than the limit allows: remove none, from any image."""

    reason: str


class SkipPair(NamedTuple):
    """Don't try the pair of this member."""

    member_id: str
    reason: str


class QuotaRoom(NamedTuple):
    """Only the first `room` of the members to be added fit, by ID; don't try the others."""

    room: int
    reason: str


class SetSharedFirst(NamedTuple):
    """The image is private, and has to be made `shared` first."""


Finding = SkipRest | UsableByAll | OverPruneLimit | SkipPair | QuotaRoom | SetSharedFirst


def findings(
    facts: Facts,
    orders: Orders,
    account: Account | None,
    *,
    members_per_image: int | None,
    no_removals: bool = False,
) -> list[Finding]:
    """Return what to do about an image before its pairs are tried, in this order: one decision on all that is known.

    account: who acts; None if unknown.
    members_per_image: the plan's limit; 0: none; None: unknown, the cloud will tell.
    no_removals: another image is over the prune limit, so removals make no room in this one either.
    """
    if facts.received:
        return _for_member(facts.image)
    return _for_owner(facts, orders, account, members_per_image, no_removals=no_removals)


def _for_member(image: Image | None) -> list[Finding]:
    """Return what there is to say about another project's image before our membership is answered."""
    if image is None or not image.usable_by_all:
        return []
    return [SkipRest(f"the image is {image.visibility}: every project can use it, and it has no members")]


def _for_owner(
    facts: Facts, orders: Orders, account: Account | None, members_per_image: int | None, *, no_removals: bool
) -> list[Finding]:
    found: list[Finding] = []
    image = facts.image
    if image is not None and image.usable_by_all and not orders.strict:
        if facts.to_remove:
            found.append(SkipRest(f"the image is {image.visibility} and shows no members", removals=True))
        return [*found, UsableByAll(f"every project can use the image: it is {image.visibility}")]
    closed = _closed(facts, orders, account)
    if closed:
        return [SkipRest(closed)]
    too_many = _too_many_removals(facts, orders)
    found += too_many
    removals = 0 if too_many or no_removals else facts.to_remove
    if image is not None and image.status in WITHDRAWN and not facts.selected:
        return [*found, SkipRest(f"the image is {image.status}, not active", removals=False)]
    to_add = facts.to_add
    if (facts.owner_to_add or facts.owner_to_accept) and image is not None and image.owner is not None:
        found.append(SkipPair(image.owner, "the project is the image's owner"))
        to_add -= facts.owner_to_add
    opens = orders.make_shared and image is not None and image.visibility == "private"
    if opens and facts.members is None:  # they can't be seen yet: at least those to be added need room
        facts = facts._replace(members=0)
    over = _over_quota(facts, to_add, removals, members_per_image)
    if over is not None:
        over = over if orders.fill else over._replace(room=0)
        found.append(over)
    if opens and to_add > 0 and (over is None or over.room > 0):  # else its former members would only get it back
        found.insert(0, SetSharedFirst())
    return found


def _closed(facts: Facts, orders: Orders, account: Account | None) -> str:
    """Return why the image takes no members from us at all; empty if nothing says so."""
    image = facts.image
    if image is None:
        return ""
    if image.usable_by_all:
        return f"the image is {image.visibility}: every project can use it, and it takes no members"
    if account is not None and not account.admin and image.owner not in {None, account.project_id}:
        return f"the image belongs to project {image.owner}, not to us"
    # Older services share private images as they are: only a refusal shows that this one doesn't.
    if image.visibility == "private" and facts.refused and not orders.make_shared:
        return "the image is private, and takes no members"
    return ""


def _too_many_removals(facts: Facts, orders: Orders) -> list[Finding]:
    members = facts.members
    if not facts.to_remove:
        return []
    if members is None:  # a run resumed without its plan has no orders: its removals were allowed before
        return [SkipRest(NOT_LISTED, removals=True)] if orders.prune else []
    limit = min(orders.prune_limits, key=lambda limit: limit.allowed(members), default=None)
    if limit is None or facts.to_remove <= limit.allowed(members):
        return []
    many = f"{facts.to_remove:,} of {members:,} members would be removed"
    return [OverPruneLimit(f"{many}; the prune limit ({limit}) allows {limit.allowed(members):,}")]


def _over_quota(facts: Facts, to_add: int, removals: int, planned: int | None) -> QuotaRoom | None:
    """Return how many fit if not all do. `planned` is the plan's limit, which comes before the cloud's."""
    quota, whose = (facts.quota, CLOUDS_LIMIT) if planned is None else (planned, PLANS_LIMIT)
    if not quota or facts.members is None or to_add <= 0:
        return None
    has = facts.members - removals
    if has + to_add <= quota:
        return None
    after = f" when {removals:,} are removed" if removals else ""
    needs = f"needs {has + to_add:,}, has {has:,} of {quota:,} members{after}"
    return QuotaRoom(max(quota - has, 0), f"{needs}; {whose}")
