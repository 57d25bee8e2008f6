"""What a run would change in the cloud, for `diff` and `run --dry-run`. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from bulkshare.model import Outcome, Result, Want
from bulkshare.report.summary import causes_of
from bulkshare.report.text import Prose, aligned, because, by_name, labelled, name_key, named_plan, whole
from bulkshare.text import counted, escaped

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from rich.console import RenderableType

ADDED, ACCEPTED, REMOVED, REFUSED, LEFT = "+", "~", "-", "!", "="
MOST_PAIRS = 10  # shown per image and kind of change
MOST_REFUSED = 3  # shown per image and reason
MOST_IMAGES = 20
MOST_SEARCHED = 100_000  # refused pairs, for projects that are refused everywhere
# As integers: `&` on flags builds an enum member each time, which dominates for hundreds of thousands of pairs.
_ACCEPTED, _AS_PROJECT = int(Want.ACCEPTED), int(Want.AS_PROJECT)
_REMOVE, _ALREADY_MEMBER = int(Want.REMOVE), int(Want.ALREADY_MEMBER)
_RECEIVED, _DECLINED, _RESET = int(Want.RECEIVED), int(Want.DECLINED), int(Want.RESET)


@dataclass(slots=True)
class ImageChanges:
    """What a run would change about one image. Lists hold project IDs in the order of the ledger.

    add, accept, decline, reset, remove: one list per kind of request; a project may be in both `add` and `accept`.
    refused: projects for which nothing can be done, by reason.
    unlisted: why the image's members can't be listed; empty if they can.
    unknown: projects whose changes are unknown because of `unlisted`.
    """

    image_id: str
    make_shared: bool = False
    add: list[str] = field(default_factory=list)
    accept: list[str] = field(default_factory=list)
    decline: list[str] = field(default_factory=list)
    reset: list[str] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    refused: dict[str, list[str]] = field(default_factory=dict)
    unlisted: str = ""
    unknown: list[str] = field(default_factory=list)

    @property
    def any(self) -> bool:
        """Whether a run would change anything about the image, as far as is known."""
        return bool(self.add or self.accept or self.decline or self.reset or self.remove or self.make_shared)


@dataclass(frozen=True, slots=True)
class Changes:
    """All that a run of a plan would change on one cloud. Images without changes or problems are left out.

    as_planned: how many pairs need nothing.
    incomplete: why the cloud was not read as a whole; empty if it was.
    not_checked: what only a run will show, a phrase each.
    """

    plan: str
    images: tuple[ImageChanges, ...]
    as_planned: int = 0
    cloud: str = ""
    incomplete: str = ""
    not_checked: tuple[str, ...] = ()

    @property
    def add(self) -> int:
        """How many members would be added."""
        return sum(len(image.add) for image in self.images)

    @property
    def accept(self) -> int:
        """How many memberships would be accepted, those of added members included."""
        return sum(len(image.accept) for image in self.images)

    @property
    def decline(self) -> int:
        """How many memberships would get the status rejected."""
        return sum(len(image.decline) for image in self.images)

    @property
    def reset(self) -> int:
        """How many memberships would be pending again."""
        return sum(len(image.reset) for image in self.images)

    @property
    def remove(self) -> int:
        """How many members would be removed."""
        return sum(len(image.remove) for image in self.images)

    @property
    def make_shared(self) -> int:
        """How many images would be made `shared`."""
        return sum(image.make_shared for image in self.images)

    @property
    def refused(self) -> int:
        """How many pairs can't be carried out."""
        return sum(len(members) for image in self.images for members in image.refused.values())

    @property
    def unknown(self) -> int:
        """How many pairs are unknown because their image can't be listed."""
        return sum(len(image.unknown) for image in self.images)

    @property
    def unlisted(self) -> int:
        """How many images have unknown changes because they can't be listed."""
        return sum(bool(image.unlisted) for image in self.images)

    @property
    def any(self) -> bool:
        """Whether a run would change anything, as far as is known."""
        return bool(self.add or self.accept or self.decline or self.reset or self.remove or self.make_shared)


def changes_of(
    plan: str,
    outcomes: Iterable[Outcome],
    *,
    unlisted: Mapping[str, str],
    unpruned: Mapping[str, str] | None = None,
    to_set_shared: Collection[str] = (),
    not_acceptable: Mapping[tuple[bool, str], str] | None = None,
    as_planned: int = 0,
    cloud: str = "",
) -> Changes:
    """Return what a run that stopped before its writes would have written.

    outcomes: those that are pending or not as planned, with their `want`.
    unlisted: why members can't be listed, by image ID.
    unpruned: the same for images without outcomes that may have members to remove.
    to_set_shared: IDs of private images that are made `shared` first. They have no members before.
    not_acceptable: why memberships can't be accepted, by whether the project itself is to do it, and project.
    """
    opened, refusals = frozenset(to_set_shared), not_acceptable or {}
    images: dict[str, ImageChanges] = {}
    for outcome in outcomes:
        image_id, member_id, want = outcome.image_id, outcome.member_id, int(outcome.want)
        image = images.get(image_id)
        if image is None:
            image = images[image_id] = ImageChanges(image_id, make_shared=image_id in opened)
        if outcome.result is not Result.PENDING:
            image.refused.setdefault(outcome.reason, []).append(member_id)
        elif want & _REMOVE:
            image.remove.append(member_id)
        elif image_id in unlisted and image_id not in opened:
            image.unlisted = unlisted[image_id]
            image.unknown.append(member_id)
        else:
            _add_pending(image, member_id, want, refusals)
    for image_id, reason in (unpruned or {}).items():
        images[image_id] = ImageChanges(image_id, unlisted=reason)
    return Changes(plan, tuple(images.values()), as_planned, cloud)


def _add_pending(image: ImageChanges, member_id: str, want: int, refusals: Mapping[tuple[bool, str], str]) -> None:
    if want & _DECLINED:
        image.decline.append(member_id)
        return
    if want & _RESET:
        if why := refusals.get((bool(want & _AS_PROJECT), member_id)):
            image.refused.setdefault(f"not set back to pending: {why}", []).append(member_id)
        else:
            image.reset.append(member_id)
        return
    if not want & (_ALREADY_MEMBER | _RECEIVED):
        image.add.append(member_id)
    if want & _ACCEPTED:
        if why := refusals.get((bool(want & _AS_PROJECT), member_id)):
            image.refused.setdefault(f"shared, but not accepted: {why}", []).append(member_id)
        else:
            image.accept.append(member_id)


def changes_document(changes: Changes, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the changes on a cloud as one JSON object; `names` has the known names.

    `report.schemas` has the schema.
    """
    names = labels or {}
    ids = {
        known
        for image in changes.images
        for group in (
            [image.image_id],
            image.add,
            image.accept,
            image.decline,
            image.reset,
            image.remove,
            image.unknown,
            *image.refused.values(),
        )
        for known in group
    }
    return {
        "plan": changes.plan,
        "cloud": changes.cloud,
        "changes": changes.any,
        "add": changes.add,
        "accept": changes.accept,
        "decline": changes.decline,
        "reset": changes.reset,
        "remove": changes.remove,
        "make_shared": changes.make_shared,
        "refused": changes.refused,
        "unknown": changes.unknown,
        "as_planned": changes.as_planned,
        "incomplete": changes.incomplete or None,
        "not_checked": list(changes.not_checked),
        "images": [
            {
                "image_id": image.image_id,
                "make_shared": image.make_shared,
                "add": image.add,
                "accept": image.accept,
                "decline": image.decline,
                "reset": image.reset,
                "remove": image.remove,
                "refused": image.refused,
                "unlisted": image.unlisted or None,
                "unknown": image.unknown,
            }
            for image in changes.images
        ],
        "names": {known: names[known] for known in sorted(ids) if known in names},
    }


def render_changes(
    changes: Changes,
    labels: Mapping[str, str] | None = None,
    *,
    everything: bool = False,
    heading: bool = False,
    plan_file: str = "",
) -> RenderableType:
    """Return the changes by image, then what can't be done, then a one-line summary.

    Long lists are cut, with a count of what is left out, unless `everything` is set. `heading` puts the plan and the
    cloud first, to distinguish several clouds.
    """
    names = labels or {}
    plan = named_plan(changes.plan, plan_file)
    parts: list[RenderableType] = [Text(f"{changes.plan} on {changes.cloud}", style="bold")] if heading else []
    everywhere = {} if everything else _refused_everywhere(changes)
    refused = [image for image in changes.images if _rest_of(image, everywhere)]
    for title, images, render in (
        ("", [image for image in changes.images if image.any], _render_doable),
        ("Can't be done:", refused, partial(_render_refused, plan=plan, everywhere=everywhere)),
        ("Unknown:", [image for image in changes.images if image.unlisted], partial(_render_unknown, plan=plan)),
    ):
        images.sort(key=name_key(names, lambda image: image.image_id))
        shown = images if everything else images[:MOST_IMAGES]
        at_fault = list(everywhere.items()) if images is refused else []
        if title and (shown or at_fault):
            parts.append(Text(title, style="bold"))
        for reason, projects in at_fault:
            parts += _render_everywhere(reason, projects, names, plan=plan)
        for image in shown:
            parts += render(image, names, everything=everything)
        if more := len(images) - len(shown):
            parts.append(Text(f"... and {counted(more, 'more image')}"))
    return Group(*parts, Prose(Text(closing_line(changes), style="bold"), hanging=2))


def closing_line(changes: Changes) -> str:
    """Return the one-line summary: what would change, and what would not become as planned."""
    verbs = ("add", "accept", "decline", "reset", "remove")
    parts = [f"{count:,} to {verb}" for verb in verbs if (count := getattr(changes, verb))]
    if changes.make_shared:
        parts.append(f"{counted(changes.make_shared, 'image')} to be made shared")
    if changes.incomplete and not parts:
        return "Not known: the cloud was not read as a whole."
    if not parts and not changes.refused and not changes.unlisted:
        return "No changes: the cloud agrees with the plan."
    line = f"Plan: {', '.join(parts) or 'nothing to change'}."
    if changes.incomplete:
        line += " The cloud was not read as a whole."
    if changes.refused:
        line += f" Can't be done: {counted(changes.refused, 'pair')}."
    if changes.unlisted:
        what = counted(changes.unknown, "pair") if changes.unknown else "who is to be removed"
        line += f" Unknown: {what}, because {counted(changes.unlisted, 'image')} can't be listed."
    return line


def render_left(pairs: Iterable[tuple[str, str, str]], names: Mapping[str, str]) -> RenderableType:
    """Return pairs that are left as they are, image by image; each has image ID, project ID and the reason."""
    images: dict[str, list[tuple[str, str]]] = {}
    for image_id, member_id, why in pairs:
        images.setdefault(image_id, []).append((member_id, why))
    lines: list[RenderableType] = [Text("Left as they are:", style="bold")]
    shown = sorted(images, key=name_key(names, lambda image_id: image_id))
    for image_id in shown[:MOST_IMAGES]:
        reasons = dict(images[image_id])
        lines.append(labelled("image", image_id, names))
        lines += _shortened(list(reasons), LEFT, "yellow", names, reasons, MOST_PAIRS)
    if more := len(shown) - MOST_IMAGES:
        lines += [Text(f"... and {counted(more, 'more image')}")] if more > 0 else []
    return Group(*lines)


def _render_doable(image: ImageChanges, names: Mapping[str, str], *, everything: bool) -> list[RenderableType]:
    lines: list[RenderableType] = [labelled("image", image.image_id, names)]
    if image.make_shared:
        lines.append(whole(Text("  ~ private, will be made shared", "yellow")))
    accepted, added = set(image.accept), set(image.add)
    notes = dict.fromkeys(accepted & added, "and accept")
    lines += _shortened(image.add, ADDED, "green", names, notes, None if everything else MOST_PAIRS)
    present = [member for member in image.accept if member not in added]
    notes = dict.fromkeys(present, "accept")
    lines += _shortened(present, ACCEPTED, "yellow", names, notes, None if everything else MOST_PAIRS)
    notes = dict.fromkeys(image.decline, "decline")
    lines += _shortened(image.decline, ACCEPTED, "yellow", names, notes, None if everything else MOST_PAIRS)
    notes = dict.fromkeys(image.reset, "pending again")
    lines += _shortened(image.reset, ACCEPTED, "yellow", names, notes, None if everything else MOST_PAIRS)
    lines += _shortened(image.remove, REMOVED, "red", names, {}, None if everything else MOST_PAIRS)
    return lines


def _refused_everywhere(changes: Changes) -> dict[str, dict[str, int]]:
    """Return the projects at fault themselves, by reason, with the number of images for which each can't be done.

    A reason that has IDs in it is left to the images.
    """
    reasons = {reason for image in changes.images for reason in image.refused}
    pairs = (
        Outcome(image.image_id, member_id, Result.SKIPPED, reason=reason)
        for image in changes.images
        for reason, members in image.refused.items()
        for member_id in members
    )
    found: dict[str, dict[str, int]] = {}
    for cause in causes_of(islice(pairs, MOST_SEARCHED)):
        for fault in cause.at_fault:
            if cause.reason in reasons and fault.kind == "project" and fault.pairs > 1:
                found.setdefault(cause.reason, {})[fault.id] = fault.pairs
    return found


def _rest_of(image: ImageChanges, everywhere: Mapping[str, Mapping[str, int]]) -> dict[str, list[str]]:
    """Return the projects for which nothing can be done, by reason, without those that are at fault themselves."""
    rest = {
        reason: [member_id for member_id in members if member_id not in everywhere.get(reason, ())]
        for reason, members in image.refused.items()
    }
    return {reason: members for reason, members in rest.items() if members}


def _render_everywhere(
    reason: str, projects: Mapping[str, int], names: Mapping[str, str], *, plan: str
) -> list[RenderableType]:
    lines = because(reason, sum(projects.values()), plan)
    shown = by_name(projects, names)[:MOST_PAIRS]
    rows = [
        (Text(f"{REFUSED} {known}", "red"), f"{counted(projects[known], 'image')}", Text(names.get(known, ""), "dim"))
        for known in shown
    ]
    lines += aligned(rows, indent=4)
    if more := len(projects) - len(shown):
        lines.append(Text(f"    {REFUSED} ... and {counted(more, 'more project')}", "red"))
    return lines


def _render_refused(
    image: ImageChanges,
    names: Mapping[str, str],
    *,
    plan: str,
    everything: bool,
    everywhere: Mapping[str, Mapping[str, int]],
) -> list[RenderableType]:
    lines: list[RenderableType] = [labelled("image", image.image_id, names)]
    for reason, members in _rest_of(image, everywhere).items():
        lines += because(reason, len(members), plan)
        lines += _shortened(members, REFUSED, "red", names, {}, None if everything else MOST_REFUSED, indent=4)
    return lines


def _render_unknown(
    image: ImageChanges, names: Mapping[str, str], *, plan: str, everything: bool
) -> list[RenderableType]:
    del everything
    return [labelled("image", image.image_id, names), *because(image.unlisted, len(image.unknown), plan)]


def _shortened(
    members: Sequence[str],
    sign: str,
    style: str,
    names: Mapping[str, str],
    notes: Mapping[str, str],
    most: int | None,
    *,
    indent: int = 2,
) -> list[Text]:
    """Return a line per project, at most `most` and a count of the rest; `notes` adds a remark to some."""
    shown = by_name(members, names)
    rows = [
        (
            Text(f"{sign} {escaped(member)}", style),
            Text(notes.get(member, "")),
            Text(escaped(names.get(member, "")), "dim"),
        )
        for member in shown[:most]
    ]
    lines = aligned(rows, indent=indent)
    if more := len(members) - len(rows):
        lines.append(Text(f"{' ' * indent}{sign} ... and {more:,} more", style))
    return lines
