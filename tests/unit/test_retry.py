"""What follows an answer: the table of decisions, the waits and the budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.engine.retry import RetryBudget, Send, Settle, decide, excuse, first_attempt, is_repeat
from bulkshare.model import (
    UNLIMITED,
    Job,
    Member,
    Result,
    RetryPolicy,
    RetryState,
    Scope,
    Step,
    Verdict,
    VerdictKind,
    Want,
    backoff_seconds,
)

POLICY = RetryPolicy(attempts=3, base_seconds=1.0, cap_seconds=4.0)
JOB = Job("image", "member")
MEMBER = Member("image", "member", "pending")
SHARED = Verdict(VerdictKind.SHARED, members=(MEMBER,), http_status=200)
PRESENT = Verdict(VerdictKind.PRESENT, members=(MEMBER,), http_status=200)
CONFLICT = Verdict(VerdictKind.PRESENT, "409", http_status=409)
ABSENT = Verdict(VerdictKind.ABSENT, "404")
NO = Verdict(VerdictKind.REJECTED, "403: no", Scope.IMAGE)
QUOTA = Verdict(VerdictKind.OVER_QUOTA, "413: limit", Scope.IMAGE)
UNCLEAR = Verdict(VerdictKind.UNCLEAR, "200, but", maybe_done=True)
LOST = Verdict(VerdictKind.LOST, "time-out", maybe_done=True)
BROKEN = Verdict(VerdictKind.TRANSIENT, "500", maybe_done=True)
UNSENT = Verdict(VerdictKind.TRANSIENT, "refused")
SLOWER = Verdict(VerdictKind.THROTTLED, "429", retry_after=7.0)
ACCEPTED = Verdict(VerdictKind.ACCEPTED, members=(Member("image", "member", "accepted"),), http_status=200)
TAKEN = Verdict(VerdictKind.PRESENT, members=(Member("image", "member", "accepted"),), http_status=200)
SPURNED = Verdict(VerdictKind.PRESENT, members=(Member("image", "member", "rejected"),), http_status=200)
REFUSED = Verdict(VerdictKind.REJECTED, "403: no")
REMOVED = Verdict(VerdictKind.REMOVED, http_status=204)
GONE_IMAGE = Verdict(VerdictKind.ABSENT, "404: Image image not found.", Scope.IMAGE)

ANSWERS = [UNCLEAR, LOST, BROKEN, UNSENT, ABSENT, GONE_IMAGE, QUOTA, NO, CONFLICT, PRESENT, SPURNED, ACCEPTED, REMOVED]

ACCEPT = Want.ACCEPTED
FORCE = Want.ACCEPTED | Want.FORCED
LISTED = Want.ACCEPTED | Want.ALREADY_MEMBER


def play(*verdicts: Verdict, want: Want = Want.MEMBER) -> Settle | Send:
    """Feed verdicts to a new attempt until it settles, and return the last decision."""
    attempt = first_attempt(Job("image", "member", want))
    for verdict in verdicts:
        decision = decide(POLICY, attempt, verdict, 0.5)
        if isinstance(decision, Settle):
            assert verdict is verdicts[-1], "settled early"
            return decision
        attempt = decision.attempt
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
    """Every sequence of answers ends in the right result."""
    decision = play(*verdicts)
    assert isinstance(decision, Settle)
    assert (decision.result, decision.scope, decision.attempt.posts) == (result, scope, attempts)


def test_a_lost_attempt_is_mentioned_with_the_duplicate() -> None:
    """A 409 after a 500 may be due to our own POST; the reason says so."""
    decision = play(BROKEN, CONFLICT)
    assert isinstance(decision, Settle)
    assert "500" in decision.reason


def test_a_lost_answer_is_followed_by_a_get() -> None:
    """A second POST must not overlap with the first."""
    decision = play(LOST)
    assert isinstance(decision, Send)
    assert decision.attempt.step is Step.GET_MEMBER
    assert decision.delay_seconds > 0


@pytest.mark.parametrize("want", [Want.MEMBER, ACCEPT, Want.REMOVE, LISTED])
def test_what_a_stop_kept_from_leaving_is_no_attempt(want: Want) -> None:
    """The attempt stays unchanged, even if it is the last one."""
    attempt = first_attempt(Job("image", "member", want))
    decision = decide(RetryPolicy(attempts=1), attempt, Verdict(VerdictKind.NOT_SENT, "not sent"), 0.5)
    assert decision == Send(attempt, 0.0)


def test_backoff_is_full_jitter_under_a_cap() -> None:
    """The wait doubles up to the cap, and is scaled by the jitter."""
    waits = [backoff_seconds(POLICY, n, None, 0.999999) for n in (1, 2, 3, 4, 2000)]
    assert waits == pytest.approx([1, 2, 4, 4, 4], rel=1e-5)
    assert backoff_seconds(POLICY, 3, None, 0.0) == 0.0


def test_retry_after_is_a_floor() -> None:
    """The wait is what the server asks for, plus up to one base."""
    assert backoff_seconds(POLICY, 1, 7.0, 0.5) == 7.5


def test_attempts_run_out() -> None:
    """There is no wait after the last attempt."""
    state = RetryState(POLICY, lambda: 0.5)
    assert [state.next_delay() for _ in range(3)] == [0.5, 1.0, None]
    assert state.failures == 3


def test_an_excused_failure_exhausts_no_attempts() -> None:
    """It lengthens the wait all the same; once the endpoint answers, the attempts count again."""
    state = RetryState(POLICY)
    assert [state.next_delay(excused=True) for _ in range(5)] == [1.0, 2.0, 4.0, 4.0, 4.0]
    assert state.next_delay() is None


def test_time_runs_out() -> None:
    """No wait ends after the total time, which may be the only limit."""
    state = RetryState(RetryPolicy(UNLIMITED, base_seconds=0.5, cap_seconds=0.5), total_seconds=60.0)
    elapsed_seconds, waits = 0.0, 0
    while (delay_seconds := state.next_delay(elapsed_seconds=elapsed_seconds)) is not None:
        elapsed_seconds += delay_seconds
        waits += 1
    assert (elapsed_seconds, waits) == (60.0, 120)


@pytest.mark.parametrize(
    ("want", "verdicts", "result", "status", "reason"),
    [
        (ACCEPT, (SHARED, ACCEPTED), Result.SHARED, "accepted", ""),
        (ACCEPT, (CONFLICT, PRESENT, ACCEPTED), Result.ACCEPTED, "accepted", ""),
        (ACCEPT, (CONFLICT, TAKEN), Result.ALREADY, "accepted", ""),
        (ACCEPT, (CONFLICT, SPURNED), Result.ALREADY, "rejected", "the project has rejected it; left so"),
        (ACCEPT, (CONFLICT, ABSENT, SHARED, ACCEPTED), Result.SHARED, "accepted", ""),
        (ACCEPT, (CONFLICT, BROKEN, BROKEN, BROKEN), Result.FAILED, None, "shared, but not accepted: asking"),
        (ACCEPT, (CONFLICT, NO), Result.REJECTED, None, "shared, but not accepted: asking"),
        (ACCEPT, (QUOTA, PRESENT, ACCEPTED), Result.ACCEPTED, "accepted", ""),
        (ACCEPT, (LOST, PRESENT, ACCEPTED), Result.SHARED, "accepted", "the answer to the request was lost"),
        (ACCEPT, (LOST, SPURNED), Result.ALREADY, "rejected", "the project has rejected it; left so"),
        (ACCEPT, (SHARED, REFUSED), Result.REJECTED, "pending", "shared, but not accepted: 403: no"),
        (ACCEPT, (SHARED, LOST, UNCLEAR, ACCEPTED), Result.SHARED, "accepted", ""),
        (
            ACCEPT,
            (SHARED, BROKEN, BROKEN, BROKEN),
            Result.FAILED,
            "pending",
            "shared, but not accepted: gave up after 3",
        ),
        (ACCEPT, (SHARED, *(SLOWER,) * 20, ACCEPTED), Result.SHARED, "accepted", ""),
        (ACCEPT, (NO,), Result.REJECTED, None, "403: no"),
        (FORCE, (CONFLICT, PRESENT, ACCEPTED), Result.ACCEPTED, "accepted", ""),
        (FORCE, (CONFLICT, SPURNED, ACCEPTED), Result.ACCEPTED, "accepted", ""),
        (FORCE, (CONFLICT, TAKEN), Result.ALREADY, "accepted", ""),
        (FORCE, (LOST, SPURNED, ACCEPTED), Result.SHARED, "accepted", "the answer to the request was lost"),
        (LISTED, (ACCEPTED,), Result.ACCEPTED, "accepted", ""),
        (LISTED, (LOST, SLOWER, ACCEPTED), Result.ACCEPTED, "accepted", ""),
        (LISTED, (REFUSED,), Result.REJECTED, None, "shared, but not accepted: 403: no"),
    ],
)
def test_acceptance(want: Want, verdicts: tuple[Verdict, ...], result: Result, status: str | None, reason: str) -> None:
    """A member is accepted after it was added or found, after a GET if its status is unknown."""
    decision = play(*verdicts, want=want)
    assert isinstance(decision, Settle)
    assert (decision.result, decision.scope) == (result, decision.verdict.scope if verdicts == (NO,) else Scope.PAIR)
    told = (*decision.verdict.members, *filter(None, [decision.attempt.member]))
    assert (told[0].status if told else None) == status
    assert decision.reason.startswith(reason)
    assert bool(decision.reason) == bool(reason)


@pytest.mark.parametrize(
    ("verdicts", "result", "scope", "tries"),
    [
        ((REMOVED,), Result.REMOVED, Scope.PAIR, 1),
        ((ABSENT, ABSENT), Result.ABSENT, Scope.PAIR, 1),
        ((GONE_IMAGE, GONE_IMAGE), Result.REJECTED, Scope.IMAGE, 1),
        ((ABSENT, PRESENT, REMOVED), Result.REMOVED, Scope.PAIR, 2),
        ((ABSENT, PRESENT) * 3, Result.FAILED, Scope.PAIR, 3),
        ((LOST, ABSENT), Result.REMOVED, Scope.PAIR, 1),
        ((LOST, PRESENT, REMOVED), Result.REMOVED, Scope.PAIR, 2),
        ((LOST, BROKEN, BROKEN, BROKEN), Result.FAILED, Scope.PAIR, 1),
        ((LOST, NO, REMOVED), Result.REMOVED, Scope.PAIR, 2),
        ((UNCLEAR, ABSENT), Result.REMOVED, Scope.PAIR, 1),
        ((BROKEN, REMOVED), Result.REMOVED, Scope.PAIR, 2),
        ((BROKEN, ABSENT, ABSENT), Result.REMOVED, Scope.PAIR, 2),
        ((BROKEN, BROKEN, BROKEN, ABSENT), Result.REMOVED, Scope.PAIR, 3),
        ((BROKEN, BROKEN, BROKEN, PRESENT), Result.FAILED, Scope.PAIR, 3),
        ((UNSENT, UNSENT, UNSENT), Result.FAILED, Scope.PAIR, 3),
        ((*(SLOWER,) * 20, REMOVED), Result.REMOVED, Scope.PAIR, 21),
        ((NO,), Result.REJECTED, Scope.IMAGE, 1),
        ((REFUSED,), Result.REJECTED, Scope.PAIR, 1),
    ],
)
def test_removal(verdicts: tuple[Verdict, ...], result: Result, scope: Scope, tries: int) -> None:
    """A member is removed, or absent if a GET shows that it is the member that is missing."""
    decision = play(*verdicts, want=Want.REMOVE)
    assert isinstance(decision, Settle)
    assert (decision.result, decision.scope, decision.attempt.tries) == (result, scope, tries)
    assert decision.attempt.posts == 0


def test_what_is_a_repeat() -> None:
    """The first request of each step is not a repeat; the retry budget is for those that are."""
    sent = [
        play(*verdicts, want=ACCEPT) for verdicts in [(SHARED,), (SHARED, BROKEN), (BROKEN,), (LOST,), (LOST, BROKEN)]
    ]
    assert [is_repeat(decision.attempt) for decision in sent] == [False, True, True, False, True]
    assert not is_repeat(first_attempt(Job("image", "member", Want.REMOVE)))


@pytest.mark.parametrize(
    ("want", "verdicts", "step"),
    [
        (ACCEPT, (UNSENT, UNSENT, UNSENT), Step.ADD),
        (ACCEPT, (LOST, LOST, LOST, LOST), Step.GET_MEMBER),
        (ACCEPT, (SHARED, UNSENT, UNSENT, UNSENT), Step.ACCEPT),
        (ACCEPT, (CONFLICT, UNSENT, UNSENT, UNSENT), Step.GET_MEMBER),
        (Want.REMOVE, (UNSENT, UNSENT, UNSENT), Step.REMOVE),
        (Want.REMOVE, (LOST, LOST, LOST, LOST), Step.GET_MEMBER),
    ],
)
def test_an_excused_pair_continues_at_the_same_step(want: Want, verdicts: tuple[Verdict, ...], step: Step) -> None:
    """If the endpoint failed, a pair gets all its attempts back."""
    failed = play(*verdicts, want=want)
    assert isinstance(failed, Settle)
    attempt = excuse(POLICY, failed, 0.5).attempt
    assert (attempt.step, attempt.gets) == (step, 0)
    again = decide(POLICY, attempt, UNSENT, 0.5)
    assert isinstance(again, Send)


def test_the_budget() -> None:
    """Ten retries, one more for five first tries, and refunds for those that helped."""
    budget = RetryBudget()
    assert [budget.withdraw() for _ in range(11)] == [True] * 10 + [False]
    for _ in range(5):
        budget.deposit()
    assert [budget.withdraw(), budget.withdraw()] == [True, False]
    budget.refund()
    assert [budget.withdraw(), budget.withdraw()] == [True, False]


@given(
    st.lists(
        st.sampled_from(ANSWERS),
        min_size=100,
    ),
    st.integers(1, 6),
    st.sampled_from([Want.MEMBER, ACCEPT, FORCE, LISTED, Want.REMOVE]),
)
def test_every_attempt_settles(verdicts: list[Verdict], attempts: int, want: Want) -> None:
    """Whatever the answers, a pair settles within its attempts, each followed by as many GETs at most.

    A pair that is added and then accepted has its attempts for each of the two.
    """
    policy = RetryPolicy(attempts=attempts)
    attempt, sent = first_attempt(Job("image", "member", want)), 0
    for verdict in verdicts:
        sent += 1
        decision = decide(policy, attempt, verdict, 0.5)
        if isinstance(decision, Settle):
            assert decision.attempt.posts <= attempts
            assert decision.attempt.tries <= attempts
            break
        attempt = decision.attempt
    assert isinstance(decision, Settle)
    both = Want.ACCEPTED in want and Want.ALREADY_MEMBER not in want
    assert sent <= (2 * attempts * (attempts + 1) if both else attempts * (attempts + 1) + attempts)
