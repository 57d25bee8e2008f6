"""`bulkshare verify`, and what `run --verify` does at its end: the plan beside the members on the cloud."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread

from bulkshare.app.clouds import cloud_name, open_line, sign_in
from bulkshare.app.places import throwaway_ledger, utc_now
from bulkshare.app.work import WorkOptions, run_async, work_on
from bulkshare.cli.output import Voice
from bulkshare.engine import Preflight
from bulkshare.model import Settings
from bulkshare.plan import load_plan
from bulkshare.planner import expand, fingerprint
from bulkshare.report import Comparer

if TYPE_CHECKING:
    from pathlib import Path

    from bulkshare.app.clouds import Line
    from bulkshare.model import Account, Plan
    from bulkshare.report import Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions(WorkOptions):
    """The options of `bulkshare verify`, as the command line has them."""

    plan: Path
    sandbox: bool


def verify_plan(options: VerifyOptions) -> int:
    """Compare a plan with its cloud; return 0 where nothing is missing, else 1. Raises `BulkshareError`."""
    plan = load_plan(options.plan)
    settings = Settings(
        cloud=None if options.sandbox else cloud_name(plan.clouds[0] if plan.clouds else None, options.os_cloud),
        region=plan.region,
        sandbox=options.sandbox,
        limits=options.limits(plan.limits),
        retry=plan.retry,
    )
    return run_async(partial(_verify, plan, settings, options))


async def _verify(plan: Plan, settings: Settings, options: VerifyOptions) -> int:
    voice = Voice(quiet=options.quiet, verbose=options.verbose, as_json=options.as_json, log_format=options.log_format)
    async with sign_in(settings, plan) as identity:
        voice.acting_as(identity.account, "verifying", f"plan {plan.name}", plan=plan.name, run=None)
        async with open_line(identity, settings.limits, give_up_after_seconds=options.give_up_after) as line:
            comparison = await compare(
                plan,
                identity.account,
                line,
                voice,
                settings=settings,
                options=options,
                deadline_seconds=options.deadline,
            )
    voice.conclude_comparison(comparison)
    return 0 if comparison.complete else 1


async def compare(
    plan: Plan,
    account: Account,
    line: Line,
    voice: Voice,
    *,
    settings: Settings,
    options: WorkOptions,
    deadline_seconds: float,
) -> Comparison:
    """List the members of the plan's images and compare. Raises what kept it from asking for all of them."""
    comparer = Comparer(plan.name, expand(plan))
    # The engine's listing, on a ledger that nobody keeps; the comparer is told of each image.
    with throwaway_ledger() as ledger:
        run = ledger.begin(plan=plan.name, fingerprint=fingerprint(plan), account=account, now=utc_now())
        await anyio.to_thread.run_sync(ledger.enqueue, run.id, expand(plan))
        ending = await work_on(
            run,
            ledger,
            line,
            voice,
            settings=settings,
            options=options,
            deadline_seconds=deadline_seconds,
            how_to_go_on="not all images were asked about: verify again",
            preflight=Preflight.ALWAYS,
            share=False,
            observers=(comparer,),
        )
    if ending.error is not None:
        raise ending.error
    return comparer.comparison()
