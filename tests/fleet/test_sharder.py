"""Sharding: a pair is in one shard at a time, and an image at one worker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.fleet.messages import Closed
from bulkshare.fleet.sharding import Shard, Sharder
from bulkshare.model import Job, Want

PRIVATE, FULL = Closed("private"), Closed("full", full=True)
SIZES = st.lists(st.integers(0, 30), min_size=1, max_size=8)


def jobs(image: int, count: int) -> list[Job]:
    """Return `count` pairs of an image."""
    return [Job(f"i{image}", f"p{number:02}") for number in range(count)]


def opened(sizes: list[int]) -> Sharder:
    """Return a sharder with one image per size, of that many pairs."""
    sharder = Sharder()
    for image, count in enumerate(sizes):
        sharder.add(sharder.open(f"i{image}"), jobs(image, count), exhausted=True)
    return sharder


@given(SIZES, st.integers(1, 20), st.data())
def test_every_pair_is_done(sizes: list[int], most: int, data: st.DataObject) -> None:
    """Shards come back in any order, in part undone: in the end each pair is done once, and no image was out twice."""
    sharder, done = opened(sizes), []
    out: list[Shard] = []
    while sharder:
        shard = sharder.take_shard(most)
        if shard:
            assert 0 < sum(map(len, shard.values())) <= most
            assert not any(image in other for other in out for image in shard), "an image is at two workers"
            out.append(shard)
        if not shard or data.draw(st.booleans()):
            back = out.pop(data.draw(st.integers(0, len(out) - 1)))
            pairs = [job for several in back.values() for job in several]
            undone = pairs[data.draw(st.integers(0, len(pairs))) :] if data.draw(st.booleans()) else []
            done += [job for job in pairs if job not in undone]
            assert sharder.give_back(back, undone, {}) == {}
    for shard in out:
        done += [job for several in shard.values() for job in several]
    assert sorted(done) == sorted(job for image, count in enumerate(sizes) for job in jobs(image, count))


def test_a_closed_image_is_not_dealt_out_again() -> None:
    """Its remaining pairs go into no shard, and the image is reported once."""
    sharder = opened([10, 3])
    shard = sharder.take_shard(5)
    assert sharder.give_back(shard, shard["i0"][1:], {"i0": PRIVATE}) == {"i0": "private"}
    assert list(sharder.take_shard(50)) == ["i1"]


def test_a_closed_image_without_remaining_pairs_is_not_reported() -> None:
    """There is no rest to settle."""
    sharder = opened([5])
    assert sharder.give_back(sharder.take_shard(5), [], {"i0": PRIVATE}) == {}
    assert not sharder


def members(sharder: Sharder, numbers: list[int], *, exhausted: bool) -> dict[str, str]:
    """Read more pairs of the first image: existing members, then one that is not a member."""
    lane = sharder.needs_refill(1000)
    assert lane is not None
    known = [Job("i0", f"p{number:02}", Want.ACCEPTED | Want.ALREADY_MEMBER) for number in numbers]
    return sharder.add(lane, [*known, Job("i0", "p99", Want.ACCEPTED)], exhausted=exhausted)


def test_the_members_of_a_full_image_are_still_dealt_out() -> None:
    """Its members' pairs are dealt out and read; the rest is reported once none of it is out or unread."""
    sharder = Sharder()
    sharder.add(sharder.open("i0"), jobs(0, 5), exhausted=False)
    members(sharder, [10, 11], exhausted=False)
    shard = sharder.take_shard(5)
    assert sharder.give_back(shard, [], {"i0": FULL}) == {}
    shard = sharder.take_shard(50)
    assert [job.member_id for job in shard["i0"]] == ["p10", "p11"]
    assert members(sharder, [20], exhausted=True) == {}
    assert sharder.give_back(shard, shard["i0"][1:], {"i0": FULL}) == {}
    shard = sharder.take_shard(50)
    assert [job.member_id for job in shard["i0"]] == ["p11", "p20"]
    assert sharder.give_back(shard, [], {}) == {"i0": "full"}
    assert not sharder


def test_a_full_image_without_members() -> None:
    """Pairs read afterwards are not dealt out: they belong to the rest."""
    sharder = Sharder()
    lane = sharder.open("i0")
    sharder.add(lane, jobs(0, 5), exhausted=False)
    assert sharder.give_back(sharder.take_shard(5), [], {"i0": FULL}) == {}
    assert sharder.add(lane, jobs(0, 3), exhausted=True) == {"i0": "full"}
    assert not sharder


def test_a_full_image_that_closes_altogether() -> None:
    """Its members' pairs then belong to the rest, too."""
    sharder = Sharder()
    sharder.add(sharder.open("i0"), jobs(0, 5), exhausted=False)
    members(sharder, [10, 11, 12], exhausted=False)
    sharder.give_back(sharder.take_shard(5), [], {"i0": FULL})
    assert sharder.give_back(sharder.take_shard(1), [], {"i0": PRIVATE}) == {"i0": "private"}
    assert not sharder


def test_an_image_is_read_until_it_has_enough_pairs() -> None:
    """An image with more pairs in the ledger needs a refill, whether or not it is at a worker."""
    sharder = Sharder()
    lane = sharder.open("i0")
    sharder.add(lane, jobs(0, 5), exhausted=False)
    assert lane.last_member_id == "p04"
    shard = sharder.take_shard(5)
    assert sharder.needs_refill(3) is lane
    sharder.add(lane, [], exhausted=True)
    assert sharder.needs_refill(3) is None
    sharder.give_back(shard, [], {})
    assert not sharder


@pytest.mark.parametrize("count", [0, 3])
def test_an_image_that_closes_while_it_is_read(count: int) -> None:
    """The pairs of that read belong to the rest, which was reported already."""
    sharder = Sharder()
    lane = sharder.open("i0")
    sharder.add(lane, jobs(0, 5), exhausted=False)
    assert sharder.give_back(sharder.take_shard(5), [], {"i0": PRIVATE}) == {"i0": "private"}
    assert sharder.add(lane, jobs(0, count), exhausted=True) == {}
    assert sharder.take_shard(5) == {}
    assert not sharder
