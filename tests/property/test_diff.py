"""What `diff` shows is what `run` does, and a second run writes nothing, for any plan and any cloud."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from bulkshare.errors import UnlistedError
from bulkshare.model import AS_PLANNED, Block, Entry, Limits, Outcome, Plan, PruneLimit, Request, Result, Want
from bulkshare.operations.saved_plan import SavedPart, SavedPlan, require_unchanged
from bulkshare.plan.expand import expand, orders
from bulkshare.progress import Listings
from bulkshare.report import changes_of
from tests.engine.fakes import FakeCloud, RecordingObserver
from tests.engine.harness import ACCOUNT, EngineHarness
from tests.engine.memory_ledger import MemoryLedger

if TYPE_CHECKING:
    from bulkshare.model.events import Event
    from bulkshare.report import Changes

IMAGES, PROJECTS = "ijk", ["a", "b", "c", "d", "e", "ours"]
OTHERS = ["x", "y"]  # members that no plan names
LIMITS = st.none() | st.sampled_from([PruneLimit(), PruneLimit(0.5), PruneLimit(1.0), PruneLimit(0.1, 1)])
WANTS = st.sampled_from([Want.MEMBER, Want.MEMBER, Want.ACCEPTED, Want.ACCEPTED | Want.FORCED])
QUOTA = 4

Write = tuple[str, str, str]  # method, image, member


def subsets(items: Any, *, most: int = 6) -> Any:
    """Draw some of the items, in any order."""
    return st.lists(st.sampled_from(list(items)), max_size=most, unique=True).map(tuple)


ENTRIES = st.builds(
    Entry,
    subsets(IMAGES),
    subsets(PROJECTS),
    subsets(PROJECTS, most=1).map(frozenset),
    WANTS,
    prune=st.booleans(),
    keep=subsets(OTHERS, most=1).map(frozenset),
    fill=st.booleans(),
    make_shared=st.booleans(),
    prune_limit=LIMITS,
)
PLANS = st.builds(
    Plan,
    st.just("n"),
    st.lists(ENTRIES, min_size=1, max_size=4).map(tuple),
    prune_limit=LIMITS,
    strict=st.booleans(),
)


class ImageState(NamedTuple):
    """An image in the cloud, with its members' statuses."""

    visibility: str = "shared"
    status: str = "active"
    owner: str = "ours"
    hidden: bool = False
    members: dict[str, str] = {}  # noqa: RUF012  never changed


STATUSES = st.sampled_from(["pending", "accepted", "rejected"])
STATES = st.builds(
    ImageState,
    st.sampled_from(["shared", "shared", "shared", "private", "private", "public", "community"]),
    st.sampled_from(["active", "active", "active", "queued", "deactivated"]),
    st.sampled_from(["ours", "ours", "ours", "theirs"]),
    st.booleans(),
    st.dictionaries(st.sampled_from([*PROJECTS[:-1], *OTHERS]), STATUSES, max_size=QUOTA),
)


@dataclass
class DiffObserver(RecordingObserver):
    """Records what `diff` asks an observer for, too."""

    listed: Listings = field(default_factory=Listings)

    def notify(self, event: Event) -> None:
        """See the port."""
        super().notify(event)
        self.listed.notify(event)


@dataclass
class World:
    """A cloud, and what runs of a plan on it do."""

    plan: Plan
    states: dict[str, ImageState]
    cloud: FakeCloud
    limits: Limits
    admin: bool
    backwards: bool = False
    saved: SavedPart = field(init=False)  # what the last diff would save
    unlisted: bool = False  # whether it could not list an image that is to be pruned and has no pairs

    @classmethod
    def of(cls, plan: Plan, states: dict[str, ImageState], *, limit: int | None, admin: bool) -> World:
        """Return a cloud with images in these states. Its quota is 4, unless the plan's `limit` is 0: none."""
        cloud = FakeCloud(quota=None if limit == 0 else QUOTA)
        for image_id, state in states.items():
            cloud.images[image_id] = {
                "visibility": state.visibility,
                "status": state.status,
                "owner": state.owner,
                "os_hidden": state.hidden,
            }
            cloud.statuses |= {(image_id, member_id): status for member_id, status in state.members.items()}
        return cls(plan, states, cloud, Limits(per_image=4, members_per_image=limit), admin)

    def _harness(self) -> EngineHarness:
        harness = EngineHarness(
            cloud=self.cloud,
            ledger=MemoryLedger(backwards=self.backwards),
            observer=DiffObserver(),
            limits=self.limits,
            orders=orders(self.plan),
            account=replace(ACCOUNT, admin=self.admin),
        )
        harness.ledger.enqueue(1, expand(self.plan))
        self.cloud.sent.clear()
        return harness

    def diff(self) -> Changes:
        """Return what `diff` shows. Its ledger numbers the projects in another order than that of a run."""
        self.backwards = True
        harness = self._harness()
        harness.run(share=False)
        self.unlisted = bool(harness.engine.unpruned)
        self.backwards = False
        assert not self.writes()
        assert isinstance(harness.observer, DiffObserver)
        rows = harness.ledger.rows.values()
        todo = [Block(row.image_id, (row.member_id,), row.want) for row in rows if row.result is Result.PENDING]
        self.saved = SavedPart(None, "e", "p", tuple(todo), frozenset(harness.engine.to_set_shared))
        return changes_of(
            self.plan.name,
            (row for row in rows if row.result not in AS_PLANNED),
            unlisted=harness.observer.listed.refused,
            unpruned=harness.engine.unpruned,
            to_set_shared=harness.engine.to_set_shared,
            as_planned=sum(row.result in AS_PLANNED for row in rows),
        )

    def run(self) -> dict[tuple[str, str], Outcome]:
        """Return the rows of a run."""
        harness = self._harness()
        assert is_unlisted(harness) == self.unlisted
        return harness.ledger.rows

    def writes(self) -> list[Write]:
        """Return the writes of the last run or diff, in order."""
        return [write_of(request) for _, request in self.cloud.sent if request.method != "GET"]


def is_unlisted(harness: EngineHarness) -> bool:
    """Run, and return whether that ended with an image that could not be listed."""
    try:
        harness.run()
    except UnlistedError:
        return True
    return False


def write_of(request: Request) -> Write:
    """Return what a request would write."""
    image_id, _, member_id = request.path.removeprefix("/v2/images/").partition("/members")
    if request.method == "POST":
        member_id = json.loads(request.body or b"")["member"]
    return request.method, image_id, member_id.strip("/")


def writes_of(changes: Changes) -> set[Write]:
    """Return the writes that a diff foretells."""
    return {
        write
        for image in changes.images
        for write in [
            *([("PATCH", image.image_id, "")] if image.make_shared else []),
            *(("POST", image.image_id, member_id) for member_id in image.add),
            *(("PUT", image.image_id, member_id) for member_id in image.accept),
            *(("DELETE", image.image_id, member_id) for member_id in image.remove),
        ]
    }


WORLDS = st.builds(
    World.of,
    PLANS,
    st.fixed_dictionaries(dict.fromkeys(IMAGES, STATES)),
    limit=st.sampled_from([0, QUOTA, None]),
    admin=st.booleans(),
)


@settings(max_examples=200)
@given(WORLDS)
def test_a_run_does_what_diff_shows(world: World) -> None:
    """The same writes, each once, and the same pairs that can't be done; a second run finds nothing to do."""
    shown = world.diff()
    rows = world.run()
    sent = world.writes()
    # Members of a private image are hidden until it is shared: they may be there already, or need room. And only the
    # cloud may know its quota.
    hidden = {
        image.image_id
        for image in shown.images
        if world.limits.members_per_image is None or (image.make_shared and world.states[image.image_id].members)
    }
    unknown = {image.image_id for image in shown.images if image.unknown}
    assert [write for write in sent if write[1] not in unknown] == list(
        dict.fromkeys(write for write in sent if write[1] not in unknown)
    ), "none is sent twice"
    foretold, known = writes_of(shown), {write for write in sent if write[1] not in unknown}
    assert {write for write in known if write[1] not in hidden} == {w for w in foretold if w[1] not in hidden}
    assert known <= foretold, "nothing else is sent"
    refused = {
        (image.image_id, member_id)
        for image in shown.images
        for members in image.refused.values()
        for member_id in members
    }
    failed = {pair for pair, row in rows.items() if row.result not in AS_PLANNED}
    assert {pair for pair in failed if pair[0] not in unknown | hidden} == {
        pair for pair in refused if pair[0] not in hidden
    }
    # With more members than before, a removal may be within the prune limit now.
    removals_left = any(Want.REMOVE in rows[pair].want for pair in failed)
    if not hidden and not removals_left:
        world.run()
        assert not [write for write in world.writes() if write[1] not in unknown], "a second run has nothing to send"
        assert not world.diff().any


@given(WORLDS)
def test_a_saved_plan_is_what_was_shown(world: World) -> None:
    """It knows nothing of the plan but the pairs, and finds the same to do; `run` then does that."""
    world.diff()
    shown = world.saved
    world.plan = SavedPlan("n", None, world.limits, world.plan.retry, world.plan.api, (shown,)).plan
    world.diff()
    require_unchanged(shown, world.saved)
    found = world.diff()
    unknown = {image.image_id for image in found.images if image.unknown}
    world.run()
    assert {write for write in world.writes() if write[1] not in unknown} <= writes_of(found)
