"""Quotas and prune limits together, against an independent model: of plans, clouds and how full images are."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from bulkshare.engine.preflight import PLANS_LIMIT
from bulkshare.model import Limits, Orders, PruneLimit, Result
from tests.engine.harness import EngineHarness

FULL = "413: image member limit exceeded; the cloud's limit is"


@dataclass(frozen=True)
class ImageCase:
    """One image: how many of its planned projects are members, how many are to be added, and its other members."""

    present: int
    new: int
    extra: int
    prune: bool
    fill: bool
    percent: int
    floor: int

    @property
    def members(self) -> int:
        """How many members it has."""
        return self.present + self.extra

    @property
    def over_prune_limit(self) -> bool:
        """Whether more members would be removed than is allowed."""
        return self.prune and self.extra > max(Fraction(self.percent, 100) * self.members // 1, self.floor)


CASES = st.builds(
    ImageCase,
    present=st.integers(0, 8),
    new=st.integers(0, 8),
    extra=st.integers(0, 8),
    prune=st.booleans(),
    fill=st.booleans(),
    percent=st.integers(0, 100),
    floor=st.integers(0, 4),
)


@given(
    st.lists(CASES, min_size=1, max_size=3),
    st.none() | st.integers(0, 20),
    st.none() | st.integers(1, 20),
    st.integers(1, 4),
)
def test_what_is_added_and_removed(
    cases: list[ImageCase], limit: int | None, quota: int | None, per_image: int
) -> None:
    """Nothing is removed if one image is over its prune limit; what is added fits the plan's limit and the cloud's."""
    harness = EngineHarness(limits=Limits(concurrency=8, per_image=per_image, members_per_image=limit))
    harness.cloud.quota = quota
    harness.cloud.members = set()
    for number, case in enumerate(cases):
        image_id = f"i{number}"
        planned = [f"p{project}" for project in range(case.present + case.new)]
        harness.ledger.enqueue_all([(image_id, project) for project in planned])
        there = [*planned[: case.present], *(f"x{extra}" for extra in range(case.extra))]
        harness.cloud.statuses |= {(image_id, member): "pending" for member in there}
        limits = (PruneLimit.parse(f"{case.percent}%, at least {case.floor}"),)
        harness.orders[image_id] = Orders(case.prune, case.fill, frozenset(planned), prune_limits=limits)
    harness.run()

    forbidden = any(case.over_prune_limit for case in cases)
    for number, case in enumerate(cases):
        rows = [row for (image_id, _), row in harness.ledger.rows.items() if image_id == f"i{number}"]
        counts = {result: sum(row.result is result for row in rows) for result in Result}
        removed = case.extra if case.prune and not forbidden else 0
        kept = case.members - removed
        tried = case.new
        if limit and kept + case.new > limit:
            tried = max(limit - kept, 0) if case.fill else 0
        added = tried if quota is None else min(tried, max(quota - kept, 0))
        assert (counts[Result.ALREADY], counts[Result.SHARED], counts[Result.REMOVED]) == (case.present, added, removed)
        assert counts[Result.SKIPPED] + counts[Result.REJECTED] == len(rows) - case.present - added - removed
        assert bool(counts[Result.REJECTED]) == (added < tried), "the cloud has refused one, which settles the rest"
        assert counts[Result.REJECTED] <= per_image
        assert sum(image_id == f"i{number}" for image_id, _ in harness.cloud.members) == kept + added
        reasons = {row.reason for row in rows if row.result in {Result.REJECTED, Result.SKIPPED} and not row.want}
        ours = {f"needs {kept + case.new}, has {kept} of {limit} members{_after(removed)}; {PLANS_LIMIT}"}
        theirs = {f"{FULL} {quota} members per image"}
        assert reasons == (ours if tried < case.new else set()) | (theirs if added < tried else set())
        why = {row.reason for row in rows if row.result is Result.SKIPPED and row.want}
        assert bool(why) == bool(forbidden and case.prune and case.extra)
        named = {f"i{other}" for other, each in enumerate(cases) if each.over_prune_limit}
        assert all(
            " allows " in reason and (case.over_prune_limit or any(f"of image {name}: " in reason for name in named))
            for reason in why
        )


def _after(removed: int) -> str:
    return f" when {removed} are removed" if removed else ""
