"""Who can use which image, from what runs and the cloud have seen: the answers of `who` and `what`. Pure.

The sightings of a pair are read in the order of time:

=========================================  =============================================================
sighting                                   says
=========================================  =============================================================
shared; pending, but added                 a member, since the cloud's created_at, by this run
accepted, declined, already; any with a    a member; by the same as before if created_at is still the same, else
status                                     by no run, since created_at or since this sighting at the latest
already, without an answer                 the image is public or community: every project can use it
removed                                    no member any more, by this run
absent                                     no member; gone at this time at the latest, unless a run removed it
rejected, failed, skipped                  to be shared: unknown, even if it was a member, because then there would
                                           have been nothing to share; to be removed: unknown if it may have happened
pending                                    nothing
=========================================  =============================================================

Glance makes a member that was removed anew with its old created_at. So one that is from before the run that added it,
or from before the pair was last seen without a member, says nothing; then the time of the sighting counts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Group
from rich.text import Text

from bulkshare.model import Result, Sighting, Want
from bulkshare.report.documents import VERSION
from bulkshare.report.export import action_of, csv_line
from bulkshare.report.text import STYLES, Prose, aligned, by_name, labelled, name_key, named
from bulkshare.text import clean, counted, escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from bulkshare.model import Account, Image, Member, RunRef


class State(StrEnum):
    """Whether a project can use an image. The values are shown, and part of the JSON and the CSV."""

    MEMBER = "member"
    EVERYONE = "everyone"  # the image is public or community
    GONE = "gone"  # not, or no longer, a member
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Access:
    """What is known of a pair on a cloud.

    account: of the run, or of the question to the cloud, that saw it last.
    status: of the member: pending, accepted or rejected.
    since: when the state began; None: not known. With `at_least`, it is the first time that it was seen.
    by: the run that brought it about; None: none of those in the ledger did.
    seen: the last run that saw it so; None: the cloud was asked. `seen_at`: when.
    history: the sightings that say this, in the order of time.
    """

    image_id: str
    member_id: str
    account: Account
    state: State = State.UNKNOWN
    status: str | None = None
    since: datetime | None = None
    at_least: bool = False
    by: RunRef | None = None
    seen: RunRef | None = None
    seen_at: datetime | None = None
    history: tuple[Sighting, ...] = ()

    @property
    def last(self) -> Sighting:
        """The last sighting."""
        return self.history[-1]


@dataclass(slots=True)
class _Membership:
    """The last membership known: when the cloud says it was created, and since when and by whom it was seen."""

    created_at: datetime | None
    since: datetime
    at_least: bool
    by: RunRef | None


def access_of(sightings: Sequence[Sighting], account: Account) -> Access:
    """Return what the sightings of a pair at one endpoint, at least one, say in the order of time."""
    first = sightings[0]
    access = Access(first.image_id, first.member_id, account)
    membership: _Membership | None = None
    absent_at: datetime | None = None
    for each in sightings:
        if is_member(each):
            membership = _membership(each, membership, absent_at)
            access = replace(
                access,
                state=State.MEMBER,
                status=each.status or (access.status if access.state is State.MEMBER else None),
                since=membership.since,
                at_least=membership.at_least,
                by=membership.by,
            )
        elif each.result is Result.ALREADY:
            if access.state is not State.EVERYONE:
                access = replace(access, state=State.EVERYONE, status=None, since=each.at, at_least=True, by=None)
        elif each.result in {Result.REMOVED, Result.ABSENT}:
            membership, absent_at = None, each.last_at
            removed = each.result is Result.REMOVED
            if removed or access.state is not State.GONE:
                by = each.run if removed else None
                access = replace(access, state=State.GONE, status=None, since=each.at, at_least=not removed, by=by)
        elif is_doubtful(each):
            access = replace(access, state=State.UNKNOWN, status=None, since=None, at_least=False, by=None)
            continue
        else:
            continue
        access = replace(access, seen=each.last_run, seen_at=each.last_at)
    return replace(access, history=tuple(sightings))


class Listing(NamedTuple):
    """What a cloud said just now, to `account`.

    images: those that were asked about, by ID; members: of those whose members were listed.
    unlisted: why the members of others could not be listed.
    """

    account: Account
    at: datetime
    images: Mapping[str, Image]
    members: Mapping[str, Sequence[Member]]
    unlisted: Mapping[str, str]


def now_seen(known: Iterable[Sequence[Sighting]], listing: Listing) -> list[Access]:
    """Return what the cloud says now, with what the ledger knows of the same pairs and of others.

    known: the sightings of pairs at the cloud's endpoint, in the order of time.
    """
    pairs = {(each[0].image_id, each[0].member_id): list(each) for each in known}
    there = {(image_id, each.member_id): each for image_id, several in listing.members.items() for each in several}
    for image_id, member_id in {**pairs, **there}:
        member = there.get((image_id, member_id))
        pairs.setdefault((image_id, member_id), []).append(_sighting(image_id, member_id, member, listing))
    return [access_of(each, listing.account) for each in pairs.values()]


def _sighting(image_id: str, member_id: str, member: Member | None, listing: Listing) -> Sighting:
    """Return what a listing says of a pair, as a run would have recorded it."""
    image = listing.images.get(image_id)
    result, reason, answered = Result.SKIPPED, listing.unlisted.get(image_id, ""), True
    if member is not None:
        result = Result.ALREADY
    elif image_id in listing.members:
        result = Result.ABSENT
    elif image is None:
        reason = "the image is not among those that were asked about"
    elif image.usable_by_all:
        result, answered = Result.ALREADY, False
    elif not reason:
        reason = f"the image is {image.visibility}, so its members can't use it"
    status, created_at = (member.status, member.created_at) if member else (None, None)
    at = listing.at
    return Sighting(image_id, member_id, result, Want.MEMBER, answered, status, created_at, reason, None, at, None, at)


def is_member(sighting: Sighting) -> bool:
    """Whether a sighting shows that the project is a member."""
    if sighting.result in {Result.REMOVED, Result.ABSENT}:
        return False
    if sighting.result in {Result.SHARED, Result.ACCEPTED, Result.DECLINED} or sighting.status is not None:
        return True
    if sighting.result is Result.PENDING:
        return Want.ALREADY_MEMBER in sighting.want
    return sighting.result is Result.ALREADY and sighting.answered


def is_doubtful(sighting: Sighting) -> bool:
    """Whether, after a sighting, it is not known whether the project is a member."""
    if sighting.result is Result.PENDING:
        return False
    return Want.REMOVE not in sighting.want or sighting.result is Result.FAILED


def _membership(sighting: Sighting, before: _Membership | None, absent_at: datetime | None) -> _Membership:
    """Return the membership that a sighting shows.

    before: the one known so far, which it may be.
    absent_at: when the pair was last seen without a member.
    """
    created_at = sighting.created_at
    if sighting.result is Result.SHARED or Want.ADDED in sighting.want:
        began = sighting.run.started_at.replace(microsecond=0) if sighting.run else None
        since = created_at if created_at and (began is None or created_at >= began) else sighting.at
        return _Membership(created_at, since, at_least=False, by=sighting.run)
    if before is not None and (created_at is None or before.created_at in {None, created_at}):
        if created_at is not None and before.created_at is None:
            before.created_at = created_at
            if before.at_least:
                before.since, before.at_least = created_at, False
        return before
    dated = created_at is not None and (absent_at is None or created_at > absent_at)
    return _Membership(created_at, created_at if created_at and dated else sighting.at, at_least=not dated, by=None)


# --- documents and CSV -----------------------------------------------------------------------------------------------

ACCESS_COLUMNS = (
    *("image_id", "image_name", "project_id", "project_name", "cloud", "region", "endpoint", "state", "status"),
    *("since", "at_least", "by_run", "by_user", "by_project", "seen_by_run", "seen_at", "last_result", "reason"),
)
HISTORY_COLUMNS = (
    *("image_id", "image_name", "project_id", "project_name", "cloud", "region", "endpoint", "at", "last_at", "count"),
    *("action", "result", "status", "created_at", "reason", "run", "last_run", "user", "project"),
)


def access_rows(accesses: Iterable[Access], names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield a row with `ACCESS_COLUMNS` for each access; times are ISO 8601 in UTC, unknown values None."""
    for each in accesses:
        by, last = each.by, each.last
        yield {
            **_pair(each, each.account, names),
            "state": each.state.value,
            "status": each.status,
            "since": _iso(each.since),
            "at_least": each.at_least,
            "by_run": by.key if by else None,
            "by_user": by.account.user if by else None,
            "by_project": by.account.project if by else None,
            "seen_by_run": each.seen.key if each.seen else None,
            "seen_at": _iso(each.seen_at),
            "last_result": last.result.value if last.run else None,
            "reason": last.reason,
        }


def history_rows(accesses: Iterable[Access], names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield a row with `HISTORY_COLUMNS` for each sighting of all pairs together, in the order of time."""
    for each, sighting in in_time_order(accesses):
        run, last_run = sighting.run, sighting.last_run
        account = run.account if run else each.account
        yield {
            **_pair(each, account, names),
            "at": _iso(sighting.at),
            "last_at": _iso(sighting.last_at),
            "count": sighting.times,
            "action": action_of(sighting.want),
            "result": sighting.result.value,
            "status": sighting.status,
            "created_at": _iso(sighting.created_at),
            "reason": sighting.reason,
            "run": run.key if run else None,
            "last_run": last_run.key if last_run else None,
            "user": account.user,
            "project": account.project,
        }


def in_time_order(accesses: Iterable[Access]) -> list[tuple[Access, Sighting]]:
    """Return the sightings of all pairs in the order of time; those without news, plain pending ones, are left out."""
    told = (
        (each, sighting)
        for each in accesses
        for sighting in each.history
        if sighting.result is not Result.PENDING or sighting.want & (Want.ALREADY_MEMBER | Want.ADDED)
    )
    return sorted(told, key=lambda pair: (pair[1].at, pair[0].image_id, pair[0].member_id))


def access_document(
    question: str, asked: str, accesses: Sequence[Access], names: Mapping[str, str], *, cloud: bool, history: bool
) -> dict[str, Any]:
    """Return the answer as one JSON object; `cloud`: the cloud was asked as well."""
    return {
        "version": VERSION,
        "question": question,
        "asked": asked,
        "source": "cloud" if cloud else "ledger",
        "access": list(access_rows(accesses, names)),
        **({"history": list(history_rows(accesses, names))} if history else {}),
    }


def access_csv(accesses: Iterable[Access], names: Mapping[str, str], *, history: bool) -> Iterator[str]:
    """Yield the answer as CSV with a header, a line each: accesses, or with `history` their sightings."""
    columns = HISTORY_COLUMNS if history else ACCESS_COLUMNS
    rows = history_rows(accesses, names) if history else access_rows(accesses, names)
    yield csv_line(columns)
    for row in rows:
        yield csv_line(str(value).lower() if isinstance(value, bool) else value for value in row.values())


def _pair(access: Access, account: Account, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "image_id": access.image_id,
        "image_name": names.get(access.image_id),
        "project_id": access.member_id,
        "project_name": names.get(access.member_id),
        "cloud": account.cloud,
        "region": account.region,
        "endpoint": account.endpoint,
    }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="seconds").replace("+00:00", "Z")


# --- text ------------------------------------------------------------------------------------------------------------

STATE_STYLES = {State.MEMBER: "green", State.EVERYONE: "green", State.UNKNOWN: "yellow", State.GONE: "dim"}
NO_RUN = "no run in the ledger"


def render_who(accesses: Sequence[Access], names: Mapping[str, str], *, history: bool) -> Iterator[RenderableType]:
    """Yield for each image and cloud the projects that can use the image, and what else is known."""
    for image_id, of_image in _grouped(accesses, lambda each: each.image_id, names):
        yield labelled("image", image_id, names)
        yield from _render_clouds(of_image, names, history=history, other="project")


def render_what(accesses: Sequence[Access], names: Mapping[str, str], *, history: bool) -> Iterator[RenderableType]:
    """Yield for each project and cloud the images that the project can use, and what else is known."""
    for member_id, of_member in _grouped(accesses, lambda each: each.member_id, names):
        yield labelled("project", member_id, names)
        yield from _render_clouds(of_member, names, history=history, other="image")


def _grouped(
    accesses: Iterable[Access], key: Callable[[Access], str], names: Mapping[str, str]
) -> Iterator[tuple[str, list[Access]]]:
    groups: dict[str, list[Access]] = {}
    for each in accesses:
        groups.setdefault(key(each), []).append(each)
    for known_id in by_name(groups, names):
        yield known_id, groups[known_id]


def _render_clouds(
    accesses: Iterable[Access], names: Mapping[str, str], *, history: bool, other: str
) -> Iterator[RenderableType]:
    clouds: dict[str, list[Access]] = {}
    for each in accesses:
        clouds.setdefault(each.account.endpoint, []).append(each)
    for endpoint, of_cloud in clouds.items():
        account = of_cloud[-1].account
        cloud = " ".join(filter(None, (account.cloud, account.region)))
        yield Prose(
            f"on cloud {clean(cloud)} at {clean(endpoint)}{_as_of(of_cloud)}: {_count(of_cloud, other)}",
            indent=2,
            hanging=2,
        )
        shown = [each for each in of_cloud if each.state is not State.GONE]
        shown.sort(key=name_key(names, lambda each: _other(each, other)))
        if shown:
            yield Group(*_render_rows(shown, names, other))
        if history:
            yield Text("  history")
            yield Group(*_render_history(of_cloud, names, other))


def _as_of(accesses: Iterable[Access]) -> str:
    times = [each.seen_at for each in accesses if each.seen_at is not None]
    return f", {max(times):%Y-%m-%d %H:%M} UTC" if times else ""


def _count(accesses: Sequence[Access], other: str) -> str:
    counts = Counter(each.state for each in accesses)
    usable = counts[State.MEMBER] + counts[State.EVERYONE]
    can = f"{counted(usable, 'project')} can use it" if other == "project" else f"it can use {counted(usable, 'image')}"
    unknown = f", {counts[State.UNKNOWN]:,} not known" if counts[State.UNKNOWN] else ""
    gone = f", {counts[State.GONE]:,} not or no longer a member" if counts[State.GONE] else ""
    return can + unknown + gone


def _other(access: Access, other: str) -> str:
    return access.member_id if other == "project" else access.image_id


def _render_rows(accesses: Sequence[Access], names: Mapping[str, str], other: str) -> list[Prose]:
    head = [Text(title, "bold") for title in (other, "status", "since (UTC)", "name", "by")]
    rows = [
        (
            Text(escaped(_other(each, other))),
            Text(_status(each), STATE_STYLES[each.state]),
            Text(_since(each)),
            Text(escaped(names.get(_other(each, other), "")), "dim"),
            Text(_author(each)),
        )
        for each in accesses
    ]
    return [Prose(line, indent=4, hanging=4, cells=True) for line in aligned([head, *rows])]


def _status(access: Access) -> str:
    if access.state is State.EVERYONE:
        return "public or community"
    return clean(access.status or access.state.value, 30)


def _since(access: Access) -> str:
    if access.since is None:
        return ""
    return f"{'at least ' if access.at_least else ''}{access.since:%Y-%m-%d %H:%M:%S}"


def _author(access: Access) -> str:
    if access.state is State.UNKNOWN:
        last = access.last
        run = f" by run {last.last_run.key}" if last.last_run else ""
        return clean(f"{last.result.value}{run}{': ' if last.reason else ''}{last.reason}")
    return _by(access.by) if access.by else NO_RUN


def _by(run: RunRef) -> str:
    return clean(f"run {run.key} as {run.account.user} of project {run.account.project}")


def _render_history(accesses: Iterable[Access], names: Mapping[str, str], other: str) -> list[Prose]:
    rows = [
        (
            Text(f"{sighting.at:%Y-%m-%d %H:%M:%S}"),
            Text(_happened(sighting), STYLES[sighting.result]),
            Text(clean(sighting.status or "", 30)),
            Text(named(_other(each, other), names)),
            Text(_by(sighting.run) if sighting.run else "the cloud, asked now"),
            Text(f"{sighting.times:,} times until {sighting.last_at:%Y-%m-%d %H:%M:%S}" if sighting.times > 1 else ""),
            Text(clean(sighting.reason)),
        )
        for each, sighting in in_time_order(accesses)
    ]
    return [Prose(line, indent=4, hanging=4, cells=True) for line in aligned(rows)] if rows else []


def _happened(sighting: Sighting) -> str:
    if sighting.run is None:
        return "seen" if is_member(sighting) else "not seen"
    removal = Want.REMOVE in sighting.want and sighting.result not in {Result.REMOVED, Result.ABSENT}
    return f"{sighting.result.value}{' (removal)' if removal else ''}"
