"""The sandbox's initial clouds: a sample, the seeds of a plan, and the example."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.sandbox import Cloud, ImageSeed, ProjectSeed

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def example(now: datetime = NOW) -> Cloud:
    """Return the example cloud at a time."""
    return Cloud.example(clock=lambda: now)


def test_a_sample_cloud_is_the_same_on_every_start() -> None:
    """A plan written for one start fits the next."""
    first, second = Cloud.sample(images=2, projects=3), Cloud.sample(images=2, projects=3)
    assert [image.name for image in first.images.values()] == ["image-001", "image-002"]
    assert list(first.images) == list(second.images)
    assert list(first.projects) == list(second.projects)
    assert first.admin.id == second.admin.id


def test_an_image_has_the_fields_of_its_seed() -> None:
    """The admin owns it; without an ID it gets one derived from its name."""
    seed = ImageSeed("golden", ("a", "b"), {"os": "debian"}, "private", "queued", NOW, os_hidden=True)
    first, second = (next(iter(Cloud.seeded([seed], []).images.values())) for _ in range(2))
    assert (first.id, first.created_at, first.tags) == (second.id, NOW, ("a", "b"))
    assert (first.visibility, first.status, first.os_hidden) == ("private", "queued", True)
    assert first.properties == {"os": "debian"}
    assert Cloud.seeded([seed._replace(image_id="i1"), "i1", "i2"], []).images.keys() == {"i1", "i2"}


def test_a_project_has_the_fields_of_its_seed() -> None:
    """Its domain is created for it; the same name in another domain is another project."""
    seeds = [
        ProjectSeed("team", "customers", ("gold",), enabled=False),
        ProjectSeed("child", "customers", parent="team"),
        ProjectSeed("team"),
        ProjectSeed("team"),
    ]
    cloud = Cloud.seeded([], [*seeds, "p1"])
    team, child, ours, by_id = list(cloud.projects.values())[1:]
    domain = cloud.domains[team.domain_id]
    assert (domain.name, team.parent_id, team.tags, team.enabled) == ("customers", domain.id, ("gold",), False)
    assert (child.parent_id, child.domain_id) == (team.id, domain.id)
    assert (ours.domain_id, ours.parent_id, by_id.id) == ("default", "default", "p1")
    assert ours.id != team.id


def test_a_parent_has_to_exist() -> None:
    """And be in the same domain."""
    with pytest.raises(ValueError, match="project child: there is no project team in domain Default"):
        Cloud.seeded([], [ProjectSeed("team", "customers"), ProjectSeed("child", parent="team")])


def test_the_example_is_the_same_on_every_start() -> None:
    """Its IDs are the same on any day."""
    first, second = example(), example(NOW + timedelta(days=500))
    assert list(first.images) == list(second.images)
    assert list(first.projects) == list(second.projects)
    assert list(first.domains) == list(second.domains)


def test_the_example_is_fresh_at_any_time() -> None:
    """It has several builds of each series, the newest a few days old, each named after its day."""
    names = [image.name for image in example().images.values() if image.properties.get("os_version") == "24.04"]
    assert names == ["ubuntu-24.04-20261120", "ubuntu-24.04-20261113", "ubuntu-24.04-20261106", "ubuntu-24.04-20261030"]
    for image in example().images.values():
        assert image.created_at <= NOW
        if image.tags == ("golden",) and image.status == "active":
            assert str(image.name).endswith(f"{image.created_at:-%Y%m%d}")


def test_the_example_covers_the_selectors() -> None:
    """It has a private, a hidden and a queued image, two domains, disabled projects and a child."""
    cloud = example()
    found = {str(image.name).rpartition("-")[2]: image for image in cloud.images.values()}
    assert (found["candidate"].visibility, found["building"].status) == ("private", "queued")
    assert [image.tags for image in cloud.images.values() if image.os_hidden] == [("golden", "withdrawn")]
    projects = {project.name: project for project in cloud.projects.values()}
    assert projects["team-a-staging"].parent_id == projects["team-a"].id
    assert sorted(name for name in projects if not projects[name].enabled) == ["team-gone", "team-unpaid"]
    assert {cloud.domains[project.domain_id].name for project in projects.values()} == {"Default", "customers"}


def test_the_example_includes_the_plans_ids() -> None:
    """Images and projects that the plan names by ID are added to its own."""
    cloud = Cloud.example(["i1"], ["p1"], member_quota=-1)
    assert (cloud.images["i1"].visibility, cloud.projects["p1"].name, cloud.member_quota) == ("shared", "p1", -1)
    assert len(cloud.images) > 10


@given(
    st.lists(st.sampled_from("abcdef"), unique=True),
    st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["web", "db", "project-001", "project-002", "a", ""])),
)
def test_names_for_what_is_known_by_its_id_only(ids: list[str], names: dict[str, str]) -> None:
    """Those that are given, or numbers; no two projects have the same, and whatever had a name keeps it."""
    cloud = Cloud.seeded([*ids, ImageSeed("web", image_id="i")], [*ids, ProjectSeed("web", project_id="p")])
    cloud.rename(names)
    for kind, items in (("image", cloud.images), ("project", cloud.projects)):
        named = {known_id: items[known_id].name for known_id in ids}
        assert len({item.name for item in items.values()}) == len(items)
        assert all(
            re.fullmatch(rf"{kind}-\d+|{names.get(key) or key}|{key}", name or "") for key, name in named.items()
        )
        if not names:
            assert list(named.values()) == [f"{kind}-{number:03}" for number in range(1, len(ids) + 1)]
    assert (cloud.images["i"].name, cloud.projects["p"].name, cloud.admin_project.name) == ("web", "web", "admin")
