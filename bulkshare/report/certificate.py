"""The certificate of an offboarding: memberships before and after, as whom, and what could not be checked. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Group
from rich.text import Text

from bulkshare.report.markdown import code
from bulkshare.report.text import Prose, aligned, whole
from bulkshare.text import counted, escaped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from bulkshare.model import Account

VERSION = 1
PROSE_INDENT = 2  # of what may be wrapped; tables have more


class Membership(NamedTuple):
    """A project that is a member of an image, with the status that the cloud reports."""

    image_id: str
    image_name: str
    project_id: str
    status: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What was found when the members of all images of an account were listed.

    at: when that was finished.
    images: how many images the account owns.
    memberships: of the projects in question.
    unlisted: why the members of some images could not be listed, by the image's ID.
    private, usable_by_all: how many images show no members, because they are private, and because every project can
        use them.
    """

    at: datetime
    images: int
    memberships: tuple[Membership, ...]
    unlisted: Mapping[str, str]
    private: int
    usable_by_all: int


@dataclass(frozen=True, slots=True)
class CloudPart:
    """What is certified of one cloud.

    cloud: its clouds.yaml entry, or what stands for it.
    account: as whom it was asked; None if the log-in failed.
    projects: the names of the projects in question, by ID; "" for one without a known name.
    unknown: those of them that the identity service does not know.
    run: that removed the memberships; "" if there were none.
    after: None if nothing could be listed.
    not_checked: what can't be certified: why the cloud as a whole was not listed.
    same_as: another cloud that is the same place, and has all of this.
    """

    cloud: str
    account: Account | None
    projects: Mapping[str, str]
    unknown: frozenset[str]
    run: str
    before: Listing | None
    after: Listing | None
    not_checked: str = ""
    same_as: str = ""

    @property
    def is_done(self) -> bool:
        """Whether the projects are members of nothing, as far as anyone can tell."""
        if self.same_as:
            return True
        return self.after is not None and not (self.not_checked or self.after.memberships or self.after.unlisted)


class NamedIn(NamedTuple):
    """A plan that still names a project: the plan's file, its name, and how."""

    file: str
    plan: str
    how: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """What an offboarding brought about.

    asked: the projects as the command named them.
    plans: those that would make a project a member again.
    unread: plans' files that could not be read, with the reason.
    """

    asked: str
    made_at: datetime
    version: str
    clouds: Sequence[CloudPart]
    plans: Sequence[NamedIn] = ()
    unread: Sequence[str] = ()

    @property
    def is_done(self) -> bool:
        """Whether the projects are members of nothing on any of the clouds, and all could be checked."""
        return all(part.is_done for part in self.clouds)

    @property
    def verdict(self) -> str:
        """One sentence."""
        left = sum(len(part.after.memberships) for part in self.clouds if part.after is not None)
        open_parts = sum(not part.is_done for part in self.clouds)
        if self.is_done:
            images = sum(part.after.images for part in self.clouds if part.after is not None)
            verdict = f"complete: no membership is left in {counted(images, 'image')}"
            known = [part for part in self.clouds if part.after is not None]
            if unknown := frozenset.intersection(*(part.unknown for part in known)) if known else ():
                verdict += f", but no identity service knows {', '.join(sorted(unknown))}: check the ID"
            return verdict
        if left:
            return f"not complete: {counted(left, 'membership')} left"
        return f"not complete: {counted(open_parts, 'cloud')} could not be checked as a whole"


def certificate_document(certificate: Certificate) -> dict[str, Any]:
    """Return the certificate as a JSON object. Times are ISO 8601, UTC."""
    return {
        "version": VERSION,
        "offboarded": certificate.asked,
        "complete": certificate.is_done,
        "made_at": _time(certificate.made_at),
        "made_by": f"bulkshare {certificate.version}",
        "clouds": [_part_document(part) for part in certificate.clouds],
        "plans": [named._asdict() for named in certificate.plans],
        "plans_not_read": list(certificate.unread),
    }


def _part_document(part: CloudPart) -> dict[str, Any]:
    account = part.account
    return {
        "cloud": part.cloud,
        "complete": part.is_done,
        "same_as": part.same_as or None,
        "endpoint": account.endpoint if account else None,
        "user": account.user if account else None,
        "account_project": account.project if account else None,
        "account_project_id": account.project_id if account else None,
        "projects": [
            {"id": known_id, "name": name or None, "known": known_id not in part.unknown}
            for known_id, name in part.projects.items()
        ],
        "run": part.run or None,
        "before": _listing_document(part.before),
        "after": _listing_document(part.after),
        "not_checked": part.not_checked or None,
    }


def _listing_document(listing: Listing | None) -> dict[str, Any] | None:
    if listing is None:
        return None
    return {
        "at": _time(listing.at),
        "images": listing.images,
        "memberships": [membership._asdict() for membership in listing.memberships],
        "not_checked": dict(listing.unlisted),
        "private_images": listing.private,
        "public_and_community_images": listing.usable_by_all,
    }


def certificate_text(certificate: Certificate, suffix: str) -> str:
    """Return the certificate for a file: JSON for ".json", Markdown for ".md" or ".markdown", else plain text."""
    if suffix == ".json":
        return json.dumps(certificate_document(certificate), indent=1, ensure_ascii=False) + "\n"
    if suffix in {".md", ".markdown"}:
        return _markdown(certificate)
    return "".join(f"{line}\n" for line in _lines(certificate))


def render_certificate(certificate: Certificate, *, brief: bool = False) -> RenderableType:
    """Return the certificate for a terminal; if it is `brief`, no more than the verdict."""
    *lines, last = _lines(certificate)
    verdict = Prose(Text(last, "green" if certificate.is_done else "yellow"), hanging=2)
    if brief:
        return verdict
    return Group(*map(_line, lines), verdict)


def _line(line: str) -> RenderableType:
    text = line.lstrip()
    indent = len(line) - len(text)
    return whole(Text(line)) if indent > PROSE_INDENT else Prose(text, indent=indent, hanging=2)


def _lines(certificate: Certificate) -> list[str]:
    lines = [f"Offboarding of {escaped(certificate.asked)}"]
    for part in certificate.clouds:
        lines += ["", *_part_lines(part)]
    if certificate.plans or certificate.unread:
        lines += ["", "Plans that would make it a member again:"]
        lines += [f"  {escaped(named.file)} (plan {named.plan}) {named.how}" for named in certificate.plans]
        lines += [f"  not read: {escaped(why)}" for why in certificate.unread]
    made = f"made at {_time(certificate.made_at)} by bulkshare {certificate.version}"
    return [*lines, "", f"{certificate.verdict[0].upper()}{certificate.verdict[1:]}; {made}"]


def _part_lines(part: CloudPart) -> list[str]:
    lines = [f"Cloud {escaped(part.cloud)}"]
    if part.same_as:
        return [*lines, f"  the same place as cloud {escaped(part.same_as)}"]
    if part.account is not None:
        lines.append(f"  {_whom(part.account)}")
    for known_id, name in part.projects.items():
        about = f"  {escaped(name)}" if name else ""
        unknown = ", which the identity service does not know" if known_id in part.unknown else ""
        lines.append(f"  project {escaped(known_id)}{about}{unknown}")
    if part.run:
        lines.append(f"  removed by run {part.run}")
    for when, listing in (("before", part.before), ("after", part.after)):
        if listing is not None:
            lines.append(f"  {when}: {_found(listing)}")
            lines += [line.plain for line in aligned(_rows(listing), indent=4)] if listing.memberships else []
    if part.after is not None:
        lines += [f"  not checked: {unlisted}" for unlisted in _unlisted(part.after)]
        lines += [f"  {remark}" for remark in _remarks(part.after)]
    if part.not_checked:
        lines.append(f"  not checked: {escaped(part.not_checked)}")
    return lines


def _rows(listing: Listing) -> list[tuple[str, str, str, str]]:
    return [
        (escaped(each.image_id), escaped(each.image_name), escaped(each.project_id), escaped(each.status))
        for each in listing.memberships
    ]


def _whom(account: Account) -> str:
    return escaped(
        f"asked by user {account.user} of project {account.project} ({account.project_id}) at {account.endpoint}", 1000
    )


def _found(listing: Listing) -> str:
    what = counted(len(listing.memberships), "membership") if listing.memberships else "none"
    return f"{what} in {counted(listing.images, 'image')} of the account, {_time(listing.at)}"


def _unlisted(listing: Listing) -> list[str]:
    return [escaped(f"image {image_id}: {why}") for image_id, why in listing.unlisted.items()]


def _remarks(listing: Listing) -> list[str]:
    """Return what no listing can show."""
    remarks = []
    if listing.usable_by_all:
        remarks.append(f"every project can use {counted(listing.usable_by_all, 'public or community image')}")
    if listing.private:
        remarks.append(
            f"no project can use {counted(listing.private, 'private image')}; members from before they were made "
            "private don't show, and would come back if they were shared again"
        )
    return remarks


def _markdown(certificate: Certificate) -> str:
    blocks = [f"# Offboarding of {code(certificate.asked)}", f"**{certificate.verdict}**"]
    for part in certificate.clouds:
        blocks.append(f"## Cloud {code(part.cloud)}")
        if part.same_as:
            blocks.append(f"The same place as cloud {code(part.same_as)}.")
            continue
        facts = [code(_whom(part.account))] if part.account is not None else []
        for known_id, name in part.projects.items():
            unknown = ", which the identity service does not know" if known_id in part.unknown else ""
            facts.append(" ".join(filter(None, ("project", code(known_id), code(name)))) + unknown)
        facts += [f"removed by run {code(part.run)}"] if part.run else []
        facts += [f"not checked: {code(part.not_checked)}"] if part.not_checked else []
        if part.after is not None:
            facts += [f"not checked: {code(unlisted)}" for unlisted in _unlisted(part.after)]
            facts += _remarks(part.after)
        blocks += ["\n".join(f"- {fact}" for fact in facts)] if facts else []
        for when, listing in (("Before", part.before), ("After", part.after)):
            if listing is None:
                continue
            blocks.append(f"**{when}**: {_found(listing)}")
            if listing.memberships:
                cells = [f"| {' | '.join(map(code, row))} |" for row in _rows(listing)]
                blocks.append("\n".join(["| image | name | project | status |", "| --- | --- | --- | --- |", *cells]))
    if certificate.plans or certificate.unread:
        named = [f"- {code(each.file)} (plan {code(each.plan)}) {code(each.how)}" for each in certificate.plans]
        unread = [f"- not read: {code(why)}" for why in certificate.unread]
        blocks += ["## Plans that would make it a member again", "\n".join([*named, *unread])]
    blocks.append(f"Made at {_time(certificate.made_at)} by bulkshare {certificate.version}.")
    return "\n\n".join(blocks) + "\n"


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
