"""Which pairs go together: every pair is cut once, or again after it came back, and an image is at one worker."""

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
    """Return so many pairs of an image."""
    return [Job(f"i{image}", f"p{number:02}") for number in range(count)]


def opened(sizes: list[int]) -> Sharder:
    """Return a cutting with images of so many pairs."""
    cutting = Sharder()
    for image, count in enumerate(sizes):
        cutting.add(cutting.open(f"i{image}"), jobs(image, count), exhausted=True)
    return cutting


@given(SIZES, st.integers(1, 20), st.data())
def test_every_pair_is_done(sizes: list[int], most: int, data: st.DataObject) -> None:
    """Shards come back in any order, done in part; in the end each pair was done once, and no image was out twice."""
    cutting, done = opened(sizes), []
    out: list[Shard] = []
    while cutting:
        shard = cutting.take_shard(most)
        if shard:
            assert 0 < sum(map(len, shard.values())) <= most
            assert not any(image in other for other in out for image in shard), "an image is at two workers"
            out.append(shard)
        if not shard or data.draw(st.booleans()):
            back = out.pop(data.draw(st.integers(0, len(out) - 1)))
            pairs = [job for several in back.values() for job in several]
            undone = pairs[data.draw(st.integers(0, len(pairs))) :] if data.draw(st.booleans()) else []
            done += [job for job in pairs if job not in undone]
            assert cutting.give_back(back, undone, {}) == {}
    for shard in out:
        done += [job for several in shard.values() for job in several]
    assert sorted(done) == sorted(job for image, count in enumerate(sizes) for job in jobs(image, count))


def test_a_closed_image_is_dealt_out_no_more() -> None:
    """What is left of it is not cut, and it is told once, and only where something is left."""
    cutting = opened([10, 3])
    shard = cutting.take_shard(5)
    assert cutting.give_back(shard, shard["i0"][1:], {"i0": PRIVATE}) == {"i0": "private"}
    assert list(cutting.take_shard(50)) == ["i1"]


def test_a_closed_image_that_is_done() -> None:
    """There is nothing left to tell of."""
    cutting = opened([5])
    assert cutting.give_back(cutting.take_shard(5), [], {"i0": PRIVATE}) == {}
    assert not cutting


def members(cutting: Sharder, numbers: list[int], *, exhausted: bool) -> dict[str, str]:
    """Read on: pairs of the first image that are members already, the last of which is one that is not."""
    lane = cutting.hungry(1000)
    assert lane is not None
    known = [Job("i0", f"p{number:02}", Want.ACCEPTED | Want.ALREADY_MEMBER) for number in numbers]
    return cutting.add(lane, [*known, Job("i0", "p99", Want.ACCEPTED)], exhausted=exhausted)


def test_a_full_image_has_members_left() -> None:
    """Its members' pairs are dealt out and read on; the rest is told once nothing of it is out or to be read."""
    cutting = Sharder()
    cutting.add(cutting.open("i0"), jobs(0, 5), exhausted=False)
    members(cutting, [10, 11], exhausted=False)
    shard = cutting.take_shard(5)
    assert cutting.give_back(shard, [], {"i0": FULL}) == {}
    shard = cutting.take_shard(50)
    assert [job.member_id for job in shard["i0"]] == ["p10", "p11"]
    assert members(cutting, [20], exhausted=True) == {}
    assert cutting.give_back(shard, shard["i0"][1:], {"i0": FULL}) == {}
    shard = cutting.take_shard(50)
    assert [job.member_id for job in shard["i0"]] == ["p11", "p20"]
    assert cutting.give_back(shard, [], {}) == {"i0": "full"}
    assert not cutting


def test_a_full_image_without_members() -> None:
    """What is read on of it is not dealt out, and is the rest."""
    cutting = Sharder()
    lane = cutting.open("i0")
    cutting.add(lane, jobs(0, 5), exhausted=False)
    assert cutting.give_back(cutting.take_shard(5), [], {"i0": FULL}) == {}
    assert cutting.add(lane, jobs(0, 3), exhausted=True) == {"i0": "full"}
    assert not cutting


def test_a_full_image_that_takes_nothing_at_all() -> None:
    """It was full, and is gone then: its members' pairs are the rest, too."""
    cutting = Sharder()
    cutting.add(cutting.open("i0"), jobs(0, 5), exhausted=False)
    members(cutting, [10, 11, 12], exhausted=False)
    cutting.give_back(cutting.take_shard(5), [], {"i0": FULL})
    assert cutting.give_back(cutting.take_shard(1), [], {"i0": PRIVATE}) == {"i0": "private"}
    assert not cutting


def test_reading_on() -> None:
    """An image that has more in the ledger is hungry until it has enough, whether or not it is out."""
    cutting = Sharder()
    lane = cutting.open("i0")
    cutting.add(lane, jobs(0, 5), exhausted=False)
    assert lane.last_member_id == "p04"
    shard = cutting.take_shard(5)
    assert cutting.hungry(3) is lane
    cutting.add(lane, [], exhausted=True)
    assert cutting.hungry(3) is None
    cutting.give_back(shard, [], {})
    assert not cutting


@pytest.mark.parametrize("count", [0, 3])
def test_an_image_that_is_closed_while_it_is_read(count: int) -> None:
    """What comes of that reading is part of the rest, which was told."""
    cutting = Sharder()
    lane = cutting.open("i0")
    cutting.add(lane, jobs(0, 5), exhausted=False)
    assert cutting.give_back(cutting.take_shard(5), [], {"i0": PRIVATE}) == {"i0": "private"}
    assert cutting.add(lane, jobs(0, count), exhausted=True) == {}
    assert cutting.take_shard(5) == {}
    assert not cutting
