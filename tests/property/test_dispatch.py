"""The dispatch of pending pairs keeps its invariants, whatever the order of events."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bulkshare.engine.dispatch import Dispatch, Lane
from bulkshare.model import Attempt, Job, Result, Step

PER_IMAGE = 3
IMAGES = ["a", "b", "c"]


class Window(RuleBasedStateMachine):
    """Opens, fills, takes, defers, settles and closes lanes in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.dispatch = Dispatch(per_image=PER_IMAGE)
        self.now = 0.0
        self.opened: set[str] = set()
        self.added: list[Job] = []
        self.flying: list[Attempt] = []
        self.deferred: dict[Job, float] = {}
        self.ended: list[Job] = []
        self.dropped: set[str] = set()
        self.full: set[str] = set()
        self.pages: dict[str, list[list[Job]]] = {}
        self.members: set[Job] = set()

    @rule(image=st.sampled_from(IMAGES), probed=st.booleans(), pages=st.lists(st.integers(0, 5), max_size=3))
    def open(self, image: str, probed: bool, pages: list[int]) -> None:  # noqa: FBT001  drawn by hypothesis
        """Open a lane once per image, with a few pages of pairs, and read the first."""
        if image in self.opened:
            return
        self.opened.add(image)
        self.pages[image] = [[Job(image, f"{page} {n}") for n in range(size)] for page, size in enumerate(pages)]
        self.read_page(self.dispatch.open(image, sum(pages), probed=probed))

    @rule()
    def read(self) -> None:
        """Read on for a lane that runs low."""
        lane = self.dispatch.needs_refill(2)
        if lane is not None:
            self.read_page(lane)

    def read_page(self, lane: Lane) -> None:
        """Add an image's next page; every other pair is a member that only needs to be accepted."""
        pages = self.pages[lane.image_id]
        jobs = pages.pop(0) if pages else []
        attempts = [
            Attempt(job, Step.ACCEPT, membership=Result.ALREADY) if number % 2 else Attempt(job)
            for number, job in enumerate(jobs)
        ]
        self.members.update(job for number, job in enumerate(jobs) if number % 2)
        self.dispatch.add(lane, attempts, exhausted=not pages)
        self.added += jobs

    @rule(seconds=st.floats(0, 2))
    def take(self, seconds: float) -> None:
        """Let time pass and take an attempt."""
        self.now += seconds
        attempt = self.dispatch.next(self.now)
        if attempt is not None:
            assert attempt.job not in [other.job for other in self.flying], "two in flight for a pair"
            assert self.deferred.pop(attempt.job, 0.0) <= self.now, "sent before its time"
            self.flying.append(attempt)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), seconds=st.floats(0, 3))
    def defer(self, data: st.DataObject, seconds: float) -> None:
        """Put an attempt in flight back for later."""
        attempt = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        tried = attempt._replace(posts=attempt.posts + 1)
        self.dispatch.defer(tried, self.now + seconds)
        self.deferred[attempt.job] = self.now + seconds

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def park(self, data: st.DataObject) -> None:
        """Park an attempt in flight."""
        attempt = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        self.dispatch.park(attempt._replace(posts=attempt.posts + 1), 1.0)

    @precondition(lambda self: self.dispatch.parked)
    @rule(stalled=st.booleans())
    def unpark(self, stalled: bool) -> None:  # noqa: FBT001  drawn by hypothesis
        """Release a parked attempt, at once or because nothing else is left."""
        if stalled:
            self.dispatch.unpark_stalled(self.now)
        else:
            self.dispatch.unpark(self.now)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), probed=st.booleans(), close=st.booleans(), full=st.booleans())
    def settle(self, data: st.DataObject, probed: bool, close: bool, full: bool) -> None:  # noqa: FBT001  drawn
        """Settle an attempt in flight, which may probe or close its image."""
        attempt = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        lane = self.dispatch.lanes[attempt.job.image_id]
        if close:
            self.dispatch.close(lane, "why", full=full)
            (self.full if full else self.dropped).add(lane.image_id)
        elif probed:
            self.dispatch.mark_probed(lane)
        self.dispatch.done(lane)
        self.ended.append(attempt.job)

    @invariant()
    def per_image_limit_holds(self) -> None:
        """No image has more requests in flight than allowed."""
        for image in IMAGES:
            assert sum(attempt.job.image_id == image for attempt in self.flying) <= PER_IMAGE

    @invariant()
    def the_width_is_that_of_the_lanes(self) -> None:
        """What all lanes together may have in flight."""
        assert self.dispatch.width == sum(lane.width for lane in self.dispatch.lanes.values())
        assert self.dispatch.all_read() == (not any(lane.reading for lane in self.dispatch.lanes.values()))

    @invariant()
    def an_image_with_room_has_a_turn(self) -> None:
        """So as many workers as there is room for find something to send."""
        for lane in self.dispatch.lanes.values():
            assert lane.queued or not self.dispatch.room(lane)
            limit = PER_IMAGE if lane.probed else 1
            assert self.dispatch.room(lane) == max(min(len(lane.ready), limit - lane.in_flight), 0)

    def teardown(self) -> None:
        """Drained to the end, every pair was taken and settled once, unless its image was closed."""
        for _ in range(10_000):
            for attempt in self.flying:
                self.dispatch.done(self.dispatch.lanes[attempt.job.image_id])
                self.ended.append(attempt.job)
            self.flying = []
            while (lane := self.dispatch.needs_refill(2)) is not None:
                self.read_page(lane)
            attempt_or_none = self.dispatch.next(float("inf"))
            if attempt_or_none is None:  # as a worker does
                self.dispatch.unpark_stalled(self.now)
                attempt_or_none = self.dispatch.next(float("inf"))
            if attempt_or_none is None:
                break
            self.flying = [attempt_or_none]
        assert not self.dispatch, "a lane was left behind"
        assert len(self.ended) == len(set(self.ended))
        missing = {*self.added, *self.unread()} - set(self.ended)
        assert all(job.image_id in self.dropped | self.full for job in missing)
        assert all(job.image_id in self.dropped for job in missing & self.members), "a member is left out"

    def unread(self) -> list[Job]:
        """Return the pairs of open images that were never read."""
        return [job for pages in self.pages.values() for page in pages for job in page]


TestWindow = Window.TestCase
