"""What a run would do on a cloud: the same engine, on a temporary ledger and without writes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bulkshare.model import AS_PLANNED, Block, Result, Want
from bulkshare.operations.execute import EngineTask, execute, temporary_run
from bulkshare.progress import Listings
from bulkshare.report import NOT_AS_PLANNED, changes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Outcome
    from bulkshare.operations.results import EngineResult
    from bulkshare.operations.session import CloudSession, ResolvedPlan
    from bulkshare.operations.stops import Stops
    from bulkshare.report import Changes


@dataclass(frozen=True, slots=True)
class DiffResult:
    """What is to be done on a cloud.

    ended: how reading the cloud ended.
    changes: for people.
    todo: the pairs to be sent.
    labels: names by the IDs of images and projects.
    """

    ended: EngineResult
    changes: Changes
    todo: tuple[Block, ...]
    labels: Mapping[str, str]


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
        return await work.ledger.call(_read, work.ledger.ledger, ended, listings)


def _read(ledger: SqlLedger, ended: EngineResult, listings: Listings) -> DiffResult:
    run = ended.run
    changes = changes_of(
        run.plan,
        ledger.outcomes(run.id, results=NOT_AS_PLANNED),
        unlisted=listings.refused,
        to_set_shared=ended.to_set_shared,
        as_planned=sum(run.totals.get(result, 0) for result in AS_PLANNED),
        cloud=run.account.cloud,
    )
    todo = _blocks(ledger.outcomes(run.id, results=frozenset({Result.PENDING})))
    return DiffResult(ended, changes, todo, ledger.labels(run.id))


def _blocks(pending: Iterable[Outcome]) -> tuple[Block, ...]:
    members: dict[tuple[str, Want], list[str]] = {}
    for outcome in pending:
        members.setdefault((outcome.image_id, outcome.want), []).append(outcome.member_id)
    return tuple(Block(image_id, tuple(member_ids), want) for (image_id, want), member_ids in members.items())
