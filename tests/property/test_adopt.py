"""A plan that is made of a cloud's members is that cloud's members, whatever they are."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bulkshare.model import Member, Want
from bulkshare.plan.adopt import AdoptedPlan, CloudPart, plan_lines
from bulkshare.plan.expand import expand
from bulkshare.plan.lists import id_fault
from bulkshare.plan.load import load_plan
from bulkshare.plan.selectors import for_cloud

ODD_ONES = ["p1", "0123", "1e3", "null", "yes", "-", "a:b", "&a", "{x}", "~", "!tag", "a b", "x" * 300, "ä"]
ODD = st.sampled_from(ODD_ONES)
IMAGES = st.uuids().map(str) | ODD
PROJECTS = st.uuids().map(str) | st.uuids().map(lambda found: found.hex) | ODD
STATUSES = st.sampled_from(["accepted", "pending", "rejected", None])
CLOUDS = st.dictionaries(IMAGES, st.dictionaries(PROJECTS, STATUSES, max_size=6), max_size=6)
NAMES = st.text(max_size=12)


def adopted(cloud: dict[str, dict[str, str | None]]) -> AdoptedPlan:
    """Return what is collected of a cloud's members."""
    plan = AdoptedPlan()
    for image_id, members in cloud.items():
        if members:
            plan.add(image_id, [Member(image_id, member_id, status) for member_id, status in members.items()])
    return plan


@given(cloud=CLOUDS, data=st.data())
def test_the_plan_is_the_cloud(cloud: dict[str, dict[str, str | None]], data: st.DataObject) -> None:
    """Each member that a plan can have is in it, with acceptance if it has accepted; names change nothing."""
    plan = adopted(cloud)
    unknown = (
        set(data.draw(st.lists(st.sampled_from(sorted(plan.member_ids)), max_size=2))) if plan.member_ids else set()
    )
    left_out = plan.left_out(unknown)
    names = {known: data.draw(NAMES) for known in sorted({*cloud, *plan.member_ids})}
    expected = {
        (image_id, member_id, Want.ACCEPTED if status == "accepted" else Want.MEMBER)
        for image_id, members in cloud.items()
        for member_id, status in members.items()
        if not id_fault(image_id) and not id_fault(member_id) and member_id not in unknown
    }
    assert left_out == {known for known in plan.member_ids if id_fault(known) or known in unknown}
    if not expected:
        return
    text = "".join(plan_lines("nightly", [CloudPart("my cloud", plan, names, left_out)], comments=["one\ntwo"]))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "plan.yaml")
        path.write_text(text, "utf-8")
        loaded = load_plan(path)
    assert (loaded.name, loaded.clouds) == ("nightly", ("my cloud",))
    assert {(block.image_id, member, block.want) for block in expand(loaded) for member in block.member_ids} == expected
    sets = [(frozenset(entry.projects), entry.want, entry.images[0] in ODD_ONES) for entry in loaded.entries]
    assert len(sets) == len(set(sets)), "equal sets stand once"
    again = dict(reversed([(image_id, dict(reversed(members.items()))) for image_id, members in cloud.items()]))
    part = CloudPart("my cloud", adopted(again), names, left_out)
    lines = plan_lines("nightly", [part], comments=["one\ntwo"])
    assert "".join(lines) == text, "the order of the listings doesn't matter"


@given(one=CLOUDS, two=CLOUDS)
def test_each_cloud_has_its_own(one: dict[str, dict[str, str | None]], two: dict[str, dict[str, str | None]]) -> None:
    """In a plan of several clouds, too, even if they have images and projects with the same IDs."""
    plans = {"eu-de": adopted(one), "eu-nl": adopted(two)}
    parts = [CloudPart(cloud, plan, {}, plan.left_out(())) for cloud, plan in plans.items()]
    if not all(part.adopted.entries(part.left_out) for part in parts):
        return
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "plan.yaml")
        path.write_text("".join(plan_lines("n", parts)), "utf-8")
        loaded = load_plan(path)
    for cloud, members in (("eu-de", one), ("eu-nl", two)):
        named = {
            (block.image_id, project) for block in expand(for_cloud(loaded, cloud)) for project in block.member_ids
        }
        assert named == {
            (image, project)
            for image, projects in members.items()
            for project in projects
            if not id_fault(image) and not id_fault(project)
        }
