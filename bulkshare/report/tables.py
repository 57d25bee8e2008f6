"""What people read of a run at its end and afterwards: its results, causes and pairs. Pure."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from bulkshare.model import Result
from bulkshare.report.hints import hint_for
from bulkshare.report.layout import Prose, aligned, duration, whole
from bulkshare.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from bulkshare.model import Outcome
    from bulkshare.report.summary import Cause, Summary

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
    Result.ALREADY: "was a member already",
    Result.REJECTED: "the cloud said no",
    Result.FAILED: "attempts used up",
    Result.SKIPPED: "not tried",
    Result.PENDING: "not finished",
    Result.REMOVED: "removed by this run",
    Result.ABSENT: "was no member already",
}
ALWAYS_SHOWN = frozenset({Result.SHARED, Result.ALREADY})
MOST_CAUSES = 10
MOST_IMAGES = 5  # of a cause


def render_summary(summary: Summary) -> RenderableType:
    """Return the pairs by result, then the causes of what went wrong, then where to read on."""
    parts: list[RenderableType] = [
        whole(Text.assemble((summary.run or summary.plan, "bold"), f"  on {summary.cloud}" if summary.cloud else ""))
    ]
    parts += render_results(summary.totals, effort(summary.requests, summary.retries, summary.seconds))
    parts += render_causes(summary.causes)
    if summary.run and summary.causes:
        parts.append(Prose(f"See each pair: bulkshare show {summary.run} --failed", hanging=4))
    return Group(*parts)


def render_results(totals: Mapping[Result, int], effort: str) -> list[Text]:
    """Return a line for each result that occurs, and one for all pairs."""
    rows = [
        (Text(result.value, style), Text(f"{count:,}", style), Text(MEANINGS[result], "" if count else "dim"))
        for result in Result
        if (count := totals.get(result, 0)) or result in ALWAYS_SHOWN
        for style in (STYLES[result] if count else "dim",)
    ]
    rows.append((Text("planned"), Text(f"{sum(totals.values()):,}"), Text(effort)))
    return aligned(rows, right={1}, indent=2)


def render_causes(causes: Sequence[Cause]) -> list[RenderableType]:
    """Return the first causes, each with the images it befell and what may help."""
    parts: list[RenderableType] = [_render_cause(cause) for cause in causes[:MOST_CAUSES]]
    if (more := len(causes) - MOST_CAUSES) > 0:
        parts.append(Text(f"... and {counted(more, 'other cause')}"))
    return parts


def effort(requests: int | None, retries: int | None, seconds: float | None) -> str:
    """Return how many requests something took, and how long, as far as it is known."""
    told = []
    if requests is not None:
        told.append(counted(requests, "request"))
        if retries:
            told.append("1 of them a retry" if retries == 1 else f"{retries:,} of them retries")
    if seconds is not None:
        told.append(duration(seconds))
    return ", ".join(told)


def _render_cause(cause: Cause) -> RenderableType:
    line = Text()
    for number, result in enumerate(result for result in Result if result in cause.results):
        line.append(", " if number else "").append(f"{cause.results[result]:,} {result.value}", STYLES[result])
    line.append(f": {cause.reason or MEANINGS[cause.result]}")
    parts: list[RenderableType] = [Prose(line, hanging=4)]
    if cause.count == 1:
        parts += [
            whole(Text(f"    image {cause.image_id}", "dim")),
            whole(Text(f"    project {cause.member_id}", "dim")),
        ]
    else:
        parts += [
            whole(Text(f"    image {image_id}, {counted(pairs, 'pair')}", "dim"))
            for image_id, pairs in list(cause.images.items())[:MOST_IMAGES]
        ]
        if (more := len(cause.images) - MOST_IMAGES) > 0:
            parts.append(Text(f"    ... and {counted(more, 'more image')}", "dim"))
    if hint := hint_for(cause.reason):
        parts.append(Prose(Text(f"-> {hint}"), indent=4, hanging=3))
    return Group(*parts)


def render_outcomes(outcomes: Iterable[Outcome], labels: Mapping[str, str] | None = None) -> Iterator[RenderableType]:
    """Yield, image by image as the outcomes come, the image and below it its pairs, with each reason above its pairs.

    `labels` are names of images and projects by ID, where they are known.
    """
    names = labels or {}
    for image_id, of_image in groupby(outcomes, key=lambda outcome: outcome.image_id):
        by_reason: dict[str, list[Outcome]] = {}
        for outcome in of_image:
            by_reason.setdefault(outcome.reason, []).append(outcome)
        yield labelled("image", image_id, names)
        for reason in sorted(by_reason, key=bool):  # those that need no words come first
            if reason:
                yield Prose(reason, indent=2, hanging=2)
            yield Group(*_pairs(by_reason[reason], names, indent=4 if reason else 2))


def _pairs(outcomes: Sequence[Outcome], names: Mapping[str, str], *, indent: int) -> list[Prose]:
    lines = aligned(
        (
            Text(outcome.member_id),
            Text(outcome.result.value, STYLES[outcome.result]),
            Text(str(outcome.http_status or "")),
            Text(f"member status {outcome.status}" if outcome.status else ""),
            Text(counted(outcome.attempts, "attempt") if outcome.attempts > 1 else ""),
            Text(names.get(outcome.member_id, ""), "dim"),
        )
        for outcome in outcomes
    )
    return [Prose(line, indent=indent, hanging=4, cells=True) for line in lines]


def labelled(what: str, known_id: str, names: Mapping[str, str]) -> Text:
    """Return a heading: "image ID", and its name where it is known."""
    line = Text.assemble(f"{what} ", (known_id, "bold"))
    if name := names.get(known_id):
        line.append(f"  {name}", "dim")
    return whole(line)


def because(reason: str, pairs: int) -> list[RenderableType]:
    """Return below an image why so many of its pairs are not to be had, and what may help."""
    lines: list[RenderableType] = [Prose(Text(f"{counted(pairs, 'pair')}: {reason}", "red"), indent=2, hanging=2)]
    if hint := hint_for(reason):
        lines.append(Prose(f"-> {hint}", indent=2, hanging=3))
    return lines
