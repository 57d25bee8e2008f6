"""Selection against its definition, for any selectors, images and plans."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from bulkshare.model import Entry, Image, ImageSelector, Plan, Problem, ProjectSelector
from bulkshare.plan.expand import count, expand
from bulkshare.plan.selectors import image_query, resolved, select_images, selectors

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NAMES = st.sampled_from(["a", "ab", "b", "A"])
SETS = st.frozensets(st.sampled_from("xy"), max_size=2)
PROPERTIES = st.dictionaries(st.sampled_from(["os", "version"]), st.sampled_from("12"), max_size=2)
IMAGES = st.lists(
    st.builds(
        Image,
        st.text("0123456789", min_size=1, max_size=2),
        st.none() | NAMES,
        st.sampled_from(["active", "queued"]),
        st.none(),
        st.sampled_from(["us", "them"]),
        st.none() | st.integers(0, 5).map(lambda days: NOW - timedelta(days=days)),
        SETS,
        PROPERTIES,
    ),
    max_size=12,
    unique_by=lambda image: image.id,
)
IMAGE_SELECTORS = st.builds(
    ImageSelector,
    name=st.none() | NAMES | st.sampled_from(["a*", "?", "[!a]"]),
    tags=SETS,
    properties=PROPERTIES.map(lambda found: tuple(found.items())),
    owner=st.sampled_from(["self", "any", "them"]),
    newer_than_seconds=st.none() | st.integers(1, 5).map(lambda days: days * 86_400.0),
    older_than_seconds=st.none() | st.integers(1, 5).map(lambda days: days * 86_400.0),
    latest=st.none() | st.integers(1, 3),
    skip_latest=st.none() | st.integers(1, 3),
    per=st.none() | st.sampled_from(["os", "version"]),
    allow_empty=st.booleans(),
)
PROJECT_SELECTORS = st.builds(ProjectSelector, name=NAMES, tags=SETS, allow_empty=st.booleans())
IDS = st.lists(st.sampled_from("pqrst"), max_size=4).map(tuple)


def matches(selector: ImageSelector, image: Image) -> bool:
    """Return whether an image matches a selector, ignoring its ages, `latest` and `skip_latest`."""
    return (
        image.status == selector.status
        and (selector.owner == "any" or image.owner == {"self": "us"}.get(selector.owner, selector.owner))
        and (selector.name is None or (image.name is not None and fnmatchcase(image.name, selector.name)))
        and image.tags >= selector.tags
        and set(image.properties.items()) >= set(selector.properties)
    )


def has_age(selector: ImageSelector, image: Image) -> bool:
    """Return whether an image is as old as a selector wants it; one without a creation time never is."""
    newest = timedelta(seconds=selector.older_than_seconds or -1)
    oldest = timedelta(seconds=selector.newer_than_seconds) if selector.newer_than_seconds else timedelta.max
    if newest < timedelta() and oldest == timedelta.max:
        return True
    return image.created_at is not None and newest < NOW - image.created_at <= oldest


def value_of(image: Image, per: str | None) -> str | None:
    """Return the group in which an image counts for `latest` and `skip_latest`."""
    return "" if per is None else image.properties.get(per)


@given(IMAGE_SELECTORS, IMAGES)
def test_selected_images_are_those_that_match(selector: ImageSelector, images: list[Image]) -> None:
    """All that match and have as many newer matches in their group as `skip_latest` and `latest` say."""
    found = select_images(selector, images, own_project_id="us", now=NOW)
    fitting = [image for image in images if matches(selector, image)]

    def rank(image: Image) -> tuple[datetime, str]:
        return image.created_at or datetime.min.replace(tzinfo=UTC), image.id

    def newer_ones(image: Image, among: list[Image]) -> int:
        alike = [other for other in among if value_of(other, selector.per) == value_of(image, selector.per)]
        return sum(1 for other in alike if rank(other) > rank(image))

    counted = selector.latest is not None or selector.skip_latest is not None
    in_a_group = [image for image in fitting if not counted or value_of(image, selector.per) is not None]
    skip, latest = selector.skip_latest or 0, selector.latest or len(images)
    rest = [image for image in in_a_group if newer_ones(image, fitting) >= skip and has_age(selector, image)]
    expected = [image for image in rest if newer_ones(image, rest) < latest]
    assert found == sorted(expected, key=rank, reverse=True)


@given(IMAGE_SELECTORS, IMAGES)
def test_latest_and_skip_latest_share_the_images_among_them(selector: ImageSelector, images: list[Image]) -> None:
    """No image is selected by both, and each that has a group by one of them: the recipe for rotation."""
    plain = replace(selector, latest=None, skip_latest=None, older_than_seconds=None, newer_than_seconds=None)

    def select(**changes: int) -> list[Image]:
        return select_images(replace(plain, **changes), images, own_project_id="us", now=NOW)  # type: ignore[arg-type]

    count = selector.latest or 1
    newest, rest = select(latest=count), select(skip_latest=count)
    assert not {image.id for image in newest} & {image.id for image in rest}
    every = [image for image in select() if value_of(image, selector.per) is not None]
    assert {image.id for image in [*newest, *rest]} == {image.id for image in every}


@given(IMAGE_SELECTORS, IMAGES)
def test_the_query_excludes_no_selected_image(selector: ImageSelector, images: list[Image]) -> None:
    """An image that the cloud filters out is not selected."""
    query = image_query(selector, "us")

    def passes(image: Image) -> bool:
        fields = {"status": image.status, "owner": image.owner, "name": image.name, **image.properties}
        return all(
            value in image.tags if name == "tag" else fields.get(name) == value
            for name, value in query
            if name not in {"sort_key", "sort_dir", "limit"}
        )

    meant = select_images(selector, images, own_project_id="us", now=NOW)
    left = [image for image in images if passes(image)]
    assert select_images(selector, left, own_project_id="us", now=NOW) == meant


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw entries with IDs and selectors that share lists as entries with the same group do."""
    image_items = st.lists(st.sampled_from("ijk") | IMAGE_SELECTORS, max_size=3).map(tuple)
    project_items = st.lists(st.sampled_from("pqr") | PROJECT_SELECTORS, max_size=3).map(tuple)
    lists = draw(st.lists(project_items, min_size=1, max_size=2))
    projects = st.sampled_from(lists) | project_items
    entry = st.builds(Entry, image_items, projects, project_items.map(frozenset), keep=project_items.map(frozenset))
    return Plan(name="n", entries=tuple(draw(st.lists(entry, max_size=4))))


@given(plans(), st.data())
def test_resolved_plans_have_the_ids_of_their_selectors(plan: Plan, data: st.DataObject) -> None:
    """Each list has exactly its own IDs and those that its selectors found; nothing is left to resolve."""
    wanted = selectors(plan)
    images = {selector: data.draw(IDS) for selector in wanted.images}
    projects = {selector: data.draw(IDS) for selector in wanted.projects}
    ids: dict[ImageSelector | ProjectSelector, tuple[str, ...]] = dict([*images.items(), *projects.items()])
    problems: list[Problem] = []
    found = resolved(plan, images, projects, problems)
    for before, after in zip(plan.entries, found.entries, strict=True):
        for name in ("images", "projects", "excluded", "keep"):
            expected = {i for item in getattr(before, name) for i in ([item] if isinstance(item, str) else ids[item])}
            assert set(getattr(after, name)) == expected
    assert selectors(found) == ({}, {})
    assert count(found).selectors == 0
    empty = [selector for selector, found_ids in ids.items() if not found_ids and not selector.allow_empty]
    if empty:
        assert problems
    sum(len(block.member_ids) for block in expand(found))


@given(plans())
def test_a_plan_without_selectors_is_resolved_already(plan: Plan) -> None:
    """Resolving changes nothing: every list is one of the old ones, and equal lists are one object."""
    wanted = selectors(plan)
    once = resolved(plan, dict.fromkeys(wanted.images, ("i",)), dict.fromkeys(wanted.projects, ("p",)), [])
    again = resolved(once, {}, {}, [])
    assert again == once
    old, new = (
        [items for e in found.entries for items in (e.images, e.projects, e.excluded, e.keep)]
        for found in (once, again)
    )
    assert {id(items) for items in new} <= {id(items) for items in old}
    shared: dict[object, object] = {}
    assert all(shared.setdefault(items, items) is items for items in new)
    assert count(again) == count(once)
