"""The plan beside the members on the cloud, sending no write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread

from bulkshare.engine import PreflightMode
from bulkshare.operations.defaults import throwaway_ledger, utc_now
from bulkshare.operations.execute import EngineTask, stopping_at, work_on
from bulkshare.operations.session import on_each_cloud
from bulkshare.plan.expand import expand, fingerprint
from bulkshare.report import Comparer

if TYPE_CHECKING:
    import signal

    from bulkshare.model import Plan
    from bulkshare.operations.execute import Stops
    from bulkshare.operations.listener import Listener
    from bulkshare.operations.options import Options
    from bulkshare.operations.session import CloudSession
    from bulkshare.report import Comparison


async def verify_plan(
    plan: Plan,
    options: Options,
    voice: Listener,
    *,
    signals: tuple[signal.Signals, ...] = (),
) -> dict[str | None, Comparison]:
    """Compare a plan with each of its clouds. Raises the first `BulkshareError` that kept it from that."""
    found: dict[str | None, Comparison] = {}
    async with stopping_at(signals) as stops:

        async def verify(site: CloudSession) -> None:
            told = site.voice.acting_as(site.account, "verifying", f"plan {plan.name}", plan=plan.name, run=None)
            found[site.cloud] = await compare(site.prepared.plan, site, told, options=options, stops=stops)

        errors = await on_each_cloud(plan, verify, voice, options)
    for error in errors.values():
        if error is not None:
            raise error
    return {cloud: found[cloud] for cloud in errors}


async def compare(plan: Plan, site: CloudSession, voice: Listener, *, options: Options, stops: Stops) -> Comparison:
    """List the members of the plan's images and compare. Raises what kept it from asking for all of them."""
    comparer = Comparer(plan.name, expand(plan))
    # The engine's listing, on a ledger that nobody keeps; the comparer is told of each image.
    with throwaway_ledger() as ledger:
        run = ledger.begin(plan=plan.name, fingerprint=fingerprint(plan), account=site.account, now=utc_now())
        await anyio.to_thread.run_sync(ledger.enqueue, run.id, expand(plan))
        ending = await work_on(
            run,
            ledger,
            site.account,
            site.line,
            voice,
            settings=site.settings,
            options=options,
            errand=EngineTask(
                go_on="not all images were asked about: verify again",
                preflight=PreflightMode.ALWAYS,
                write=False,
                inspect=False,
            ),
            stops=stops,
            observers=(comparer,),
        )
    if ending.error is not None:
        raise ending.error
    return comparer.comparison()
