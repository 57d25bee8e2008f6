"""What people read: tables of results, pairs and runs. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from bulkshare.model import Result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from bulkshare.model import Outcome, Run
    from bulkshare.report.summary import Cause, Listed, Summary

STYLES = {
    Result.SHARED: "green",
    Result.ALREADY: "green",
    Result.REJECTED: "red",
    Result.FAILED: "red",
    Result.SKIPPED: "yellow",
    Result.PENDING: "yellow",
    Result.REMOVED: "green",
    Result.ABSENT: "green",
}
MEANINGS = {
    Result.SHARED: "added by this run",
    Result.ALREADY: "was a member before",
    Result.REJECTED: "the cloud said no",
    Result.FAILED: "attempts used up",
    Result.SKIPPED: "not tried",
    Result.PENDING: "not finished",
    Result.REMOVED: "removed by this run",
    Result.ABSENT: "was no member",
}


def render_summary(summary: Summary, *, most_causes: int = 10) -> RenderableType:
    """Return the final table: pairs by result, then the causes of what went wrong, then where to read on."""
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False, show_footer=True)
    table.add_column("result", footer="planned")
    table.add_column("pairs", justify="right", footer=f"{summary.planned:,}")
    table.add_column("meaning", footer=_effort(summary))
    for result in Result:
        count = summary.totals.get(result, 0)
        if count or result in {Result.SHARED, Result.ALREADY}:
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
