"""What an audit finds: how the members of all images of an owner differ from plans, and what is wrong with them. Pure.

A finding is a row; what could not be checked is never one of nothing: it is said, with the reason.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Group
from rich.text import Text

from bulkshare.model import KnownProjects, Want
from bulkshare.report.documents import VERSION
from bulkshare.report.export import csv_line
from bulkshare.report.markdown import code
from bulkshare.report.text import Prose, aligned
from bulkshare.text import clean, counted, escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from bulkshare.model import Account, Block, Image, Member

NEARLY_FULL = 0.9  # of an image's quota


class Kind(StrEnum):
    """What is found. The values are part of the JSON and the CSV."""

    UNPLANNED = "unplanned"
    MISSING = "missing"
    PENDING = "pending"
    DISABLED = "disabled"
    UNKNOWN = "unknown"
    QUOTA = "quota"


MEANINGS = {
    Kind.UNPLANNED: "members that no plan names",
    Kind.MISSING: "of a plan, but not members",
    Kind.PENDING: "members that have been pending for too long",
    Kind.DISABLED: "members whose project is disabled",
    Kind.UNKNOWN: "members that the cloud has no project for",
    Kind.QUOTA: "images with hardly any room for members",
}


class Finding(NamedTuple):
    """One thing that is not as it should be; `member_id` is empty if it is about an image as a whole."""

    kind: Kind
    image_id: str
    member_id: str
    status: str
    since: datetime | None
    detail: str


@dataclass(frozen=True, slots=True)
class Named:
    """What a plan says of one cloud.

    blocks: its pairs.
    kept: members that it keeps, by image.
    limit: how many members it lets an image have; None: it doesn't say, 0: any number.
    """

    plan: str
    blocks: Sequence[Block]
    kept: Mapping[str, frozenset[str]] = field(default_factory=dict)
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Audited:
    """What was seen on one cloud.

    images: those of the owner, and those of the plans; `members`: of those that were listed.
    unlisted: why the members of others could not be listed.
    private: images that can have no members, because they are private.
    projects: which members are projects; None: no one wants to know.
    quota: how many members the cloud lets an image have, if it says.
    names: those that plans know, of images and projects by ID.
    """

    account: Account
    at: datetime
    images: Mapping[str, Image]
    members: Mapping[str, Sequence[Member]]
    unlisted: Mapping[str, str]
    private: frozenset[str]
    projects: KnownProjects | None
    quota: int | None
    named: Sequence[Named]
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CloudAudit:
    """The findings on one cloud; `not_checked`: what is not known, and why; `notes`: what else there is to know."""

    account: Account
    images: int
    members: int
    findings: tuple[Finding, ...]
    not_checked: tuple[str, ...]
    notes: tuple[str, ...]
    names: Mapping[str, str]


def audited(cloud: Audited, *, pending_for_seconds: float) -> CloudAudit:
    """Return what is found on a cloud."""
    planned: dict[str, list[tuple[str, Sequence[str]]]] = {}
    for named in cloud.named:
        for block in named.blocks:
            if Want.RECEIVED not in Want(block.want):
                planned.setdefault(block.image_id, []).append((named.plan, block.member_ids))
    findings: list[Finding] = []
    for image_id, several in cloud.members.items():
        members = {member.member_id: member for member in several}
        findings += _unplanned(cloud, image_id, members, planned.get(image_id, ()))
        findings += _missing(cloud, image_id, members, planned.get(image_id, ()))
        for member in members.values():
            findings += _pending(cloud, image_id, member, pending_for_seconds)
            findings += _of_project(cloud.projects, image_id, member)
        findings += _quota(cloud, image_id, len(several))
    for image_id in cloud.private & planned.keys():
        findings += _missing(cloud, image_id, {}, planned[image_id])
    names = {image.id: image.name for image in cloud.images.values() if image.name}
    order = list(Kind)
    findings.sort(
        key=lambda each: (order.index(each.kind), names.get(each.image_id, ""), each.image_id, each.member_id)
    )
    return CloudAudit(
        cloud.account,
        images=len(cloud.images),
        members=sum(map(len, cloud.members.values())),
        findings=tuple(findings),
        not_checked=tuple(_not_checked(cloud)),
        notes=tuple(_notes(cloud)),
        names={**cloud.names, **(cloud.projects.names if cloud.projects else {}), **names},
    )


def _not_checked(cloud: Audited) -> Iterator[str]:
    """Yield what is not known, and why; each may hide a finding."""
    for image_id, reason in sorted(cloud.unlisted.items()):
        yield f"the members of image {image_id}: {reason}"
    pending = (member for several in cloud.members.values() for member in several if member.status == "pending")
    if undated := sum(_changed_at(member) is None for member in pending):
        yield f"since when {counted(undated, 'member is', 'members are')} pending: the cloud doesn't say"
    if cloud.projects is not None and cloud.projects.unchecked:
        members = counted(len(cloud.projects.unchecked), "member is a project", "members are projects")
        yield f"whether {members}: {cloud.projects.reason}"


def _notes(cloud: Audited) -> Iterator[str]:
    """Yield what is not checked because no one has asked for it."""
    if cloud.projects is None:
        yield "whether members are projects is not checked: the plans have check_projects: never"
    if _limit(cloud) is None and cloud.members:
        yield "how full images are is not checked: no plan has limits.members_per_image (0 stands for no limit)"


def _changed_at(member: Member) -> datetime | None:
    return member.updated_at or member.created_at


def _pending(cloud: Audited, image_id: str, member: Member, pending_for_seconds: float) -> Iterator[Finding]:
    since = _changed_at(member)
    if member.status == "pending" and since is not None:
        waited = (cloud.at - since).total_seconds()
        if waited > pending_for_seconds:
            detail = f"pending since {since:%Y-%m-%d %H:%M} UTC"
            yield Finding(Kind.PENDING, image_id, member.member_id, member.status, since, detail)


def _unplanned(
    cloud: Audited, image_id: str, members: Mapping[str, Member], planned: Iterable[tuple[str, Sequence[str]]]
) -> Iterator[Finding]:
    rest = members.keys() - {member for _, several in planned for member in several}
    for named in cloud.named:
        rest -= named.kept.get(image_id, frozenset())
    detail = "a plan names the image" if planned else "no plan names the image"
    for member_id in rest:
        member = members[member_id]
        yield Finding(Kind.UNPLANNED, image_id, member_id, member.status or "", member.created_at, detail)


def _missing(
    cloud: Audited, image_id: str, members: Mapping[str, Member], planned: Iterable[tuple[str, Sequence[str]]]
) -> Iterator[Finding]:
    image = cloud.images.get(image_id)
    plans: dict[str, list[str]] = {}
    for plan, several in planned:
        for member_id in several:
            if member_id not in members and (image is None or member_id != image.owner):
                plans.setdefault(member_id, []).append(plan)
    private = "; the image is private" if image_id in cloud.private else ""
    for member_id, names in plans.items():
        detail = f"plan {', '.join(dict.fromkeys(names))}{private}"
        yield Finding(Kind.MISSING, image_id, member_id, "", None, detail)


def _of_project(projects: KnownProjects | None, image_id: str, member: Member) -> Iterator[Finding]:
    if projects is None or member.member_id in projects.unchecked:
        return
    if member.member_id not in projects.known:
        detail = "no such project"
        yield Finding(Kind.UNKNOWN, image_id, member.member_id, member.status or "", member.created_at, detail)
    elif member.member_id in projects.disabled:
        detail = "the project is disabled"
        yield Finding(Kind.DISABLED, image_id, member.member_id, member.status or "", member.created_at, detail)


def _limit(cloud: Audited) -> int | None:
    """Return how many members an image may have; 0: any number, None: not known."""
    limits = {named.limit for named in cloud.named} | {cloud.quota}
    limits.discard(None)
    finite = [limit for limit in limits if limit]
    return min(finite) if finite else (0 if limits else None)


def _quota(cloud: Audited, image_id: str, members: int) -> Iterator[Finding]:
    limit = _limit(cloud)
    if limit and members > NEARLY_FULL * limit:
        yield Finding(Kind.QUOTA, image_id, "", "", None, f"{members:,} of {limit:,} members")


# --- output ----------------------------------------------------------------------------------------------------------

COLUMNS = (
    *("finding", "cloud", "region", "endpoint", "image_id", "image_name", "project_id", "project_name"),
    *("status", "since", "detail"),
)


def _row(audit: CloudAudit, finding: Finding) -> dict[str, Any]:
    names, account = audit.names, audit.account
    since = finding.since.isoformat(timespec="seconds").replace("+00:00", "Z") if finding.since else None
    values = (
        *(finding.kind.value, account.cloud, account.region, account.endpoint),
        *(finding.image_id, names.get(finding.image_id), finding.member_id or None, names.get(finding.member_id)),
        *(finding.status or None, since, finding.detail),
    )
    return dict(zip(COLUMNS, values, strict=True))


def audit_document(plans: Sequence[str], audits: Sequence[CloudAudit]) -> dict[str, Any]:
    """Return an audit as one JSON object."""
    return {
        "version": VERSION,
        "plans": list(plans),
        "clouds": [
            {
                "cloud": audit.account.cloud,
                "region": audit.account.region,
                "endpoint": audit.account.endpoint,
                "user": audit.account.user,
                "project": audit.account.project,
                "images": audit.images,
                "members": audit.members,
                "counts": {kind.value: count for kind, count in _counts(audit).items()},
                "not_checked": list(audit.not_checked),
                "notes": list(audit.notes),
            }
            for audit in audits
        ],
        "findings": [_row(audit, finding) for audit in audits for finding in audit.findings],
    }


def audit_csv(audits: Iterable[CloudAudit]) -> Iterator[str]:
    """Yield an audit as CSV with a header, a line each."""
    yield csv_line(COLUMNS)
    for audit in audits:
        for finding in audit.findings:
            yield csv_line(_row(audit, finding).values())


def render_audit(audit: CloudAudit) -> Iterator[RenderableType]:
    """Yield what is found on a cloud: a line for the cloud, and a table for each kind of finding."""
    yield Prose(Text(_title(audit)), hanging=4)
    for kind, count in _counts(audit).items():
        if not count:
            continue
        yield Text(f"  {MEANINGS[kind]}: {count:,}", "bold yellow")
        rows = [
            [Text(escaped(value)) for value in _cells(audit, finding)]
            for finding in audit.findings
            if finding.kind is kind
        ]
        yield Group(*(Prose(line, indent=4, hanging=4, cells=True) for line in aligned(rows)))
    for text in audit.not_checked:
        yield Prose(Text(f"not checked: {clean(text)}", "yellow"), indent=2, hanging=4)
    for text in audit.notes:
        yield Prose(text, indent=2, hanging=4)


def audit_markdown(audits: Iterable[CloudAudit]) -> str:
    """Return an audit as Markdown: a heading for each cloud, and a table of its findings."""
    lines: list[str] = []
    for audit in audits:
        lines += [f"### {code(_title(audit))}", ""]
        if audit.findings:
            lines += ["| finding | image | project | detail |", "|---|---|---|---|"]
            for each in audit.findings:
                image, project, detail = _cells(audit, each)
                lines.append(f"| {each.kind} | {code(image)} | {code(project)} | {code(detail)} |")
            lines.append("")
        lines += [f"- **not checked**: {code(text)}" for text in audit.not_checked]
        lines += [f"- note: {code(text)}" for text in audit.notes]
        lines.append("")
    return "\n".join(lines)


def _counts(audit: CloudAudit) -> dict[Kind, int]:
    counts = Counter(finding.kind for finding in audit.findings)
    return {kind: counts[kind] for kind in Kind}


def _title(audit: CloudAudit) -> str:
    account = audit.account
    cloud = " ".join(filter(None, (account.cloud, account.region)))
    listed = f"{counted(audit.images, 'image')} with {counted(audit.members, 'member')}"
    return clean(f"cloud {cloud}, project {account.project}: {listed}, {counted(len(audit.findings), 'finding')}")


def _cells(audit: CloudAudit, finding: Finding) -> tuple[str, str, str]:
    image, project = (
        "  ".join(filter(None, (known_id, audit.names.get(known_id, ""))))
        for known_id in (finding.image_id, finding.member_id)
    )
    return image, project, finding.detail
