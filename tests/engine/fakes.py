"""Stand-ins for the edges: a cloud without sockets, a ledger in memory, an observer that remembers."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio

from bulkshare.model import (
    Job,
    Member,
    Outcome,
    Reply,
    Request,
    Response,
    Result,
    Step,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def response(status: int, document: Any = None, **headers: str) -> Response:
    """Return a Response with a JSON body."""
    body = b"" if document is None else json.dumps(document).encode()
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def member_document(image_id: str, member_id: str) -> dict[str, str]:
    """Return a member as Glance writes it."""
    return {
        "image_id": image_id,
        "member_id": member_id,
        "status": "pending",
        "created_at": "2026-01-02T03:04:05Z",
        "updated_at": "2026-01-02T03:04:05Z",
        "schema": "/v2/schemas/member",
    }


@dataclass
class FakeCloud:
    """A Transport with members in a set. `script` may answer, hang or raise before the cloud does."""

    members: set[tuple[str, str]] = field(default_factory=set)
    script: Callable[[Request, int], Reply | None] = lambda _request, _count: None
    latency_seconds: float = 0.01
    sent: list[tuple[float, Request]] = field(default_factory=list)
    in_flight: Counter[str] = field(default_factory=Counter)
    most_in_flight: Counter[str] = field(default_factory=Counter)

    async def send(self, request: Request) -> Reply:
        """Answer as Glance would."""
        self.sent.append((anyio.current_time(), request))
        image_id = (*request.path.split("/"), "")[3]  # a probe names no image
        keys = ["all", image_id, f"{request.path} {request.body!r}"]
        for key in keys:
            self.in_flight[key] += 1
            self.most_in_flight[key] = max(self.most_in_flight[key], self.in_flight[key])
        try:
            await anyio.sleep(self.latency_seconds)
            return self.script(request, len(self.sent)) or self._answer(request, image_id)
        finally:
            self.in_flight.subtract(keys)

    def _answer(self, request: Request, image_id: str) -> Reply:
        if request.method == "POST":
            assert request.body is not None
            member_id = json.loads(request.body)["member"]
            if (image_id, member_id) in self.members:
                return response(409)
            self.members.add((image_id, member_id))
            return response(200, member_document(image_id, member_id))
        *_, last = request.path.split("/")
        if not image_id:
            return response(200, {"images": []})
        if last == "members":
            listed = [member_document(image_id, member) for image, member in sorted(self.members) if image == image_id]
            return response(200, {"members": listed})
        found = (image_id, last) in self.members
        return response(200, member_document(image_id, last)) if found else response(404)

    def count(self, method: str) -> int:
        """Return how many requests of a method came."""
        return sum(1 for _, request in self.sent if request.method == method)


@dataclass
class MemoryLedger:
    """The part of the Ledger port that an engine uses, in a dict in the order of enqueueing."""

    rows: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    commits: list[int] = field(default_factory=list)
    break_after: int | None = None

    def enqueue_all(self, jobs: Sequence[tuple[str, str]]) -> None:
        """Add pending pairs."""
        for image_id, member_id in jobs:
            self.rows.setdefault((image_id, member_id), Outcome(image_id, member_id, Result.PENDING))

    def pending_images(self, run_id: int, *, after: str | None, limit: int) -> list[tuple[str, int]]:
        """See the port."""
        del run_id
        counts = Counter(image for (image, _), row in self.rows.items() if row.result is Result.PENDING)
        ordered = sorted(counts.items())
        return [item for item in ordered if after is None or item[0] > after][:limit]

    def pending_jobs(self, run_id: int, image_id: str, *, after: str | None, limit: int) -> list[Job]:
        """See the port."""
        del run_id
        pending = sorted(m for (i, m), row in self.rows.items() if i == image_id and row.result is Result.PENDING)
        return [Job(image_id, member) for member in pending if after is None or member > after][:limit]

    def settle(self, run_id: int, outcomes: Sequence[Outcome]) -> None:
        """See the port."""
        del run_id
        if self.break_after is not None and len(self.commits) >= self.break_after:
            from bulkshare.errors import LedgerError  # noqa: PLC0415  only this failure needs it

            raise LedgerError("disk full")
        self.commits.append(len(outcomes))
        for outcome in outcomes:
            assert (outcome.image_id, outcome.member_id) in self.rows
            self.rows[outcome.image_id, outcome.member_id] = outcome

    def settle_rest(self, run_id: int, image_id: str, *, result: Result, reason: str, now: datetime) -> int:
        """See the port."""
        rest = self.pending_jobs(run_id, image_id, after=None, limit=10**9)
        for _, member, _ in rest:
            self.rows[image_id, member] = Outcome(image_id, member, result, reason=reason, settled_at=now)
        return len(rest)

    def undescribed(self, run_id: int, *, after: str | None, limit: int) -> list[tuple[str, list[str]]]:
        """See the port."""
        del run_id
        found: dict[str, list[str]] = {}
        for (image, member), row in self.rows.items():
            if row.result is Result.ALREADY and row.created_at is None:
                found.setdefault(image, []).append(member)
        return [item for item in sorted(found.items()) if after is None or item[0] > after][:limit]

    def describe(self, run_id: int, members: Sequence[Member]) -> None:
        """See the port."""
        del run_id
        from dataclasses import replace  # noqa: PLC0415  only here

        for member in members:
            key = member.image_id, member.member_id
            self.rows[key] = replace(
                self.rows[key], status=member.status, created_at=member.created_at, schema=member.schema
            )

    def totals(self, run_id: int) -> dict[Result, int]:
        """See the port."""
        del run_id
        counts = Counter(row.result for row in self.rows.values())
        return {result: counts[result] for result in Result}

    def results(self) -> dict[tuple[str, str], Result]:
        """Return the result of every pair."""
        return {key: row.result for key, row in self.rows.items()}


@dataclass
class Recording:
    """An Observer that remembers."""

    phases: list[tuple[str, int]] = field(default_factory=list)
    shown: list[Outcome] = field(default_factory=list)
    rests: list[tuple[str, int, Result, str]] = field(default_factory=list)
    retried: list[tuple[Job | str, Verdict, float]] = field(default_factory=list)
    answers: list[tuple[Step, Verdict]] = field(default_factory=list)
    listings: dict[str, Verdict] = field(default_factory=dict)

    def phase(self, name: str, total: int) -> None:
        """See the port."""
        self.phases.append((name, total))

    def answered(self, step: Step, image_id: str, member_id: str | None, verdict: Verdict, seconds: float) -> None:
        """See the port."""
        del image_id, member_id, seconds
        self.answers.append((step, verdict))

    def retrying(self, job: Job | str, verdict: Verdict, delay_seconds: float) -> None:
        """See the port."""
        self.retried.append((job, verdict, delay_seconds))

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """See the port."""
        self.shown.extend(outcomes)

    def settled_rest(self, image_id: str, count: int, result: Result, reason: str) -> None:
        """See the port."""
        self.rests.append((image_id, count, result, reason))

    def listed(self, image_id: str, verdict: Verdict) -> None:
        """See the port."""
        self.listings[image_id] = verdict
