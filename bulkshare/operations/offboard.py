"""Takes projects out of all images of an account: what they are members of, the plan that removes them, the proof."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bulkshare._version import __version__
from bulkshare.errors import BulkshareError, LedgerError
from bulkshare.model import CheckProjects, Entry, Plan, Project, Want
from bulkshare.operations.defaults import open_ledger, utc_now
from bulkshare.operations.saved_plan import is_saved
from bulkshare.operations.survey import Search, survey
from bulkshare.plan.load import load_plan, read_plan
from bulkshare.plan.naming import how_named
from bulkshare.report.certificate import Certificate, CloudPart, Listing, Membership, NamedIn

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable, Mapping, Sequence

    from bulkshare.model import Image, Member, ProjectSelector
    from bulkshare.operations.listener import Listener
    from bulkshare.operations.options import Options
    from bulkshare.operations.results import CloudResult
    from bulkshare.operations.survey import Survey

PLAN = "offboard"  # the plan's name in the ledger


@dataclass(slots=True)
class Found:
    """What the projects are members of: the surveys of all clouds, and what each found."""

    surveys: list[Survey]
    listings: dict[str | None, Listing] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether all that was asked for could be listed."""
        return all(
            each.same_as is not None or (each.error is None and each.sought and not each.unlisted)
            for each in self.surveys
        )


async def find_memberships(
    projects: Sequence[str | ProjectSelector],
    clouds: tuple[str, ...],
    options: Options,
    listener: Listener,
    *,
    signals: tuple[signal.Signals, ...] = (),
) -> Found:
    """List the members of all images of the account of each cloud, and find those projects among them.

    clouds: as `Search`. Raises like `survey`.
    """
    memberships: dict[str | None, list[Membership]] = {}

    def take(found: Survey, image: Image, members: Sequence[Member]) -> None:
        memberships.setdefault(found.cloud, []).extend(
            Membership(image.id, image.name or "", member.member_id, member.status or "") for member in members
        )

    search = Search(clouds=clouds, projects=projects)
    found = Found(await survey(search, options, listener, take, doing=PLAN, signals=signals))
    for each in found.surveys:
        if each.error is None and each.sought and each.same_as is None:
            images = each.images.values()
            found.listings[each.cloud] = Listing(
                utc_now(),
                len(images),
                tuple(sorted(memberships.get(each.cloud, ()), key=lambda one: (one.image_name, one))),
                dict(sorted(each.unlisted.items())),
                private=sum(not image.usable_by_all and image.id not in each.asked for image in images),
                usable_by_all=sum(image.usable_by_all for image in images),
            )
    return found


def removal_plan(found: Found) -> Plan:
    """Return a plan that removes these memberships; without entries if there are none."""
    entries: list[Entry] = []
    names: dict[str, str] = {}
    for each in found.surveys:
        listing = found.listings.get(each.cloud)
        by_project: dict[str, list[str]] = {}
        for one in listing.memberships if listing is not None else ():
            by_project.setdefault(one.project_id, []).append(one.image_id)
            names |= {one.image_id: one.image_name} if one.image_name else {}
        entries += (
            Entry(tuple(image_ids), (project_id,), want=Want.REMOVE, cloud=each.cloud)
            for project_id, image_ids in by_project.items()
        )
        names |= each.projects.names
    clouds = dict.fromkeys(entry.cloud for entry in entries if entry.cloud is not None)
    # An ID that no project has any longer is as good as any: it was found among the members.
    return Plan(PLAN, tuple(entries), clouds=tuple(clouds), check_projects=CheckProjects.NEVER, names=names)


def plans_naming(found: Found, plans: Mapping[Path, Plan]) -> list[NamedIn]:
    """Return which of some plans would make one of the projects a member again."""
    ids: set[str] = set()
    projects: list[Project] = []
    for each in found.surveys:
        ids |= each.sought
        unknown = each.sought - each.projects.known - each.projects.unchecked
        projects += (Project(known_id, each.projects.names.get(known_id, "")) for known_id in each.sought - unknown)
    named = ((path, plan, how_named(plan, ids, projects)) for path, plan in plans.items())
    return [NamedIn(str(path), plan.name, how) for path, plan, how in named if how]


def known_plans(ledger: str | None, unread: list[str]) -> dict[Path, Plan]:
    """Return the plans that the ledger's runs on this host came from and that are still there. Blocking.

    Those that can't be read any more are added to `unread`.
    """
    try:
        with open_ledger(ledger, create=False) as opened:
            origins = [origin for run in opened.worked_on() for origin in run.origins if origin.plan_file]
    except LedgerError:
        return {}  # there is none yet, or the run will say what is wrong with it
    here = socket.gethostname()
    paths = (Path(origin.plan_file) for origin in origins if origin.host == here)
    return read_plans((path for path in paths if path.exists()), unread)


def read_plans(paths: Iterable[Path], unread: list[str] | None = None) -> dict[Path, Plan]:
    """Return plans by their files; saved ones are left out. Blocking.

    Raises `PlanError` for one that is not valid, unless it can be added to `unread`.
    """
    plans: dict[Path, Plan] = {}
    for path in dict.fromkeys(paths):
        try:
            raw = read_plan(path)
            if not is_saved(raw):
                plans[path] = load_plan(path, raw, piped=False)
        except BulkshareError as error:
            if unread is None:
                raise
            unread.append(f"{path}: {str(error).splitlines()[0]}")
    return plans


def certificate_of(
    asked: str,
    before: Found,
    after: Found,
    results: Sequence[CloudResult],
    *,
    plans: Sequence[NamedIn],
    unread: Sequence[str],
) -> Certificate:
    """Return the certificate of what two surveys of the same clouds found, and of the run between them."""
    runs = {result.cloud: result.summary.run or "" for result in results if result.summary is not None}
    parts = [
        _part(then, now, before.listings.get(then.cloud), after.listings.get(now.cloud), runs.get(then.cloud, ""))
        for then, now in zip(before.surveys, after.surveys, strict=True)
    ]
    return Certificate(asked, utc_now(), __version__, parts, tuple(plans), tuple(unread))


def _part(then: Survey, now: Survey, before: Listing | None, after: Listing | None, run: str) -> CloudPart:
    account = now.account or then.account
    plain = {
        known_id: then.projects.names.get(known_id) or now.projects.names.get(known_id) or ""
        for known_id in _ids(then) | _ids(now)
    }
    not_checked = str(now.error) if now.error is not None else ""
    if not not_checked and now.same_as is None and not now.sought:
        not_checked = "it has no project of this name; if it was deleted, give its ID"
    return CloudPart(
        now.cloud or (account.cloud if account else ""),
        account,
        dict(sorted(plain.items())),
        unknown_ids(then) & unknown_ids(now),
        run,
        before,
        after,
        not_checked=not_checked,
        same_as=now.same_as or "",
    )


def unknown_ids(found: Survey) -> frozenset[str]:
    """Return which of the projects the identity service does not know."""
    return _ids(found) - found.projects.known - found.projects.unchecked


def _ids(found: Survey) -> frozenset[str]:
    """Return the projects, each in one spelling."""
    return found.sought - {known_id.replace("-", "") for known_id in found.sought if "-" in known_id}


def leaving(projects: Iterable[str | ProjectSelector]) -> list[str | ProjectSelector]:
    """Return the projects of the command line for several clouds, of which each has some of them or none."""
    return [item if isinstance(item, str) else replace(item, allow_empty=True) for item in projects]
