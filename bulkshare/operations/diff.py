"""What a run would do on a cloud: the same engine on a ledger that nobody keeps, and no write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio.to_thread

from bulkshare.engine import PreflightMode
from bulkshare.model import AS_PLANNED, Block, Result, Want
from bulkshare.operations.defaults import throwaway_ledger, utc_now
from bulkshare.operations.execute import EngineTask, fill, work_on
from bulkshare.plan.expand import fingerprint
from bulkshare.progress import Listings
from bulkshare.report import NOT_AS_PLANNED, changes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bulkshare.model import Outcome, Plan
    from bulkshare.operations.execute import EngineResult, Stops
    from bulkshare.operations.listener import Listener
    from bulkshare.operations.options import Options
    from bulkshare.operations.session import CloudSession
    from bulkshare.report import Changes


@dataclass(frozen=True, slots=True)
class DiffResult:
    """What is to do, for people (`changes`) and as pairs (`todo`); `labels` are names by ID."""

    ending: EngineResult
    changes: Changes
    todo: tuple[Block, ...]
    labels: Mapping[str, str]


async def look(
    plan: Plan,
    site: CloudSession,
    voice: Listener,
    *,
    options: Options,
    stops: Stops,
    prune_limit: float,
) -> DiffResult:
    """Ask the cloud what a run of the plan would do. What ended it early is in the ending."""
    with throwaway_ledger() as ledger:
        run = ledger.begin(plan=plan.name, fingerprint=fingerprint(plan), account=site.account, now=utc_now())
        await anyio.to_thread.run_sync(fill, ledger, run.id, plan, site.prepared)
        listings = Listings()
        ending = await work_on(
            run,
            ledger,
            site.account,
            site.line,
            voice,
            settings=site.settings,
            options=options,
            errand=EngineTask(
                go_on="nothing was sent",
                preflight=PreflightMode.ALWAYS,
                write=False,
                orders=site.prepared.orders,
                images=site.prepared.images,
                prune_limit=prune_limit,
                label=site.label,
            ),
            stops=stops,
            observers=(listings,),
        )
        changes = changes_of(
            plan.name,
            ledger.outcomes(run.id, results=NOT_AS_PLANNED),
            unlisted=listings.refused,
            private=listings.private,
            as_planned=sum(ending.run.totals.get(result, 0) for result in AS_PLANNED),
            cloud=site.account.cloud,
        )
        pending = ledger.outcomes(run.id, results=frozenset({Result.PENDING}))
        return DiffResult(ending, changes, tuple(_blocks(pending)), listings.names | ledger.labels(run.id))


def _blocks(pending: Iterable[Outcome]) -> list[Block]:
    members: dict[tuple[str, Want], list[str]] = {}
    for outcome in pending:
        members.setdefault((outcome.image_id, outcome.want), []).append(outcome.member_id)
    return [Block(image_id, tuple(member_ids), want) for (image_id, want), member_ids in members.items()]
