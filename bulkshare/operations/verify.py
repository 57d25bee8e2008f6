"""Compares a plan with the members on its clouds. Sends no write."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

import anyio.to_thread

from bulkshare.model import Block
from bulkshare.operations.execute import EngineTask, execute, temporary_run
from bulkshare.operations.names import image_names, project_names
from bulkshare.operations.resolve import ResolvedPlan
from bulkshare.operations.results import each
from bulkshare.operations.session import open_sessions
from bulkshare.operations.stops import stopping_at
from bulkshare.plan.expand import expand, orders
from bulkshare.report import Comparer

if TYPE_CHECKING:
    import signal

    from bulkshare.model import Orders, Plan
    from bulkshare.operations.listener import Listener
    from bulkshare.operations.options import Options
    from bulkshare.operations.session import CloudSession
    from bulkshare.operations.stops import Stops
    from bulkshare.report import Comparison


async def verify_plan(
    plan: Plan, options: Options, listener: Listener, *, signals: tuple[signal.Signals, ...] = ()
) -> dict[str | None, Comparison]:
    """Compare a plan with each of its clouds. Raises the first `BulkshareError` that kept it from that."""
    async with AsyncExitStack() as stack:
        stops = await stack.enter_async_context(stopping_at(signals))
        results, sessions = await open_sessions(plan, options, listener, stack)

        async def verify(session: CloudSession) -> None:
            what = f"plan {plan.name}"
            verifying = listener.acting_as(session.account, "verifying", what, plan=plan.name, run=None)
            session.result.comparison = await compare(replace(session, listener=verifying), stops)

        await each(sessions, verify)
    for result in results:
        if result.error is not None:
            raise result.error
    return {result.cloud: result.comparison for result in results if result.comparison is not None}


async def compare(session: CloudSession, stops: Stops) -> Comparison:
    """List the members of the plan's images and compare. Raises what kept it from listing all of them."""
    plan, labels = session.resolved.plan, session.resolved.labels
    pruned = await anyio.to_thread.run_sync(_pruned_without_pairs, session.resolved)
    blocks = chain(expand(plan), (Block(image_id, ()) for image_id in pruned))
    comparer = await anyio.to_thread.run_sync(lambda: Comparer(plan.name, blocks, orders(plan, prune_all=True), labels))
    task = EngineTask(
        how_to_continue="not all images were listed; verify again",
        write=False,
        orders=pruned,
        images=session.resolved.images,
        observers=(comparer,),
    )
    async with temporary_run(session.account, ResolvedPlan(plan)) as work:
        ended = await execute(work, session, task, stops)
    if ended.error is not None:
        raise ended.error
    comparison = await anyio.to_thread.run_sync(comparer.comparison)
    return replace(comparison, cloud=session.account.cloud, labels=await _names(session, comparison))


def _pruned_without_pairs(resolved: ResolvedPlan) -> dict[str, Orders]:
    """Return the orders of images that are to have no members but those that the plan keeps."""
    with_pairs = {block.image_id for block in expand(resolved.plan)}
    return {
        image_id: found for image_id, found in resolved.orders.items() if found.prune and image_id not in with_pairs
    }


async def _names(session: CloudSession, comparison: Comparison) -> dict[str, str]:
    """Return the names of what is not as planned, looked up unless the plan's own look-ups told them."""
    known = {**session.resolved.plan.names, **comparison.labels}
    images = [image_id for image_id in {**comparison.missing, **comparison.extra} if image_id not in comparison.labels]
    found = {image_id: name for image_id, name in (await image_names(session, images)).items() if name}
    extra = {member_id for member_ids in comparison.extra.values() for member_id in member_ids}
    listed = session.resolved.listed
    found |= {member_id: listed[member_id] for member_id in extra if listed.get(member_id)}
    found |= await project_names(session, extra.difference(listed))
    ids = comparison.ids()
    return {known_id: name for known_id, name in (known | found).items() if known_id in ids}
