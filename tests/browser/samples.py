"""Pages of several kinds of runs, for the tests and for a look by eye."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bulkshare.model import Account, Origin, Outcome, Result, Run, RunState, Telemetry
from bulkshare.report import SETTLED_BADLY, causes_of, run_status_of, total_of
from bulkshare.report.history import Change, Flapping, History, PastRun
from bulkshare.report.html import Page

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BEGAN = datetime(2026, 1, 2, 3, 15, 0, tzinfo=UTC)
ACCOUNT = Account("prod", "eu-de", "https://images.example/v2", "alice", "golden", "0123456789abcdef0123456789abcdef")
HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"><!-- \u202egpj.exe"
)


def uuid(number: int) -> str:
    """Return an image ID."""
    return f"{number:08x}-1bc3-4c3f-893e-{number:012x}"


def project_id(number: int) -> str:
    """Return a project ID."""
    return f"{number:032x}"


def pair(image: int, project: int, result: Result, second: float = 0.0) -> Outcome:
    """Return the outcome of a pair."""
    settled = result is not Result.PENDING
    reason = {
        Result.REJECTED: f"404: No image found with ID {uuid(image)}",
        Result.FAILED: "503: Service Unavailable, after 6 attempts",
        Result.SKIPPED: f"409: image {uuid(image)} has reached its quota of 128 members",
    }.get(result, "")
    status = {Result.SHARED: "pending", Result.ALREADY: "accepted"}.get(result)
    http = {Result.SHARED: 200, Result.REJECTED: 404, Result.FAILED: 503, Result.ALREADY: 200, Result.REMOVED: 204}
    return Outcome(
        uuid(image),
        project_id(project),
        result,
        http_status=http.get(result),
        status=status,
        attempts={Result.SHARED: 1, Result.REJECTED: 1, Result.FAILED: 6, Result.REMOVED: 1}.get(result, 0),
        request_id=f"req-{uuid(image * 1000 + project)}" if result in http else None,
        reason=reason,
        settled_at=BEGAN + timedelta(seconds=second) if settled else None,
    )


def pairs(images: int, projects: int, results: Sequence[Result], weights: Sequence[float]) -> list[Outcome]:
    """Return all pairs of `images` and `projects`, with results drawn by weight and a fixed seed."""
    draw = random.Random(7)
    count = images * projects
    drawn = draw.choices(results, weights, k=count)
    return [pair(i // projects, i % projects, drawn[i], i / 40) for i in range(count)]


def run_of(outcomes: Iterable[Outcome], key: str = "golden-nightly-20260102-0315-1") -> Run:
    """Return the run of these outcomes."""
    totals = Counter(outcome.result for outcome in outcomes)
    state = RunState.INTERRUPTED if totals[Result.PENDING] else RunState.FINISHED
    return Run(
        id=1,
        key=key,
        plan="golden-nightly",
        fingerprint="f" * 64,
        account=ACCOUNT,
        state=state,
        started_at=BEGAN,
        finished_at=BEGAN + timedelta(minutes=4),
        host="mgmt-1",
        requests=sum(totals.values()) + 7,
        retries=3,
        seconds=240.5,
        totals={result: totals[result] for result in Result},
        enqueued=True,
    )


def telemetry(seconds: int, began_at: datetime = BEGAN) -> Telemetry:
    """Return the telemetry of a run that speeds up, is throttled once, and recovers."""
    requests, troubled, allowed = [], [], []
    window = 4.0
    for second in range(seconds):
        trouble = seconds // 3 < second < seconds // 3 + 4
        window = max(2.0, window / 2) if trouble else min(16.0, window + 1)
        requests.append(round(window * 3 + 4 * math.sin(second)))
        troubled.append(requests[-1] // 2 if trouble else 0)
        allowed.append(int(window))
    total = sum(requests)
    shares = {0.032: 0.08, 0.064: 0.5, 0.128: 0.3, 0.256: 0.09, 1.024: 0.02, 65.536: 0.01}
    latency = {bound: round(total * share) for bound, share in shares.items()}
    statuses = {"200": total - sum(troubled), "429": sum(troubled), "no answer": 2}
    return Telemetry(began_at, 1.0, tuple(requests), tuple(troubled), tuple(allowed), latency, statuses)


def labels(images: int, projects: int) -> dict[str, str]:
    """Return names for all images and most of the projects."""
    names = {uuid(number): f"ubuntu-24.04-build{number:03}" for number in range(images)}
    return names | {project_id(number): f"team-{number:03}" for number in range(projects) if number % 7}


def page_of(outcomes: Sequence[Outcome], before: Sequence[Outcome] | None = None) -> Page:
    """Return the page of a run with these outcomes, without names and telemetry."""
    earlier = None
    if before is not None:
        earlier = replace(run_of(before, "golden-nightly-20260101-0315-1"), id=0, started_at=BEGAN - timedelta(days=1))
    return Page(
        run=run_of(outcomes),
        outcomes=outcomes,
        before=earlier,
        outcomes_before=before or (),
        causes=causes_of(outcome for outcome in outcomes if outcome.result in SETTLED_BADLY),
        made_at=BEGAN + timedelta(hours=1),
    )


def origin(name: str = "ops") -> Origin:
    """Return where a run comes from."""
    command = "bulkshare run golden.yaml --rate 20"
    return Origin("/etc/bulkshare/golden.yaml", "9f" * 32, "0.1.0", command, name, "mgmt-1")


def history(run: Run) -> History:
    """Return 30 nights up to `run`: quiet ones, changes, failures, an early end and a kill; one pair flaps."""
    past = []
    totals = ({Result.ALREADY: 36}, {Result.ALREADY: 30, Result.SHARED: 6}, {Result.ALREADY: 30, Result.FAILED: 6})
    for number in range(29):
        began = BEGAN - timedelta(days=29 - number)
        state = {11: RunState.INTERRUPTED, 12: RunState.RUNNING}.get(number, RunState.FINISHED)
        kind = {3: 1, 9: 2, 10: 2, 20: 1}.get(number, 0)
        one = replace(run, id=number - 100, key=f"nightly-{number}", state=state, started_at=began, totals=totals[kind])
        changes = ({}, {Change.SHARED: 6}, {Change.FAILING: 6})[kind]
        past.append(PastRun(run_status_of(one, dead=True), f"nightly-{number - 1}" if number else None, changes))
    last = PastRun(run_status_of(run), "nightly-28", {Change.SHARED: 13, Change.FAILING: 1}, gone=12)
    results = (Result.ALREADY,) * 9 + (Result.FAILED, Result.SHARED) * 3 + (Result.ALREADY,) * 15
    flapping = Flapping(uuid(1), project_id(3), results, 3)
    return History([*past, last], [flapping], 1, {uuid(1): "ubuntu-24.04-build001"})


def small() -> Page:
    """Return three images with twelve projects, some failures, and an earlier run."""
    results = (Result.ALREADY, Result.SHARED, Result.FAILED, Result.REJECTED, Result.SKIPPED, Result.REMOVED)
    now = pairs(3, 12, results, (10, 12, 2, 2, 2, 2))
    before = pairs(4, 12, (Result.SHARED, Result.FAILED), (9, 2))
    later = BEGAN + timedelta(minutes=3)
    page = page_of(now, before)
    run = replace(page.run, origins=(origin(), origin("root")))
    series = telemetry(90), telemetry(40, later)
    return replace(page, run=run, labels=labels(3, 12), telemetry=series, history=history(run))


def several() -> Page:
    """Return runs of one command on two clouds that have an image in common; only the first has an earlier run."""
    first = small()
    account = replace(ACCOUNT, cloud="west", endpoint="https://images.west.example/v2")
    other = page_of(pairs(2, 5, (Result.ALREADY, Result.ACCEPTED), (3, 2)))
    west = replace(other, run=replace(other.run, key="golden-nightly-20260102-0315-2", account=account, opened=1))
    parts = (first, replace(west, telemetry=(telemetry(20),)))
    total = total_of([run_status_of(part.run) for part in parts]).run
    return Page(run=total, outcomes=(), made_at=first.made_at, labels=first.labels, parts=parts)


def large(images: int = 500, projects: int = 200) -> Page:
    """Return 100,000 pairs, nearly all as planned."""
    now = pairs(images, projects, (Result.ALREADY, Result.SHARED, Result.FAILED, Result.REJECTED), (900, 90, 2, 1))
    before = pairs(images, projects, (Result.SHARED, Result.FAILED), (300, 1))
    return replace(page_of(now, before), labels=labels(images, projects), telemetry=(telemetry(600),))


def failed() -> Page:
    """Return a run in which every pair failed."""
    return replace(page_of(pairs(40, 60, (Result.FAILED, Result.REJECTED, Result.SKIPPED), (5, 1, 1))), telemetry=())


def hostile() -> Page:
    """Return a run in which every text of a server or a user attempts an injection."""
    outcomes = [
        pair(0, 0, Result.FAILED)._replace(reason=HOSTILE, status=HOSTILE, request_id=HOSTILE),
        Outcome(HOSTILE, HOSTILE, Result.SHARED, status=HOSTILE),
    ]
    page = page_of(outcomes)
    account = Account(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    names = {text: f"{HOSTILE} {text}" for text in (uuid(0), project_id(0), HOSTILE)}
    trouble = replace(telemetry(3), statuses={HOSTILE: 3})
    run = replace(page.run, plan=HOSTILE, key=HOSTILE, host=HOSTILE, account=account)
    run = replace(run, origins=(Origin(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE),))
    flapping = Flapping(HOSTILE, HOSTILE, (Result.ALREADY, Result.FAILED), 2)
    past = History([PastRun(run_status_of(run), HOSTILE)], [flapping], 1, names)
    return replace(page, run=run, labels=names, telemetry=(trouble,), history=past, ledger=HOSTILE)
