"""A plan compared with the members in the cloud: what is missing, what is extra. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from bulkshare.model import Orders, VerdictKind, Want
from bulkshare.model.events import ImageInspected, MembersListed
from bulkshare.report.text import aligned, because, by_name, labelled, named_plan
from bulkshare.text import counted, escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import RenderableType

    from bulkshare.model import Block, Image, Verdict
    from bulkshare.model.events import Event

NO_ORDERS = Orders()
NOT_ASKED = "not listed: stopped before"
NO_STATUS = "unknown"  # status of a member for which the cloud gave none


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the cloud differs from a plan.

    missing, extra: member IDs by image ID. Members that the plan keeps are not extra. Our own membership of another
        project's image is missing unless it has the status that the plan wants.
    by_status: number of pairs that are present, by member status; by visibility if every project can use the image.
    unlisted: why members could not be listed, by image ID; the pairs of such images count as missing.
    labels: known names, by the IDs of images and projects.
    """

    plan: str
    planned: int
    present: int
    missing: Mapping[str, Sequence[str]]
    extra: Mapping[str, Sequence[str]]
    by_status: Mapping[str, int]
    unlisted: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    cloud: str = ""

    @property
    def complete(self) -> bool:
        """Whether every pair of the plan is on the cloud."""
        return not (self.missing or self.unlisted)

    def agrees(self, *, strict: bool = False) -> bool:
        """Whether the cloud agrees with the plan; if `strict`, no image may have extra members either."""
        return self.complete and not (strict and self.extra)

    def ids(self) -> set[str]:
        """Return the images that are not as planned, and their projects."""
        pairs = (*self.missing.items(), *self.extra.items())
        return set(self.unlisted).union(*((image_id, *member_ids) for image_id, member_ids in pairs))


class Comparer:
    """Compares image by image, as an observer of the engine's listings and look-ups.

    An image without a listing counts as unlisted, unless a look-up shows that every project can use it, or that it is
    private, which shows no members, and the plan has none.

    plan, blocks: the plan's name and pairs.
    orders: which members it keeps, and which of its images need members although every project can use them.
    labels: known names, by the IDs of images and projects.
    """

    def __init__(
        self,
        plan: str,
        blocks: Iterable[Block],
        orders: Mapping[str, Orders] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._plan = plan
        self._orders = orders or {}
        self._labels = dict(labels or {})
        self._leaving: dict[str, set[str]] = {}
        self._received: dict[str, Want] = {}
        by_image: dict[str, list[Sequence[str]]] = {}
        for image_id, member_ids, want in blocks:
            parts = by_image.setdefault(image_id, [])
            if Want.REMOVE in want:  # of a saved plan: who was to be removed is planned to be absent
                self._leaving.setdefault(image_id, set()).update(member_ids)
            else:
                parts.append(member_ids)
            if Want.RECEIVED in want:  # another project's image, of which only our own membership is ours to judge
                self._received[image_id] = want
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
        if isinstance(event, MembersListed):
            self._listed(event.image_id, event.verdict)
        elif isinstance(event, ImageInspected):
            self._inspected(event.image)

    def _inspected(self, image: Image) -> None:
        if image.name:
            self._labels[image.id] = image.name
        if image.visibility == "private" and image.id not in self._missing:
            self._unlisted.pop(image.id, None)
        if not image.usable_by_all or self._orders.get(image.id, NO_ORDERS).strict:
            return
        satisfied = len(self._missing.pop(image.id, ()))
        self._unlisted.pop(image.id, None)
        self._present += satisfied
        self._statuses[image.visibility or NO_STATUS] += satisfied

    def _listed(self, image_id: str, verdict: Verdict) -> None:
        planned = self._todo.pop(image_id, None)
        if planned is None:
            return
        if verdict.kind is not VerdictKind.LISTED:
            self._unlisted[image_id] = verdict.reason
            if planned:
                self._missing[image_id] = planned
            return
        there = {member.member_id: member.status for member in verdict.members}
        if (want := self._received.get(image_id)) is not None:
            status = "rejected" if Want.DECLINED in want else "pending" if Want.RESET in want else "accepted"
            there = {member_id: there[member_id] for member_id in planned if there.get(member_id) == status}
        missing = [member_id for member_id in planned if member_id not in there]
        if missing:
            self._missing[image_id] = missing
        self._present += len(planned) - len(missing)
        self._statuses.update(there.pop(member_id) or NO_STATUS for member_id in planned if member_id in there)
        kept, leaving = self._orders.get(image_id, NO_ORDERS).kept, self._leaving.get(image_id, ())
        if extra := [member_id for member_id in there if member_id not in kept or member_id in leaving]:
            self._extra[image_id] = extra

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
            labels=self._labels,
        )


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as one JSON object: keys as in the documentation of `verify --json`."""
    return {
        "plan": comparison.plan,
        "cloud": comparison.cloud,
        "planned": comparison.planned,
        "present": comparison.present,
        "missing": {image_id: list(members) for image_id, members in comparison.missing.items()},
        "extra": {image_id: list(members) for image_id, members in comparison.extra.items()},
        "by_status": dict(comparison.by_status),
        "unlisted": dict(comparison.unlisted),
        "names": {known: name for known in sorted(comparison.ids()) if (name := comparison.labels.get(known))},
    }


def render_comparison(comparison: Comparison, *, most: int = 20, plan_file: str = "") -> RenderableType:
    """Return the counts, the images that can't be listed, and the first missing and extra members, by image."""
    names = comparison.labels
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
    for image_id in by_name(comparison.unlisted, names)[:most]:
        reason = comparison.unlisted[image_id]
        parts.append(labelled("image", image_id, names))
        parts += because(reason, len(comparison.missing.get(image_id, ())), named_plan(comparison.plan, plan_file))
    if (more := len(comparison.unlisted) - most) > 0:
        parts.append(Text(f"... and {counted(more, 'more image')}"))
    listed = {i: members for i, members in comparison.missing.items() if i not in comparison.unlisted}
    parts += _members("Missing:", listed, names, most)
    parts += _members("Extra:", comparison.extra, names, most)
    return Group(*parts)


def _members(
    title: str, found: Mapping[str, Sequence[str]], names: Mapping[str, str], most: int
) -> list[RenderableType]:
    """Return the first members of images below a title; nothing if there are none."""
    parts: list[RenderableType] = [Text(title, style="bold")] if found else []
    room = most
    for image_id in by_name(found, names):
        if room > 0:
            parts.append(labelled("image", image_id, names))
            shown = by_name(found[image_id], names)[:room]
            parts += aligned([(escaped(member_id), escaped(names.get(member_id, ""))) for member_id in shown], indent=4)
            room -= len(shown)
    if (more := sum(map(len, found.values())) - most) > 0:
        parts.append(Text(f"... and {more:,} more; --json has all of them"))
    return parts
