"""What follows from an answer: the table of decisions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.model import Case, Job, Kind, Member, Result, RetryPolicy, Scope, Step, Verdict
from bulkshare.retry import Send, Settle, backoff_seconds, decide

POLICY = RetryPolicy(attempts=3, base_seconds=1.0, cap_seconds=4.0)
JOB = Job("image", "member")
MEMBER = Member("image", "member", "pending")
SHARED = Verdict(Kind.SHARED, members=(MEMBER,), http_status=200)
PRESENT = Verdict(Kind.PRESENT, members=(MEMBER,), http_status=200)
CONFLICT = Verdict(Kind.PRESENT, "409", http_status=409)
ABSENT = Verdict(Kind.ABSENT, "404")
NO = Verdict(Kind.REJECTED, "403: no", Scope.IMAGE)
QUOTA = Verdict(Kind.OVER_QUOTA, "413: limit", Scope.IMAGE)
UNCLEAR = Verdict(Kind.UNCLEAR, "200, but", maybe_done=True)
LOST = Verdict(Kind.LOST, "time-out", maybe_done=True)
BROKEN = Verdict(Kind.TRANSIENT, "500", maybe_done=True)
UNSENT = Verdict(Kind.TRANSIENT, "refused")
SLOWER = Verdict(Kind.THROTTLED, "429", retry_after=7.0)


def play(*verdicts: Verdict) -> Settle | Send:
    """Feed verdicts to a new case until it settles, and return the last decision."""
    case = Case(JOB)
    for verdict in verdicts:
        decision = decide(POLICY, case, verdict, 0.5)
        if isinstance(decision, Settle):
            assert verdict is verdicts[-1], "settled early"
            return decision
        case = decision.case
    return decision


@pytest.mark.parametrize(
    ("verdicts", "result", "scope", "attempts"),
    [
        ((SHARED,), Result.SHARED, Scope.PAIR, 1),
        ((CONFLICT,), Result.ALREADY, Scope.PAIR, 1),
        ((NO,), Result.REJECTED, Scope.IMAGE, 1),
        ((QUOTA, PRESENT), Result.ALREADY, Scope.PAIR, 1),
        ((QUOTA, ABSENT), Result.REJECTED, Scope.IMAGE, 1),
        ((QUOTA, BROKEN, PRESENT), Result.ALREADY, Scope.PAIR, 1),
        ((QUOTA, BROKEN, BROKEN, BROKEN), Result.REJECTED, Scope.IMAGE, 1),
        ((QUOTA, NO), Result.REJECTED, Scope.IMAGE, 1),
        ((UNCLEAR, PRESENT), Result.SHARED, Scope.PAIR, 1),
        ((UNCLEAR, ABSENT, SHARED), Result.SHARED, Scope.PAIR, 2),
        ((LOST, PRESENT), Result.SHARED, Scope.PAIR, 1),
        ((LOST, ABSENT, SHARED), Result.SHARED, Scope.PAIR, 2),
        ((LOST, ABSENT, LOST, ABSENT, LOST, ABSENT), Result.FAILED, Scope.PAIR, 3),
        ((LOST, LOST, LOST, LOST), Result.FAILED, Scope.PAIR, 1),
        ((LOST, NO, SHARED), Result.SHARED, Scope.PAIR, 2),
        ((BROKEN, SHARED), Result.SHARED, Scope.PAIR, 2),
        ((BROKEN, CONFLICT), Result.ALREADY, Scope.PAIR, 2),
        ((BROKEN, BROKEN, BROKEN, PRESENT), Result.SHARED, Scope.PAIR, 3),
        ((BROKEN, BROKEN, BROKEN, ABSENT), Result.FAILED, Scope.PAIR, 3),
        ((UNSENT, UNSENT, UNSENT), Result.FAILED, Scope.PAIR, 3),
        ((SLOWER,) * 20 + (UNSENT, UNSENT, UNSENT), Result.FAILED, Scope.PAIR, 23),
        ((LOST, *(SLOWER,) * 20, PRESENT), Result.SHARED, Scope.PAIR, 1),
    ],
)
def test_decisions(verdicts: tuple[Verdict, ...], result: Result, scope: Scope, attempts: int) -> None:
    """Every way through the table ends where the design says."""
    decision = play(*verdicts)
    assert isinstance(decision, Settle)
    assert (decision.result, decision.scope, decision.case.posts) == (result, scope, attempts)


def test_a_lost_attempt_is_told_with_the_duplicate() -> None:
    """A 409 after a 500 may be our own doing; the reason says so."""
    decision = play(BROKEN, CONFLICT)
    assert isinstance(decision, Settle)
    assert "500" in decision.reason


def test_after_a_lost_answer_the_next_request_asks() -> None:
    """No second POST may meet the first one at work."""
    decision = play(LOST)
    assert isinstance(decision, Send)
    assert decision.case.step is Step.ASK
    assert decision.delay_seconds > 0


def test_backoff_is_full_jitter_under_a_cap() -> None:
    """The wait doubles up to the cap, and is scaled by the jitter."""
    waits = [backoff_seconds(POLICY, n, BROKEN, 0.999999) for n in (1, 2, 3, 4, 2000)]
    assert waits == pytest.approx([1, 2, 4, 4, 4], rel=1e-5)
    assert backoff_seconds(POLICY, 3, BROKEN, 0.0) == 0.0


def test_retry_after_is_a_floor() -> None:
    """What the server asks for is kept, with up to one base on top."""
    assert backoff_seconds(POLICY, 1, SLOWER, 0.5) == 7.5


@given(
    st.lists(st.sampled_from([UNCLEAR, LOST, BROKEN, UNSENT, ABSENT, QUOTA, NO, CONFLICT]), min_size=60),
    st.integers(1, 6),
)
def test_every_case_settles(verdicts: list[Verdict], attempts: int) -> None:
    """Whatever the answers, a pair settles within its attempts, each followed by as many questions at most."""
    policy = RetryPolicy(attempts=attempts)
    case, sent = Case(JOB), 0
    for verdict in verdicts:
        sent += 1
        decision = decide(policy, case, verdict, 0.5)
        if isinstance(decision, Settle):
            assert decision.case.posts <= attempts
            break
        case = decision.case
    assert isinstance(decision, Settle)
    assert sent <= attempts * (attempts + 1)
