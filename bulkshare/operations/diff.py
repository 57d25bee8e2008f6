"""What a run would do on a cloud: the same engine, on a temporary ledger and without writes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bulkshare.model import AS_PLANNED, Api, Block, Result, Want
from bulkshare.operations.execute import EngineTask, execute, temporary_run
from bulkshare.progress import Listings
from bulkshare.report import NOT_AS_PLANNED, changes_of
from bulkshare.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Outcome
    from bulkshare.operations.resolve import ResolvedPlan
    from bulkshare.operations.results import EngineResult
    from bulkshare.operations.session import CloudSession
    from bulkshare.operations.stops import Stops
    from bulkshare.report import Changes


@dataclass(frozen=True, slots=True)
class DiffResult:
    """What is to be done on a cloud.

    ended: how reading the cloud ended.
    changes: for people.
    todo: the pairs to be sent.
    labels: names by the IDs of images and projects.
    unlisted: images of `todo` whose members could not be listed.
    """

    ended: EngineResult
    changes: Changes
    todo: tuple[Block, ...]
    labels: Mapping[str, str]
    unlisted: frozenset[str]


async def diff_cloud(session: CloudSession, todo: ResolvedPlan, stops: Stops) -> DiffResult:
    """Find out what a run of `todo` would change on the cloud. What ended that early is in the result."""
    plan = todo.plan
    what = f"what a run of {plan.name} would change"
    listener = session.listener.acting_as(session.account, "checking", what, plan=plan.name, run=None)
    listings = Listings()
    task = EngineTask(
        how_to_continue="nothing was sent",
        write=False,
        orders=todo.orders,
        images=todo.images,
        observers=(listings,),
    )
    async with temporary_run(session.account, todo) as work:
        ended = await execute(work, replace(session, listener=listener), task, stops)
        blocks = await work.ledger.call(_todo, work.ledger.ledger, ended)
        refusals = {} if ended.error is not None else await _refusals(session, blocks)
        found = await work.ledger.call(_read, work.ledger.ledger, ended, listings, blocks, refusals)
    incomplete = "" if ended.error is None else str(ended.error)
    changes = replace(found.changes, incomplete=incomplete, not_checked=_not_checked(session, todo, found.changes))
    return replace(found, changes=changes)


def _not_checked(session: CloudSession, todo: ResolvedPlan, changes: Changes) -> tuple[str, ...]:
    """Return what the look did not show, a phrase each."""
    quota = "how many members the cloud lets an image have, which only its answer to a write shows"
    asked = session.settings.api is Api.BATCH or session.settings.limits.members_per_image is not None
    return (
        *([todo.unchecked] if todo.unchecked else []),
        *([quota] if changes.add and not asked else []),
        *([f"the members of {counted(changes.unlisted, 'image')}"] if changes.unlisted else []),
    )


async def _refusals(session: CloudSession, todo: Iterable[Block]) -> dict[tuple[bool, str], str]:
    """Return why memberships can't be accepted, by whether a project is to do it itself, and project."""
    account = session.account
    wanted = {
        (Want.AS_PROJECT in want, member_id)
        for _, member_ids, want in todo
        if want & (Want.ACCEPTED | Want.RESET)
        for member_id in member_ids
    }
    no_token = await session.identity.refusals(member_id for as_project, member_id in wanted if as_project)
    found = {(True, member_id): reason for member_id, reason in no_token.items()}
    if not account.admin:
        no_admin = f"user {account.user} does not have the role admin, which `accept_as: self` takes"
        others = (pair for pair in wanted if pair not in found and pair != (False, account.project_id))
        found |= dict.fromkeys((pair for pair in others if not pair[0]), no_admin)
    return found


def _todo(ledger: SqlLedger, ended: EngineResult) -> tuple[Block, ...]:
    return _blocks(ledger.outcomes(ended.run.id, results=frozenset({Result.PENDING})))


def _read(
    ledger: SqlLedger,
    ended: EngineResult,
    listings: Listings,
    todo: tuple[Block, ...],
    refusals: Mapping[tuple[bool, str], str],
) -> DiffResult:
    run = ended.run
    changes = changes_of(
        run.plan,
        ledger.outcomes(run.id, results=NOT_AS_PLANNED),
        unlisted=listings.refused,
        unpruned=ended.unpruned,
        to_set_shared=ended.to_set_shared,
        not_acceptable=refusals,
        as_planned=sum(run.totals.get(result, 0) for result in AS_PLANNED),
        cloud=run.account.cloud,
    )
    unlisted = frozenset(block.image_id for block in todo if block.image_id in listings.refused)
    return DiffResult(ended, changes, todo, ledger.labels(run.id), unlisted)


def _blocks(pending: Iterable[Outcome]) -> tuple[Block, ...]:
    members: dict[tuple[str, Want], list[str]] = {}
    for outcome in pending:
        want = outcome.want & ~Want.WAS_ACCEPTED  # it changes nothing about what is sent
        members.setdefault((outcome.image_id, want), []).append(outcome.member_id)
    return tuple(Block(image_id, tuple(member_ids), want) for (image_id, want), member_ids in members.items())
