"""A plan beside the members that the cloud has: what is missing, what is extra. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from bulkshare.model import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import RenderableType

    from bulkshare.model import Verdict

NOT_ASKED = "not asked: stopped before"
NO_STATUS = "unknown"  # of a member whose status the cloud left out


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the cloud differs from a plan. `missing` and `extra` have member IDs by image ID.

    `by_status` counts the pairs that are there by the members' status. `unlisted` has the images whose members could
    not be listed, and why; their pairs are missing as far as anyone can tell.
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
        return not self.missing


class Comparer:
    """Compares image by image, as an observer of the engine's listings.

    `pairs` are (image ID, member IDs), each image once. An image that is not heard of counts as unlisted.
    """

    def __init__(self, plan: str, pairs: Iterable[tuple[str, Sequence[str]]]) -> None:
        self._plan = plan
        self._todo = dict(pairs)
        self._planned = sum(len(members) for members in self._todo.values())
        self._present = 0
        self._missing: dict[str, Sequence[str]] = {}
        self._extra: dict[str, Sequence[str]] = {}
        self._statuses: Counter[str] = Counter()
        self._unlisted: dict[str, str] = {}

    def listed(self, image_id: str, verdict: Verdict) -> None:
        """See `ports.Observer`."""
        planned = self._todo.pop(image_id, None)
        if planned is None:
            return
        if verdict.kind is not Kind.LISTED:
            self._unlisted[image_id] = verdict.reason
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
            missing={**self._missing, **self._todo},
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


def render_comparison(comparison: Comparison, *, most: int = 20) -> RenderableType:
    """Return the counts, the images that can't be listed, and the first missing pairs."""
    missing = sum(map(len, comparison.missing.values()))
    extra = sum(map(len, comparison.extra.values()))
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False, show_footer=True)
    table.add_column("what", footer="planned")
    table.add_column("pairs", justify="right", footer=f"{comparison.planned:,}")
    table.add_column("meaning")
    statuses = ", ".join(f"{count:,} {status}" for status, count in comparison.by_status.items())
    for name, count, style, meaning in (
        ("present", comparison.present, "green", f"on the cloud: {statuses}" if statuses else "on the cloud"),
        ("missing", missing, "red", "in the plan, not on the cloud"),
        ("extra", extra, "yellow", "members of the plan's images that the plan does not name"),
    ):
        shown = style if count else "dim"
        table.add_row(Text(name, style=shown), Text(f"{count:,}", style=shown), Text(meaning))
    parts: list[RenderableType] = [Text(f"{comparison.plan} on the cloud", style="bold"), table]
    for image_id, reason in islice(comparison.unlisted.items(), most):
        count = len(comparison.missing[image_id])
        parts.append(Text(f"image {image_id} can't be listed, {count:,} pairs: {reason}", style="red"))
    if len(comparison.unlisted) > most:
        parts.append(Text(f"... and {len(comparison.unlisted) - most:,} more images that can't be listed"))
    listed = {i: members for i, members in comparison.missing.items() if i not in comparison.unlisted}
    pairs = ((image_id, member_id) for image_id, members in listed.items() for member_id in members)
    parts += [Text(f"missing: image {image_id}, project {member_id}") for image_id, member_id in islice(pairs, most)]
    if (more := sum(map(len, listed.values())) - most) > 0:
        parts.append(Text(f"... and {more:,} more; --json has all of them"))
    return Group(*parts)
