"""What a run shows while it works."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from bulkshare.model import Alike, Outcome, Result, Step, Verdict, VerdictKind
from bulkshare.model.events import (
    AlikeSettled,
    Answered,
    BatchSent,
    ExtraMembersFound,
    ImagesDone,
    ImageSetShared,
    MembersListed,
    PairsSettled,
    PhaseStarted,
    RemovalsAhead,
    RestSettled,
    RetryScheduled,
)
from bulkshare.progress import DetailedLog, Display, Listings, Observers, Tracker, View, clock_face


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Lines:
    """A logger that records its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **fields: self.lines.append((level, event, fields))


def outcomes(count: int, result: Result = Result.SHARED) -> list[Outcome]:
    """Return outcomes of one result."""
    return [Outcome("i", str(n), result, reason="why") for n in range(count)]


def tracker(clock: Clock, *, already: int = 0, pending: int = 100, allowed_rate: float = 50) -> Tracker:
    """Return a tracker of a run."""
    totals = {Result.ALREADY: already, Result.PENDING: pending}
    return Tracker("nightly", totals, clock, allowed_rate=allowed_rate)


def shown(tracked: Tracker, *, width: int = 100, pace: str = "") -> tuple[str, str]:
    """Return what the display shows of a run: without, and with escape sequences."""
    display = Display(Console(file=StringIO()))
    console = Console(width=width, force_terminal=True, color_system="standard", file=StringIO())
    with display.showing(View(tracked, lambda: pace)), console.capture() as capture:
        console.print(display._render())
    return Text.from_ansi(capture.get()).plain, capture.get()


def test_a_resumed_run_starts_where_it_was() -> None:
    """Pairs settled by an earlier invocation count as done."""
    tracked = tracker(Clock(), already=40, pending=60)
    assert (tracked.planned, tracked.done) == (100, 40)


def test_rate_is_of_the_last_seconds() -> None:
    """Older answers don't count."""
    clock = Clock()
    tracked = tracker(clock)
    tracked.notify(PhaseStarted("sharing", 100))
    verdict = Verdict(VerdictKind.SHARED)
    for _ in range(100):
        clock.now += 0.1
        tracked.notify(Answered(Step.ADD, "i", "m", verdict, 0.1))
    assert 9.5 <= tracked.rate() <= 10.5
    clock.now += 60
    assert tracked.rate() == 0.0


@pytest.mark.parametrize("phases", [["sharing"], ["listing", "sharing"], ["listing", "inspecting", "removing"]])
def test_rate_is_never_above_the_allowed_one(phases: list[str]) -> None:
    """At no moment: not at the start, not when a phase begins, and not after a pause that ends in a burst."""
    clock = Clock()
    tracked = tracker(clock, allowed_rate=20)
    verdict = Verdict(VerdictKind.SHARED)
    for phase in phases:
        tracked.notify(PhaseStarted(phase, 100))
        for number in range(100):
            clock.now += 0.05 if number != 50 else 1.0
            for _ in range(20 if number == 50 else 1):
                tracked.notify(Answered(Step.ADD, "i", "m", verdict, 0.1))
            assert 0 < tracked.rate() <= 20
    assert tracked.rate() > 19


def test_a_new_phase_does_not_forget_when_the_work_began() -> None:
    """The answers of the phase before, which count for some seconds, came in its time."""
    clock = Clock()
    tracked = tracker(clock, allowed_rate=1000)
    tracked.notify(PhaseStarted("listing", 100))
    for _ in range(100):
        clock.now += 0.05
        tracked.notify(Answered(Step.LIST, "i", None, Verdict(VerdictKind.LISTED), 0.1))
    tracked.notify(PhaseStarted("sharing", 100))
    assert 19 <= tracked.rate() <= 21


def test_time_left_follows_the_pace_of_this_phase() -> None:
    """Half done in ten seconds leaves ten seconds; pairs settled by listing don't count as speed."""
    clock = Clock()
    tracked = tracker(clock, pending=200)
    tracked.notify(PhaseStarted("listing", 5))
    tracked.notify(PairsSettled(outcomes(100, Result.ALREADY)))
    assert tracked.seconds_left() is None
    tracked.notify(PhaseStarted("sharing", 100))
    clock.now += 10
    tracked.notify(PairsSettled(outcomes(50)))
    assert tracked.seconds_left() == 10


def test_time_left_after_a_change_of_pace() -> None:
    """What was settled before a pause, or at another rate, says nothing about it."""
    clock = Clock()
    tracked = tracker(clock, pending=200)
    tracked.notify(PhaseStarted("sharing", 200))
    clock.now += 3600
    tracked.notify(PairsSettled(outcomes(50)))
    tracked.estimate_anew()
    assert tracked.seconds_left() is None
    clock.now += 10
    tracked.notify(PairsSettled(outcomes(50)))
    assert tracked.seconds_left() == 20


def test_no_time_left_while_nothing_settles() -> None:
    """There is no estimate in an outage; it returns with the first settled pair."""
    clock = Clock()
    tracked = tracker(clock, pending=200)
    tracked.notify(PhaseStarted("sharing", 200))
    clock.now += 10
    tracked.notify(PairsSettled(outcomes(50)))
    clock.now += 11
    assert tracked.seconds_left() is None
    tracked.notify(PairsSettled(outcomes(1)))
    assert tracked.seconds_left() is not None


def test_a_retry_counts_when_it_is_sent() -> None:
    """A retry still waiting when the run ends doesn't count; neither does another pair's answer."""
    tracked = tracker(Clock())
    trouble = Verdict(VerdictKind.TRANSIENT)
    tracked.notify(RetryScheduled("i", "m", trouble, 1.0))
    tracked.notify(RetryScheduled("j", None, trouble, 1.0))
    tracked.notify(Answered(Step.ADD, "i", "other", trouble, 0.1))
    assert tracked.retries == 0
    tracked.notify(Answered(Step.GET_MEMBER, "i", "m", trouble, 0.1))
    tracked.notify(Answered(Step.LIST, "j", None, trouble, 0.1))
    tracked.notify(Answered(Step.ADD, "i", "m", trouble, 0.1))
    assert tracked.retries == 2


def test_extra_members_add_to_the_work() -> None:
    """Listings find extra members after the run has started."""
    tracked = tracker(Clock(), pending=10)
    tracked.notify(PhaseStarted("removing", 3))
    tracked.notify(ExtraMembersFound("i", ["a", "b", "c"]))
    tracked.notify(PairsSettled(outcomes(3, Result.REMOVED)))
    assert (tracked.planned, tracked.done, tracked.counts_images) == (13, 3, False)


@pytest.mark.parametrize("phase", ["listing", "inspecting", "opening", "describing"])
def test_phases_of_images(phase: str) -> None:
    """Their total and progress are counted in images."""
    tracked = tracker(Clock())
    tracked.notify(PhaseStarted(phase, 9))
    tracked.notify(MembersListed("i", Verdict(VerdictKind.LISTED)))
    tracked.notify(ImageSetShared("j", Verdict(VerdictKind.SET_SHARED)))
    tracked.notify(ImagesDone(3))
    assert (tracked.phase_done, tracked.counts_images) == (5, True)


def test_display_without_a_plan() -> None:
    """Where no pair is planned, the bar counts images, and nothing is said of results."""
    tracked = Tracker("import", {}, Clock(), allowed_rate=50)
    tracked.notify(PhaseStarted("listing", 4))
    tracked.notify(MembersListed("i", Verdict(VerdictKind.LISTED)))
    text, _ = shown(tracked)
    assert "1/4  25%" in text
    assert "listing 1/4 images" in text
    assert "shared" not in text


@pytest.mark.parametrize("width", [60, 80, 130])
def test_display_of_several_clouds(width: int) -> None:
    """A bar and a line for each, by the cloud's name."""
    clock = Clock()
    one, two = tracker(clock), tracker(clock, pending=7, allowed_rate=20)
    display = Display(Console(file=StringIO()))
    one.notify(PhaseStarted("listing", 4))
    two.notify(PhaseStarted("removing", 2))
    two.notify(PairsSettled(outcomes(2, Result.REMOVED)))
    console = Console(width=width)
    with (
        display.showing(View(one, label="eu-de")),
        display.showing(View(two, lambda: "throttled", label="eu-nl")),
        console.capture() as capture,
    ):
        console.print(display._render())
    text = capture.get()
    for part in ("0/100", "2/7", "2 removed", "throttled", "0/4 images", "of 20/s"):
        assert part in " ".join(text.split()), text
    assert text.count("eu-de") == text.count("eu-nl") == 2
    assert all(len(line) <= width for line in text.splitlines())


def test_display_shows_counts_rate_and_phase() -> None:
    """The display shows everything, even on a narrow terminal."""
    clock = Clock()
    tracked = tracker(clock)
    tracked.notify(PhaseStarted("sharing", 100))
    tracked.notify(PairsSettled(outcomes(30)))
    tracked.notify(BatchSent(25))
    tracked.notify(RestSettled("i", 7, Result.SKIPPED, "why"))
    tracked.notify(RetryScheduled("i", "m", Verdict(VerdictKind.TRANSIENT), 1.0))
    tracked.notify(Answered(Step.ADD, "i", "m", Verdict(VerdictKind.TRANSIENT), 0.1))
    clock.now += 10
    text, _ = shown(tracked, width=80, pace="2 of 16 in flight, throttled")
    for part in (
        *("nightly", "37/100  37%", "0:00:10 elapsed, 0:00:18 left", "30 shared", "0 already", "7 skipped", "1 retry"),
        *("of 50/s", "2 of 16 in flight, throttled", "sharing", "1 batch with 25 pairs"),
    ):
        assert part in " ".join(text.split("\n")), text
    assert all(len(line) <= 80 for line in text.splitlines())


GREEN, YELLOW, RED, GREY = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[90m"


@pytest.mark.parametrize(
    ("results", "colour"),
    [
        ([], GREY),
        ([Result.SHARED, Result.ALREADY, Result.REMOVED, Result.ABSENT], GREEN),
        ([Result.SHARED, Result.SKIPPED], YELLOW),
        ([Result.SKIPPED, Result.REJECTED], RED),
        ([Result.SHARED, Result.FAILED], RED),
    ],
)
def test_the_bar_has_the_colour_of_the_worst_result(results: list[Result], colour: str) -> None:
    """Green while all is well, red only for failures, however far it is."""
    for pending in (7, 7 * len(results), 1000):
        tracked = tracker(Clock(), pending=pending)
        tracked.notify(PhaseStarted("sharing", pending))
        for result in results:
            tracked.notify(PairsSettled(outcomes(7, result)))
        _, text = shown(tracked)
        bar = re.search(r"nightly (\x1b\[\d+m)[━╸]", text)
        assert bar is not None, text
        assert bar[1] == colour


def test_numbers_are_readable_and_never_rounded_up() -> None:
    """Thousands are separated, and 100 % is all."""
    tracked = tracker(Clock(), already=1_234_567, pending=1, allowed_rate=1e6)
    text, _ = shown(tracked)
    for part in ("1,234,567/1,234,568  99%", "1,234,567 already", "of 1,000,000/s", "0:00:00 elapsed"):
        assert part in text, text
    tracked.notify(PairsSettled(outcomes(1)))
    assert "1,234,568/1,234,568  100%" in shown(tracked)[0]


def test_log_has_trouble_at_warning_and_progress_now_and_then() -> None:
    """Failures are warnings, successes debug lines, and there is a progress line every ten seconds."""
    clock, lines = Clock(), Lines()
    tracked = tracker(clock)
    log = DetailedLog(tracked, lines, clock)
    tracked.notify(PhaseStarted("sharing", 100))
    log.notify(PairsSettled(outcomes(1)))
    log.notify(PairsSettled(outcomes(1, Result.FAILED)))
    log.notify(RetryScheduled("i", "m", Verdict(VerdictKind.TRANSIENT, "503: busy"), 1.0))
    clock.now += 11
    tracked.notify(PairsSettled(outcomes(2)))
    log.notify(PairsSettled(outcomes(1)))
    assert [(level, event) for level, event, _ in lines.lines] == [
        ("debug", "shared"),
        ("warning", "failed"),
        ("debug", "retry"),
        ("debug", "shared"),
        ("info", "progress"),
    ]
    assert lines.lines[-1][2]["done"] == 2


def test_pairs_that_were_settled_alike_are_counted_and_logged_one_by_one() -> None:
    """At debug; a result that is not as planned is a warning, once an image."""
    lines = Lines()
    tracked = tracker(Clock())
    log = DetailedLog(tracked, lines, Clock())
    present = Alike(Outcome("i", "ann", Result.ALREADY, 200), ["ann", "bob"])
    left_out = Alike(Outcome("i", "cid", Result.SKIPPED, reason="not shared"), ["cid", "dan"])
    for observer in (tracked, log):
        observer.notify(AlikeSettled([present, left_out]))
    assert tracked.totals == {Result.ALREADY: 2, Result.SKIPPED: 2}
    assert [(level, event, fields["member_id"]) for level, event, fields in lines.lines] == [
        ("debug", "already", "ann"),
        ("debug", "already", "bob"),
        ("warning", "skipped", "cid"),
        ("debug", "skipped", "dan"),
    ]


def test_log_has_a_reason_once_an_image() -> None:
    """In whatever way it comes, and with whichever project's ID in it; all else about it is a detail."""
    lines = Lines()
    log = DetailedLog(tracker(Clock()), lines, Clock())

    def bad(image_id: str, member_id: str, reason: str) -> PairsSettled:
        return PairsSettled([Outcome(image_id, member_id, Result.REJECTED, reason=reason)])

    for event in (
        MembersListed("i", Verdict(VerdictKind.REJECTED, "404: no image")),
        bad("i", "ann", "404: no image"),
        RestSettled("i", 299, Result.SKIPPED, "404: no image"),
        bad("j", "ann", "403: ann may not"),
        bad("j", "bob", "403: bob may not"),
        bad("j", "bob", "409: busy"),
        bad("k", "bob", "403: bob may not"),
    ):
        log.notify(event)
    assert [(level, fields["image_id"], fields["reason"]) for level, _, fields in lines.lines] == [
        ("warning", "i", "404: no image"),
        ("debug", "i", "404: no image"),
        ("debug", "i", "404: no image"),
        ("warning", "j", "403: ann may not"),
        ("debug", "j", "403: bob may not"),
        ("warning", "j", "409: busy"),
        ("warning", "k", "403: bob may not"),
    ]


def test_log_has_no_empty_fields() -> None:
    """Fields without a value are left out; removals and images set shared are logged."""
    lines, names = Lines(), dict[str, str]()
    log = DetailedLog(tracker(Clock()), lines, Clock(), names=names)
    log.notify(Answered(Step.LIST, "i", None, Verdict(VerdictKind.LISTED, http_status=200), 0.5))
    names["b"] = "acme"  # what is looked up meanwhile
    log.notify(RemovalsAhead("i", ["a", "b"]))
    log.notify(ImageSetShared("i", Verdict(VerdictKind.SET_SHARED)))
    log.notify(ImageSetShared("j", Verdict(VerdictKind.REJECTED, "403: no")))
    answer = {"step": "list", "image_id": "i", "verdict": "listed", "http_status": 200, "seconds": 0.5}
    assert lines.lines == [
        ("debug", "answer", answer),
        ("info", "to be removed", {"image_id": "i", "pairs": 2, "members": ["b  acme", "a"]}),
        ("debug", "to be removed", {"image_id": "i", "member_id": "a"}),
        ("debug", "to be removed", {"image_id": "i", "member_id": "b"}),
        ("info", "made shared", {"image_id": "i"}),
        ("warning", "not made shared", {"image_id": "j", "reason": "403: no"}),
    ]


def test_listings_remember_refusals() -> None:
    """An image that can't be listed is remembered with the reason."""
    listings = Listings()
    listings.notify(MembersListed("good", Verdict(VerdictKind.LISTED)))
    listings.notify(MembersListed("bad", Verdict(VerdictKind.REJECTED, "403: no")))
    assert listings.refused == {"bad": "403: no"}


def test_every_observer_is_notified() -> None:
    """In order, of every event."""
    listings, tracked = Listings(), tracker(Clock())
    both = Observers(tracked, listings)
    both.notify(PairsSettled(outcomes(3)))
    both.notify(MembersListed("bad", Verdict(VerdictKind.REJECTED, "403: no")))
    assert (tracked.done, tracked.phase_done, len(listings.refused)) == (3, 1, 1)


def test_clock_face() -> None:
    """Rounded up, so that it doesn't show 0:00:00 while there is work left."""
    assert [clock_face(s) for s in (0.2, 59.9, 3661)] == ["0:00:01", "0:01:00", "1:01:01"]
