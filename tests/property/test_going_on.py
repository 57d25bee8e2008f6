"""A run that is cut anywhere, while others change the cloud, and goes on later, ends with what the plan says."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from bulkshare.ledger.runs import pack_orders, unpack_orders
from bulkshare.model import AS_PLANNED, Orders, Outcome, PruneLimit, Result, Want
from tests.engine.harness import EngineHarness

IMAGES, MEMBERS = ("i0", "i1", "i2"), ("a", "b", "c", "d", "e")
PAIRS = st.frozensets(st.tuples(st.sampled_from(IMAGES), st.sampled_from(MEMBERS)), max_size=12)
ALL = PruneLimit(1.0)


def go_on(harness: EngineHarness) -> None:
    """Reopen the run a day later, as the ledger does, with its orders as the ledger keeps them."""
    for pair, row in harness.ledger.rows.items():
        if row.result not in AS_PLANNED:
            harness.ledger.rows[pair] = Outcome(*pair, Result.PENDING, want=row.want & ~Want.ALREADY_MEMBER)
        elif row.settled_at is not None:
            harness.ledger.rows[pair] = row._replace(settled_at=row.settled_at - timedelta(days=1))
    harness.orders = {image_id: unpack_orders(pack_orders(each)) for image_id, each in harness.orders.items()}


@settings(deadline=None, max_examples=60)
@given(
    planned=PAIRS,
    before=PAIRS,
    pruned=st.frozensets(st.sampled_from(IMAGES)),
    kept=st.frozensets(st.sampled_from(MEMBERS), max_size=2),
    cuts=st.lists(st.tuples(st.floats(0.0, 8.0), PAIRS, PAIRS), max_size=3),
)
def test_it_ends_with_what_the_plan_says(
    planned: frozenset[tuple[str, str]],
    before: frozenset[tuple[str, str]],
    pruned: frozenset[str],
    kept: frozenset[str],
    cuts: list[tuple[float, frozenset[tuple[str, str]], frozenset[tuple[str, str]]]],
) -> None:
    """Each cut comes after some seconds; then others add and remove members."""
    harness = EngineHarness()
    harness.cloud.latency_seconds = 1.0
    harness.ledger.enqueue_all(planned)
    harness.cloud.members = set(before)
    harness.orders = {name: Orders(prune=True, kept=kept, prune_limits=(ALL,)) for name in pruned}
    for seconds, added, removed in cuts:
        harness.deadline_seconds = seconds
        harness.run()
        harness.cloud.members = (harness.cloud.members | added) - removed
        go_on(harness)
    untouched = {pair for pair in harness.cloud.members if pair[0] not in pruned or pair[1] in kept}
    harness.deadline_seconds = float("inf")
    harness.run()
    assert harness.cloud.members == planned | untouched
    assert not harness.engine.interrupted
    assert {row.result for row in harness.ledger.rows.values()} <= AS_PLANNED
    as_recorded = {pair for pair, row in harness.ledger.rows.items() if Want.REMOVE not in row.want}
    assert as_recorded == planned
