"""What people read on a terminal: columns and wrapped prose, hints, and a run's results, causes and pairs. Pure.

rich's own tables drop and break columns on a narrow terminal, and pad lines with blanks when there is none. Here
nothing is dropped: an unbreakable line keeps its length, and prose wraps with a hanging indent.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

from rich.cells import cell_len
from rich.console import Group
from rich.text import Text

from bulkshare.model import Result
from bulkshare.text import counted, escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from bulkshare.model import Outcome
    from bulkshare.report.summary import Cause, Summary

Item = TypeVar("Item")

STYLES = {
    Result.SHARED: "green",
    Result.ACCEPTED: "green",
    Result.ALREADY: "green",
    Result.REJECTED: "red",
    Result.FAILED: "red",
    Result.SKIPPED: "yellow",
    Result.PENDING: "yellow",
    Result.REMOVED: "green",
    Result.ABSENT: "green",
    Result.DECLINED: "green",
    Result.RESET: "green",
}
MEANINGS = {
    Result.SHARED: "added by this run",
    Result.ACCEPTED: "was a member; accepted by this run",
    Result.ALREADY: "was already a member",
    Result.REJECTED: "refused by the cloud",
    Result.FAILED: "out of attempts",
    Result.SKIPPED: "not tried",
    Result.PENDING: "not finished",
    Result.REMOVED: "removed by this run",
    Result.ABSENT: "was not a member",
    Result.DECLINED: "was a member; its status was set to rejected by this run",
    Result.RESET: "was a member; its status was set back to pending by this run",
}
OPENED = ("image made shared by this run", "images made shared by this run")
ALWAYS_SHOWN = frozenset({Result.SHARED, Result.ALREADY})
MOST_CAUSES = 10
MOST_AT_FAULT = 5  # of a cause
GAP = "  "
WORD = re.compile(r"\s*\S+\s*")
CELL = re.compile(r"\s*\S+(?: \S+)*\s*")
NARROWEST = 20  # least width of prose in columns, whatever its indentation
# What to do about a reason; the first match counts. A reason is the HTTP status and Glance's or a gateway's message, or
# a text of our own.
HINTS = tuple(
    (re.compile(pattern, re.IGNORECASE), hint)
    for pattern, hint in (
        (
            r"not accepted",
            "the project can use the image by its ID; accepting on its behalf takes the admin role, or a role in the "
            "project and `accept_as: project`",
        ),
        (
            r"modify_member",
            "it takes the role member in the project that the image is shared with, or the role admin",
        ),
        (r"knows no such project", "correct the ID, or remove it; to select by name, use the key `name` in {plan}"),
        (r"not shared with this project", "its owner has taken it back, or has never shared it"),
        (
            r"the limit is the cloud's$",
            "remove members that are no longer needed (`prune: true`), share as many as fit (`on_quota: fill`), or "
            "have it raised",
        ),
        (
            r"needs [\d,]+, has [\d,]+ of",
            "remove members that are no longer needed (`prune: true`), share as many as fit (`on_quota: fill`), or "
            "raise `limits.members_per_image` in {plan}; without it the cloud decides",
        ),
        (
            r"quota|limit exceeded|^413|IMG\.0088",
            "remove members that are no longer needed (`prune: true`), or have the cloud's limit raised (in Glance: "
            "image_member_quota)",
        ),
        (
            r"prune.limit",
            "if they are to go, set `prune_limit` in {plan}, in the image's entry or at the top, or give --prune-limit",
        ),
        (r"owner", "a project can always use its own images: leave it out with `except`"),
        (
            r"only shared images|not allowed to (create|list) members|not shared|is private|visibility",
            "`openstack image set --shared IMAGE`, or `make_shared: true` in {plan}; every project can use public and "
            "community images without members",
        ),
        (r"not active|is deactivated", "it was withdrawn: have it reactivated, or leave it out of the plan"),
        (r"not authorized|^403", "the account must own the image or be an admin"),
        (r"^404", "no such image, or this account can't see it: check the ID and the image's owner"),
        (r"^401", "the token was refused: check the account's roles"),
        (r"^3\d\d", "the endpoint in the catalog is not that of the image service: correct it there or in clouds.yaml"),
        (
            r"gave up|not known whether",
            "the cloud was failing: try again later; --retry-failed limits a run of {plan} to what is left",
        ),
    )
)

COMMAND_PLANS = frozenset({"adhoc", "offboard", "undo", "accept"})  # names of the plans that commands make
# What the advice about a plan is worth to someone who has given a command and has no plan.
IN_A_COMMAND = (
    ("`make_shared: true` in {plan}", "`--make-shared`"),
    ("`accept: true` in the plan", "`--accept`"),
    ("(`prune: true`), share as many as fit (`on_quota: fill`),", "(`bulkshare unshare`),"),
    ("(`prune: true`)", "(`bulkshare unshare`)"),
    ("the admin role, or a role in the project and `accept_as: project`", "the admin role, or a role in the project"),
    ("; to select by name, use the key `name` in {plan}", ""),
    (": leave it out with `except`", " without being a member"),
    ("leave it out of the plan", "leave it out"),
    ("; --retry-failed limits a run of {plan} to what is left", ", with the same command"),
)


def duration(seconds: float) -> str:
    """Return "1.5 s" below a minute, else h:mm:ss."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def whole(text: Text) -> Text:
    """Make a line unbreakable, in place, and return it. It must be printed with `crop=False`."""
    text.no_wrap, text.overflow = True, "ignore"
    return text


def aligned(rows: Iterable[Sequence[Text | str]], *, right: Collection[int] = (), indent: int = 0) -> list[Text]:
    """Return one unbreakable line per row, with cells in columns; columns in `right` are right-aligned.

    A column that is empty in every row takes no space.
    """
    cells = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    widths = [max(cell.cell_len for cell in column) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        line = Text(" " * indent)
        for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
            if not width:
                continue
            blanks = " " * (width - cell.cell_len)
            before, after = (blanks, "") if number in right else ("", blanks)
            line.append(before).append_text(cell).append(f"{after}{GAP}")
        line.rstrip()
        lines.append(whole(line))
    return lines


class Prose:
    """Text wrapped at the console's width.

    indent: of every line, in columns.
    hanging: additional indent of all lines but the first.
    cells: break only between the cells of a line from `aligned`.
    """

    def __init__(self, text: Text | str, *, indent: int = 0, hanging: int = 0, cells: bool = False) -> None:
        self._unit = CELL if cells else WORD
        self._text = Text(text) if isinstance(text, str) else text
        self._indent = indent
        self._hanging = hanging

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console
        width = max(options.max_width - self._indent - self._hanging, NARROWEST)
        for number, line in enumerate(self._text.divide(_breaks(self._text.plain, width, self._unit))):
            line.rstrip()
            yield whole(Text.assemble(" " * (self._indent + (self._hanging if number else 0)), line))


def _breaks(plain: str, width: int, unit: re.Pattern[str]) -> list[int]:
    """Return the offsets that break a text into lines of at most `width`: between units only, so never inside an ID."""
    breaks: list[int] = []
    used = 0
    for word in unit.finditer(plain):
        if used and used + cell_len(word[0].rstrip()) > width:
            breaks.append(word.start())
            used = 0
        used += cell_len(word[0])
    return breaks


class WideOrNarrow:
    """Shows `wide` if all its lines fit the console, else `narrow`."""

    def __init__(self, wide: Sequence[Text], narrow: Sequence[Text | Prose]) -> None:
        self._wide = wide
        self._narrow = narrow

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console
        fits = all(line.cell_len <= options.max_width for line in self._wide)
        yield from self._wide if fits else self._narrow


def named_plan(name: str, file: str = "") -> str:
    """Return how a sentence names a plan: by its file if that is known; empty for one that a command has made."""
    return file or ("" if name in COMMAND_PLANS else f"plan {name}")


def hint_for(reason: str, plan: str) -> str:
    """Return what may help against `reason`, without a full stop; empty if nothing is known to.

    It names no command that shows what the reader is just looking at. `plan` is from `named_plan`.
    """
    hint = next((hint for pattern, hint in HINTS if pattern.search(reason)), "")
    return (hint if plan else _in_a_command(hint)).replace("{plan}", plan or "the plan")


def _in_a_command(advice: str) -> str:
    for about_a_plan, about_a_command in IN_A_COMMAND:
        advice = advice.replace(about_a_plan, about_a_command)
    return advice


def render_brief(summary: Summary) -> RenderableType:
    """Return the result of a command that is as planned, in a line, and what to know of those who must accept yet."""
    results = ", ".join(f"{count:,} {result.value}" for result in Result if (count := summary.totals.get(result, 0)))
    opened = f"; {counted(summary.opened, *OPENED)}" if summary.opened else ""
    cost = render_cost(
        summary.requests,
        summary.retries,
        summary.seconds,
        batches=summary.batches,
        batched_pairs=summary.batched_pairs,
    )
    results = results or "nothing to do"
    line = Text.assemble((summary.run or summary.plan, "bold"), f" on {summary.cloud}: ", (results, "green"))
    line.append(f"{opened}; {cost}")
    return Group(whole(line), *render_awaiting(summary.awaiting_acceptance, summary.plan))


def render_summary(summary: Summary, *, plan_file: str = "", clouds: int = 1, part: bool = False) -> RenderableType:
    """Return the number of pairs by result, the causes of failure, and the command that shows more.

    plan_file: where the plan is, if that is known.
    clouds: of which it is the sum; if there are several, their own summaries have the causes.
    part: it is of one of several clouds; the sum has what is said once.
    """
    where = counted(clouds, "cloud") if clouds > 1 else summary.cloud
    parts: list[RenderableType] = [
        whole(Text.assemble((summary.run or summary.plan, "bold"), f"  on {where}" if where else ""))
    ]
    cost = render_cost(
        summary.requests,
        summary.retries,
        summary.seconds,
        batches=summary.batches,
        batched_pairs=summary.batched_pairs,
    )
    parts += render_results(summary.totals, cost, opened=summary.opened)
    if not part:
        parts += render_awaiting(summary.awaiting_acceptance, summary.plan)
    if clouds == 1:
        parts += render_causes(summary.causes, summary.names, named_plan(summary.plan, plan_file))
    if summary.run and summary.causes:
        parts.append(Prose(f"See each pair: bulkshare show {summary.run} --failed", hanging=4))
    return Group(*parts)


def render_results(totals: Mapping[Result, int], cost: str, *, opened: int) -> list[Text]:
    """Return a line per result that occurs, a total, and the number of images that were made shared."""
    rows = [
        (Text(result.value, style), Text(f"{count:,}", style), Text(MEANINGS[result], "" if count else "dim"))
        for result in Result
        if (count := totals.get(result, 0)) or result in ALWAYS_SHOWN
        for style in (STYLES[result] if count else "dim",)
    ]
    rows.append((Text("planned"), Text(f"{sum(totals.values()):,}"), Text(cost)))
    if opened:
        rows.append((Text("opened", "green"), Text(f"{opened:,}", "green"), Text(OPENED[opened > 1])))
    return aligned(rows, right={1}, indent=2)


def render_awaiting(members: int, plan: str) -> list[RenderableType]:
    """Return the line about members of a plan that await acceptance; nothing if there are none."""
    line = awaiting(members)
    if not named_plan(plan):  # of the commands, only `share` accepts
        line = _in_a_command(line) if plan == "adhoc" else line.partition(";")[0]
    return [Prose(line, hanging=4)] if members else []


def awaiting(members: int) -> str:
    """Return what it means that so many members await acceptance, and what to do. Its "pending" is Glance's."""
    if members == 1:
        return (
            "1 member has the member status pending: it can use the image by its ID, but won't see it in its image "
            "list; `accept: true` in the plan accepts for it"
        )
    return (
        f"{members:,} members have the member status pending: they can use the images by ID, but won't see them in "
        "their image lists; `accept: true` in the plan accepts for them"
    )


def render_causes(causes: Sequence[Cause], names: Mapping[str, str], plan: str) -> list[RenderableType]:
    """Return the first causes, each with the images and projects at fault and a hint."""
    parts: list[RenderableType] = [_render_cause(cause, names, plan) for cause in causes[:MOST_CAUSES]]
    if (more := len(causes) - MOST_CAUSES) > 0:
        parts.append(Text(f"... and {counted(more, 'other cause')}"))
    return parts


def render_cost(
    requests: int | None, retries: int | None, seconds: float | None, *, batches: int = 0, batched_pairs: int = 0
) -> str:
    """Return the number of requests, how many of them were batches, and the duration, as far as they are known."""
    parts = []
    if requests is not None:
        parts.append(counted(requests, "request"))
        if batches:
            which = "1 of them a batch" if batches == 1 else f"{batches:,} of them batches"
            parts.append(f"{which} with {counted(batched_pairs, 'pair')}")
        if retries:
            parts.append("1 of them a retry" if retries == 1 else f"{retries:,} of them retries")
    if seconds is not None:
        parts.append(duration(seconds))
    return ", ".join(parts)


def _render_cause(cause: Cause, names: Mapping[str, str], plan: str) -> RenderableType:
    line = Text()
    for number, result in enumerate(result for result in Result if result in cause.results):
        line.append(", " if number else "").append(f"{cause.results[result]:,} {result.value}", STYLES[result])
    line.append(f": {cause.reason or MEANINGS[cause.result]}")
    parts: list[RenderableType] = [Prose(line, hanging=4)]
    for fault in cause.at_fault[:MOST_AT_FAULT]:
        other = "project" if fault.kind == "image" else "image"
        shown = f"    {fault.kind} {named(fault.id, names)}"
        if fault.pairs == 1:
            parts += [
                whole(Text(shown, "dim")),
                whole(
                    Text(f"    {'' if cause.count == 1 else '  with '}{other} {named(fault.other_id, names)}", "dim")
                ),
            ]
        else:
            parts.append(whole(Text(f"{shown}, {counted(fault.pairs, other)}", "dim")))
    if rest := cause.at_fault[MOST_AT_FAULT:]:
        kinds = {fault.kind for fault in rest}
        what = counted(len(rest), f"more {kinds.pop()}") if len(kinds) == 1 else f"{len(rest):,} more"
        parts.append(Text(f"    ... and {what}", "dim"))
    if hint := hint_for(cause.reason, plan):
        parts.append(Prose(Text(f"-> {hint}"), indent=4, hanging=3))
    return Group(*parts)


def render_outcomes(outcomes: Iterable[Outcome], labels: Mapping[str, str] | None = None) -> Iterator[RenderableType]:
    """Yield each image followed by its pairs, grouped by reason. Outcomes must be grouped by image.

    `labels` maps IDs of images and projects to names, if known.
    """
    names = labels or {}
    for image_id, of_image in groupby(outcomes, key=lambda outcome: outcome.image_id):
        by_reason: dict[str, list[Outcome]] = {}
        for outcome in of_image:
            by_reason.setdefault(outcome.reason, []).append(outcome)
        yield labelled("image", image_id, names)
        for alike in by_reason.values() if names else ():
            alike.sort(key=name_key(names, _member_id))
        for reason in sorted(by_reason, key=bool):  # pairs without a reason first
            if reason:
                yield Prose(reason, indent=2, hanging=2)
            yield Group(*_pairs(by_reason[reason], names, indent=4 if reason else 2))


def _member_id(outcome: Outcome) -> str:
    return outcome.member_id


def _pairs(outcomes: Sequence[Outcome], names: Mapping[str, str], *, indent: int) -> list[Prose]:
    lines = aligned(
        (
            Text(escaped(outcome.member_id)),
            Text(outcome.result.value, STYLES[outcome.result]),
            Text(str(outcome.http_status or "")),
            Text(f"member status {outcome.status}" if outcome.status not in {None, outcome.result} else ""),
            Text(counted(outcome.attempts, "attempt") if outcome.attempts > 1 else ""),
            Text(escaped(names.get(outcome.member_id, "")), "dim"),
        )
        for outcome in outcomes
    )
    return [Prose(line, indent=indent, hanging=4, cells=True) for line in lines]


def named(known_id: str, names: Mapping[str, str]) -> str:
    """Return an ID, followed by its name if that is known; what a cloud's list may hide in either is escaped."""
    name = names.get(known_id)
    return f"{escaped(known_id)}  {escaped(name)}" if name else escaped(known_id)


def name_key(names: Mapping[str, str], id_of: Callable[[Item], str]) -> Callable[[Item], tuple[bool, str, str]]:
    """Return a key that sorts items by the names of their IDs; those without a name follow, in their order."""

    def key(item: Item) -> tuple[bool, str, str]:
        name = names.get(id_of(item), "")
        return not name, name.casefold(), name

    return key


def by_name(ids: Iterable[str], names: Mapping[str, str]) -> list[str]:
    """Return IDs sorted by their names; those without a name follow, in their order."""
    return sorted(ids, key=name_key(names, str)) if names else list(ids)


def labelled(kind: str, known_id: str, names: Mapping[str, str]) -> Text:
    """Return the heading "image ID", with the name if known."""
    line = Text.assemble(f"{kind} ", (escaped(known_id), "bold"))
    if name := names.get(known_id):
        line.append(f"  {escaped(name)}", "dim")
    return whole(line)


def because(reason: str, pairs: int, plan: str) -> list[RenderableType]:
    """Return why that many pairs of an image failed, or the image itself, and a hint; printed below the image."""
    about = f"{counted(pairs, 'pair')}: {reason}" if pairs else reason
    lines: list[RenderableType] = [Prose(Text(about, "red"), indent=2, hanging=2)]
    if hint := hint_for(reason, plan):
        lines.append(Prose(f"-> {hint}", indent=2, hanging=3))
    return lines
