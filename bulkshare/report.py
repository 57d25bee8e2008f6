"""From outcomes to what people and programs read: the summary, causes of failure, rows for export. Pure."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from bulkshare.model import AS_PLANNED, Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from rich.console import RenderableType

    from bulkshare.model import Outcome, Run

NOT_AS_PLANNED = frozenset(Result) - AS_PLANNED
SETTLED_BADLY = NOT_AS_PLANNED - {Result.PENDING}
UUID_LIKE = re.compile(r"\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b", re.IGNORECASE)
FORMULA_START = ("=", "+", "-", "@")  # what spreadsheets take for the beginning of a formula (OWASP, CSV injection)
COLUMNS = (
    "run",
    "image_id",
    "member_id",
    "result",
    "http_status",
    "status",
    "created_at",
    "updated_at",
    "schema",
    "attempts",
    "request_id",
    "reason",
    "started_at",
    "settled_at",
)
STYLES = {
    Result.SHARED: "green",
    Result.ALREADY: "green",
    Result.REJECTED: "red",
    Result.FAILED: "red",
    Result.SKIPPED: "yellow",
    Result.PENDING: "yellow",
}
MEANINGS = {
    Result.SHARED: "added by this run",
    Result.ALREADY: "was a member before",
    Result.REJECTED: "the cloud said no",
    Result.FAILED: "attempts used up",
    Result.SKIPPED: "not tried",
    Result.PENDING: "not finished",
}


@dataclass(frozen=True, slots=True)
class Cause:
    """A reason why pairs are not as planned, with the IDs taken out of it, and the first pair it befell."""

    result: Result
    reason: str
    count: int
    image_id: str
    member_id: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What one invocation did for a run. The counts are of all the run's pairs, the effort is this invocation's."""

    run: str | None  # None for a dry run, which the ledger does not keep
    plan: str
    totals: Mapping[Result, int]
    requests: int
    retries: int
    seconds: float
    causes: tuple[Cause, ...] = ()

    @property
    def planned(self) -> int:
        """How many pairs the run has."""
        return sum(self.totals.values())

    @property
    def as_planned(self) -> bool:
        """Whether every pair is what the plan says."""
        return not any(self.totals.get(result) for result in NOT_AS_PLANNED)


@dataclass(frozen=True, slots=True)
class Listed:
    """What a dry run learned: pairs that would be sent, by image, and images whose members could not be listed."""

    to_send: Mapping[str, int]
    refused: Mapping[str, str]


def summary_of(run: Run, causes: tuple[Cause, ...] = ()) -> Summary:
    """Return the summary of a run as the ledger has it, with the effort of all its invocations."""
    return Summary(run.key, run.plan, run.totals, run.requests, run.retries, run.seconds, causes)


def summary_document(summary: Summary) -> dict[str, Any]:
    """Return the summary as one JSON object: names as in the documentation of --json, seconds to the millisecond."""
    return {
        "run": summary.run,
        "plan": summary.plan,
        "planned": summary.planned,
        **{result.value: summary.totals.get(result, 0) for result in Result},
        "requests": summary.requests,
        "retries": summary.retries,
        "seconds": round(summary.seconds, 3),
    }


def causes_of(outcomes: Iterable[Outcome]) -> tuple[Cause, ...]:
    """Group outcomes by result and reason, the most frequent first; IDs in reasons don't keep them apart."""
    counts: Counter[tuple[Result, str]] = Counter()
    first: dict[tuple[Result, str], Outcome] = {}
    for outcome in outcomes:
        key = outcome.result, _without_ids(outcome)
        counts[key] += 1
        first.setdefault(key, outcome)
    return tuple(
        Cause(result, reason, count, first[result, reason].image_id, first[result, reason].member_id)
        for (result, reason), count in counts.most_common()
    )


def _without_ids(outcome: Outcome) -> str:
    reason = outcome.reason
    for word, instead in ((outcome.member_id, "<project>"), (outcome.image_id, "<image>")):
        if word in reason:
            reason = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", instead, reason)
    return UUID_LIKE.sub("<id>", reason)


def render_summary(summary: Summary, *, most_causes: int = 10) -> RenderableType:
    """Return the final table: pairs by result, then the causes of what went wrong, then where to read on."""
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False, show_footer=True)
    table.add_column("result", footer="planned")
    table.add_column("pairs", justify="right", footer=f"{summary.planned:,}")
    table.add_column("meaning", footer=_effort(summary))
    for result in Result:
        count = summary.totals.get(result, 0)
        if count or result in AS_PLANNED:
            style = STYLES[result] if count else "dim"
            table.add_row(Text(result.value, style=style), Text(f"{count:,}", style=style), Text(MEANINGS[result]))
    parts: list[RenderableType] = [Text(summary.run or summary.plan, style="bold"), table]
    parts += [_render_cause(cause) for cause in summary.causes[:most_causes]]
    if len(summary.causes) > most_causes:
        parts.append(Text(f"... and {len(summary.causes) - most_causes} other causes"))
    if summary.run and not summary.as_planned:
        parts.append(Text(f"See each pair: bulkshare show {summary.run} --failed"))
    return Group(*parts)


def render_dry_run(summary: Summary, listed: Listed, *, most_images: int = 50) -> RenderableType:
    """Return what a run would send: a row for each image that has something to do, or trouble ahead."""
    table = Table(box=box.SIMPLE, pad_edge=False, header_style="bold")
    table.add_column("image", overflow="fold")
    table.add_column("to share", justify="right")
    table.add_column("note", overflow="fold")
    images = list(dict.fromkeys([*listed.refused, *listed.to_send]))  # trouble first
    for image_id in images[:most_images]:
        reason = listed.refused.get(image_id)
        note = Text(f"members can't be listed: {reason}", style="red") if reason else Text()
        table.add_row(Text(image_id), Text(f"{listed.to_send.get(image_id, 0):,}"), note)
    parts: list[RenderableType] = [table] if images else []
    if len(images) > most_images:
        parts.append(Text(f"... and {len(images) - most_images:,} more images"))
    to_send, already = (summary.totals.get(result, 0) for result in (Result.PENDING, Result.ALREADY))
    parts.append(
        Text(f"Dry run: would share {to_send:,} pairs, {already:,} are members already; nothing was sent.", "bold")
    )
    return Group(*parts)


def _effort(summary: Summary) -> str:
    effort = f"{summary.requests:,} requests"
    if summary.retries:
        effort += f", {summary.retries:,} of them retries"
    return f"{effort}, {_duration(summary.seconds)}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _render_cause(cause: Cause) -> Text:
    line = Text(f"{cause.count:,} {cause.result.value}", style=STYLES[cause.result])
    line.append(f": {cause.reason or MEANINGS[cause.result]}", style="default")
    line.append(f"\n    first: image {cause.image_id}, project {cause.member_id}", style="dim")
    return line


def render_outcomes(outcomes: Iterable[Outcome]) -> RenderableType:
    """Return a table of pairs."""
    table = Table(box=box.SIMPLE, pad_edge=False, header_style="bold")
    for name in ("image", "project", "result", "http", "status", "attempts", "reason"):
        table.add_column(name, no_wrap=name in {"image", "project"}, overflow="fold")
    for outcome in outcomes:
        table.add_row(
            Text(outcome.image_id),
            Text(outcome.member_id),
            Text(outcome.result.value, style=STYLES[outcome.result]),
            Text(str(outcome.http_status or "")),
            Text(outcome.status or ""),
            Text(str(outcome.attempts)),
            Text(outcome.reason),
        )
    return table


def render_runs(runs: Iterable[Run]) -> RenderableType:
    """Return a table of runs, with a column for every result that occurs; a run's name has when it began, in UTC."""
    listed = list(runs)
    results = [result for result in Result if any(run.totals.get(result) for run in listed)]
    table = Table(box=box.SIMPLE, pad_edge=False, header_style="bold")
    table.add_column("run", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in ("took", "planned", *results):
        table.add_column(name, justify="right")
    table.add_column("cloud", overflow="fold")
    for run in listed:
        table.add_row(
            Text(run.key),
            Text(run.state.value),
            Text(_duration(run.seconds)),
            Text(f"{sum(run.totals.values()):,}"),
            *(Text(f"{run.totals.get(result, 0):,}", style=STYLES[result]) for result in results),
            Text(" ".join(part for part in (run.account.cloud, run.account.region) if part)),
        )
    return table


def row_of(run_key: str, outcome: Outcome) -> dict[str, Any]:
    """Return a pair as a row with `COLUMNS` as keys; times are ISO 8601 in UTC, unknown values None."""
    values = (
        run_key,
        outcome.image_id,
        outcome.member_id,
        outcome.result.value,
        outcome.http_status,
        outcome.status,
        _iso(outcome.created_at),
        _iso(outcome.updated_at),
        outcome.schema,
        outcome.attempts,
        outcome.request_id,
        outcome.reason,
        _iso(outcome.started_at, milliseconds=True),
        _iso(outcome.settled_at, milliseconds=True),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _iso(time: datetime | None, *, milliseconds: bool = False) -> str | None:
    """Return the form the Image API uses, "2026-01-02T03:04:05Z"; our own times with milliseconds."""
    if time is None:
        return None
    return time.isoformat(timespec="milliseconds" if milliseconds else "seconds").replace("+00:00", "Z")


def export_jsonl(run_key: str, outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Yield one JSON object a line for each pair."""
    for outcome in outcomes:
        yield json.dumps(row_of(run_key, outcome)) + "\n"


def export_csv(run_key: str, outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Yield CSV (RFC 4180) lines with a header, safe to open in a spreadsheet."""
    buffer = StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for outcome in outcomes:
        writer.writerow(_harmless(value) for value in row_of(run_key, outcome).values())
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_START) else value
