"""A plan compared with the members in the cloud: what is missing, what is extra. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from bulkshare.model import VerdictKind, Want
from bulkshare.model.events import MembersListed
from bulkshare.report.text import aligned, because, labelled, named_plan
from bulkshare.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import RenderableType

    from bulkshare.model import Block
    from bulkshare.model.events import Event

NOT_ASKED = "not listed: stopped before"
NO_STATUS = "unknown"  # status of a member for which the cloud gave none


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the cloud differs from a plan.

    missing, extra: member IDs by image ID.
    by_status: number of pairs that are present, by member status.
    unlisted: why members could not be listed, by image ID; the pairs of such images count as missing.
    """

    plan: str
    planned: int
    present: int
    missing: Mapping[str, Sequence[str]]
    extra: Mapping[str, Sequence[str]]
    by_status: Mapping[str, int]
    unlisted: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """Whether every pair of the plan is on the cloud."""
        return not (self.missing or self.unlisted)


class Comparer:
    """Compares image by image, as an observer of the engine's listings.

    An image without a listing counts as unlisted.
    """

    def __init__(self, plan: str, blocks: Iterable[Block]) -> None:
        self._plan = plan
        by_image: dict[str, list[Sequence[str]]] = {}
        for image_id, member_ids, want in blocks:
            parts = by_image.setdefault(image_id, [])
            if Want.REMOVE not in want:  # of a saved plan: who was to be removed is planned to be absent
                parts.append(member_ids)
        self._todo: dict[str, Sequence[str]] = {
            image_id: parts[0] if len(parts) == 1 else tuple(chain.from_iterable(parts))
            for image_id, parts in by_image.items()
        }
        self._planned = sum(len(members) for members in self._todo.values())
        self._present = 0
        self._missing: dict[str, Sequence[str]] = {}
        self._extra: dict[str, Sequence[str]] = {}
        self._statuses: Counter[str] = Counter()
        self._unlisted: dict[str, str] = {}

    def notify(self, event: Event) -> None:
        """See `ports.Observer`."""
        if not isinstance(event, MembersListed):
            return
        image_id, verdict = event.image_id, event.verdict
        planned = self._todo.pop(image_id, None)
        if planned is None:
            return
        if verdict.kind is not VerdictKind.LISTED:
            self._unlisted[image_id] = verdict.reason
            if planned:
                self._missing[image_id] = planned
            return
        there = {member.member_id: member.status for member in verdict.members}
        missing = [member_id for member_id in planned if member_id not in there]
        if missing:
            self._missing[image_id] = missing
        self._present += len(planned) - len(missing)
        self._statuses.update(there.pop(member_id) or NO_STATUS for member_id in planned if member_id in there)
        if there:
            self._extra[image_id] = list(there)

    def comparison(self) -> Comparison:
        """Return what was found, with the images in the order in which they were listed."""
        return Comparison(
            plan=self._plan,
            planned=self._planned,
            present=self._present,
            missing={**self._missing, **{image_id: planned for image_id, planned in self._todo.items() if planned}},
            extra=dict(self._extra),
            by_status=dict(sorted(self._statuses.items())),
            unlisted={**self._unlisted, **dict.fromkeys(self._todo, NOT_ASKED)},
        )


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as one JSON object: names as in the documentation of `verify --json`."""
    return {
        "plan": comparison.plan,
        "planned": comparison.planned,
        "present": comparison.present,
        "missing": {image_id: list(members) for image_id, members in comparison.missing.items()},
        "extra": {image_id: list(members) for image_id, members in comparison.extra.items()},
        "by_status": dict(comparison.by_status),
        "unlisted": dict(comparison.unlisted),
    }


def render_comparison(
    comparison: Comparison, labels: Mapping[str, str] | None = None, *, most: int = 20, plan_file: str = ""
) -> RenderableType:
    """Return the counts, the images that can't be listed, and the first missing pairs, grouped by image."""
    names = labels or {}
    missing = sum(map(len, comparison.missing.values()))
    extra = sum(map(len, comparison.extra.values()))
    statuses = ", ".join(f"{count:,} {status}" for status, count in comparison.by_status.items())
    rows = [
        (Text(name, style if count else "dim"), Text(f"{count:,}", style if count else "dim"), Text(meaning))
        for name, count, style, meaning in (
            ("present", comparison.present, "green", f"on the cloud: {statuses}" if statuses else "on the cloud"),
            ("missing", missing, "red", "in the plan, not on the cloud"),
            ("extra", extra, "yellow", "members that the plan does not name"),
        )
    ]
    rows.append((Text("planned"), Text(f"{comparison.planned:,}"), Text()))
    parts: list[RenderableType] = [Text(f"{comparison.plan} on the cloud", style="bold")]
    parts += aligned(rows, right={1}, indent=2)
    if comparison.unlisted:
        parts.append(Text("Can't be listed:", style="bold"))
    for image_id, reason in islice(comparison.unlisted.items(), most):
        parts.append(labelled("image", image_id, names))
        parts += because(reason, len(comparison.missing[image_id]), named_plan(comparison.plan, plan_file))
    if (more := len(comparison.unlisted) - most) > 0:
        parts.append(Text(f"... and {counted(more, 'more image')}"))
    listed = {i: members for i, members in comparison.missing.items() if i not in comparison.unlisted}
    if listed:
        parts.append(Text("Missing:", style="bold"))
    room = most
    for image_id, members in listed.items():
        if room > 0:
            parts.append(labelled("image", image_id, names))
            shown = members[:room]
            parts += aligned([(member_id, names.get(member_id, "")) for member_id in shown], indent=4)
            room -= len(shown)
    if (more := sum(map(len, listed.values())) - most) > 0:
        parts.append(Text(f"... and {more:,} more; --json has all of them"))
    return Group(*parts)
