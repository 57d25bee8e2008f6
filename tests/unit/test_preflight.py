"""What the preflight finds about an image: the table of findings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.engine.preflight import (
    NOT_LISTED,
    PLANS_LIMIT,
    Facts,
    Finding,
    OverPruneLimit,
    QuotaRoom,
    SetSharedFirst,
    SkipPair,
    SkipRest,
    UsableByAll,
    findings,
)
from bulkshare.model import Account, Image, Orders, PruneLimit

US = Account("cloud", "RegionOne", "https://images.example", "user", "project", "us")
ADMIN = replace(US, admin=True)
PRUNE = Orders(prune=True, prune_limits=(PruneLimit(),))
FILL = Orders(fill=True)
SHARE = Orders(make_shared=True)
FINE = Image("i", status="active", visibility="shared", owner="us")
PRIVATE = FINE._replace(visibility="private")
QUEUED = FINE._replace(status="queued")
DEACTIVATED = FINE._replace(status="deactivated")
PUBLIC = FINE._replace(visibility="public")
COMMUNITY = FINE._replace(visibility="community")
OWNER = SkipPair("us", "the project is the image's owner")


def found(orders: Orders = PRUNE, account: Account | None = US, **facts: Any) -> list[Finding]:
    """Return the findings with a quota of 128 and a prune limit of 10 %."""
    return findings(Facts("i", **facts), orders, account, members_per_image=128)


@pytest.mark.parametrize(
    "facts",
    [
        {"to_add": 500},
        {"image": FINE, "to_add": 500},
        {"image": FINE, "members": 10, "to_add": 118, "to_remove": 1},
        {"image": Image("i"), "members": 10, "to_add": 1},
        {"image": PRIVATE, "members": 3, "to_add": 1},
        {"image": PRIVATE, "to_add": 1},
        {"image": FINE, "members": 200, "to_add": 0},
        {"image": QUEUED, "to_add": 1},
        {"image": DEACTIVATED, "selected": True, "to_add": 1},
        {"image": FINE, "members": 138, "to_add": 0, "to_remove": 10},
    ],
)
def test_nothing_is_found(facts: dict[str, Any]) -> None:
    """Images that are fine, and images of which nothing is known."""
    assert found(**facts) == []


@pytest.mark.parametrize(
    ("image", "account", "words"),
    [
        (FINE._replace(owner="them"), US, "belongs to project them, not to us"),
        (PRIVATE._replace(owner="them"), US, "belongs to project them, not to us"),
        (PRIVATE, US, "is private, and takes no members"),
    ],
)
def test_images_that_take_no_members(image: Image, account: Account, words: str) -> None:
    """All pairs are skipped, including removals; nothing else is found."""
    (rest,) = found(account=account, image=image, refused=True, to_add=500, to_remove=500, owner_to_add=True)
    assert isinstance(rest, SkipRest)
    assert words in rest.reason
    assert rest.removals is None


@pytest.mark.parametrize("account", [None, ADMIN])
def test_the_owner_does_not_matter_to_all(account: Account | None) -> None:
    """It doesn't to an admin, or if the account is unknown."""
    assert found(account=account, image=FINE._replace(owner="them"), to_add=1) == []


def test_an_image_that_is_not_active() -> None:
    """No member is added to one that was withdrawn, but members may be removed."""
    assert found(image=DEACTIVATED, members=10, to_add=1, to_remove=1) == [
        SkipRest("the image is deactivated, not active", removals=False)
    ]


@pytest.mark.parametrize("image", [PUBLIC, COMMUNITY])
@pytest.mark.parametrize("owner", ["us", "them"])
def test_every_project_can_use_public_and_community_images(image: Image, owner: str) -> None:
    """Nothing is left to share; members that can't be seen can't be removed. A strict plan takes it for an error."""
    facts: dict[str, Any] = {"image": image._replace(owner=owner, status="deactivated"), "refused": True}
    satisfied = UsableByAll(f"every project can use the image: it is {image.visibility}")
    assert found(to_add=500, owner_to_add=True, **facts) == [satisfied]
    hidden = SkipRest(f"the image is {image.visibility} and shows no members", removals=True)
    assert found(to_add=500, to_remove=500, **facts) == [hidden, satisfied]
    (rest,) = found(Orders(strict=True, make_shared=True), to_add=500, to_remove=500, **facts)
    assert rest == SkipRest(f"the image is {image.visibility}: every project can use it, and it takes no members")


def test_private_images_are_set_shared_if_wanted() -> None:
    """Before anything else, whether or not their members could be listed."""
    facts: dict[str, Any] = {
        "image": PRIVATE,
        "to_add": 2,
        "owner_to_add": True,
    }
    assert found(SHARE, **facts) == found(SHARE, **facts, refused=True) == [SetSharedFirst(), OWNER]


@pytest.mark.parametrize(
    "facts",
    [
        {"image": PRIVATE._replace(status="deactivated"), "to_add": 2},
        {"image": PRIVATE, "to_add": 1, "owner_to_add": True},
        {"image": PRIVATE, "to_add": 20_000, "members": 1},
        {"image": PRIVATE, "to_add": 0, "to_remove": 1, "members": 10},
    ],
)
def test_an_image_that_gets_no_member_is_not_set_shared(facts: dict[str, Any]) -> None:
    """It would only be given back to its former members."""
    assert SetSharedFirst() not in found(SHARE, **facts)


@pytest.mark.parametrize(
    ("members", "to_remove", "limit", "skipped"),
    [
        (30, 3, 0.1, False),
        (29, 3, 0.1, True),
        (100, 29, 0.29, False),
        (1, 1, 0.1, True),
        (1, 1, 1.0, False),
        (5, 1, 0.0, True),
    ],
)
def test_the_prune_limit(members: int, to_remove: int, limit: float, skipped: bool) -> None:  # noqa: FBT001  a table
    """Exactly at the limit is within it, in spite of rounding."""
    facts = Facts("i", FINE, members=members, to_remove=to_remove)
    orders = Orders(prune=True, prune_limits=(PruneLimit(limit),))
    told = findings(facts, orders, US, members_per_image=0)
    assert bool(told) == skipped
    if skipped:
        allowed = PruneLimit(limit).allowed(members)
        why = f"{to_remove} of {members} members would be removed; the prune limit ({limit * 100:g}%) allows {allowed}"
        assert told == [OverPruneLimit(why)]


def test_removals_of_an_image_that_was_not_listed() -> None:
    """It is not known how many would be left; but without orders an earlier invocation knew."""
    assert found(image=FINE, to_remove=5) == [SkipRest(NOT_LISTED, removals=True)]
    assert found(Orders(), image=FINE, to_remove=5) == []


@pytest.mark.parametrize(
    ("facts", "room", "reason"),
    [
        ({"members": 126, "to_add": 14}, 2, "needs 140, has 126 of 128 members"),
        ({"members": 128, "to_add": 1}, 0, "needs 129, has 128 of 128 members"),
        ({"members": 0, "to_add": 1500}, 128, "needs 1,500, has 0 of 128 members"),
        ({"members": 126, "to_add": 14, "to_remove": 6}, 8, "needs 134, has 120 of 128 members when 6 are removed"),
        ({"members": 60, "to_add": 80, "to_remove": 7}, 68, "needs 140, has 60 of 128 members"),
        ({"members": 200, "to_add": 1}, 0, "needs 201, has 200 of 128 members"),
    ],
)
def test_the_quota(facts: dict[str, Any], room: int, reason: str) -> None:
    """All or nothing, or as many as fit; removals make room, if they are allowed."""
    assert found(PRUNE._replace(fill=True), image=FINE, **facts)[-1] == QuotaRoom(room, f"{reason}; {PLANS_LIMIT}")
    assert found(PRUNE, **facts)[-1] == QuotaRoom(0, f"{reason}; {PLANS_LIMIT}"), (
        "nothing but the listing has to be known"
    )


def test_the_owner_who_is_a_member_takes_no_room_from_others() -> None:
    """Its membership is not accepted, and two others fit."""
    facts: dict[str, Any] = {"image": FINE, "members": 126, "to_add": 2, "to_accept": 1, "owner_to_accept": True}
    assert found(**facts) == [OWNER]
    assert found(**{**facts, "to_add": 3}) == [OWNER, QuotaRoom(0, f"needs 129, has 126 of 128 members; {PLANS_LIMIT}")]


def test_the_owner_needs_no_room() -> None:
    """129 projects, one of them the owner, fit."""
    assert found(image=FINE, members=0, to_add=129, owner_to_add=True) == [OWNER]
    assert found(image=FINE, members=0, to_add=130, owner_to_add=True) == [
        OWNER,
        QuotaRoom(0, f"needs 129, has 0 of 128 members; {PLANS_LIMIT}"),
    ]


@given(
    st.builds(
        Facts,
        st.just("i"),
        image=st.none()
        | st.builds(
            Image,
            st.just("i"),
            status=st.sampled_from([None, "active", "queued", "deactivated"]),
            visibility=st.sampled_from([None, "shared", "private", "public"]),
            owner=st.sampled_from([None, "us", "them"]),
        ),
        selected=st.booleans(),
        members=st.none() | st.integers(0, 200),
        refused=st.booleans(),
        to_add=st.integers(1, 200),
        to_remove=st.integers(0, 200),
        owner_to_add=st.booleans(),
    ),
    st.builds(
        Orders,
        st.just(True),  # noqa: FBT003  a field
        st.booleans(),
        prune_limits=st.just((PruneLimit(),)),
        make_shared=st.booleans(),
    ),
)
def test_findings_hold_together(facts: Facts, orders: Orders) -> None:
    """What remains fits the quota and the prune limit, and every finding has a reason."""
    told = findings(facts, orders, US, members_per_image=128)
    reasons = [finding.reason for finding in told if not isinstance(finding, SetSharedFirst)]
    assert all(reasons)
    rests = [finding.removals for finding in told if isinstance(finding, SkipRest)]
    beyond = any(isinstance(finding, OverPruneLimit) for finding in told)
    removed = 0 if beyond or {None, True} & set(rests) else facts.to_remove
    fit = next((finding.room for finding in told if isinstance(finding, QuotaRoom)), facts.to_add)
    usable = any(isinstance(finding, UsableByAll) for finding in told)
    added = 0 if usable or {None, False} & set(rests) else fit - any(isinstance(finding, SkipPair) for finding in told)
    if facts.members is not None:
        assert added <= 0 or facts.members - removed + added <= 128
        assert removed <= 0.1 * facts.members
