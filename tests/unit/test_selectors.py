"""What selectors mean, and plans with IDs in their place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bulkshare.model import Entry, IdList, Image, ImageSelector, Plan, Problem, Project, ProjectSelector
from bulkshare.plan.selectors import (
    check_ids,
    describe,
    for_cloud,
    idle_exclusions,
    image_query,
    project_ids,
    resolved,
    respelled,
    select_images,
    select_projects,
    selectors,
    unchecked_note,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PAGED = [("sort_key", "created_at"), ("sort_dir", "desc"), ("limit", "1000")]


def image(image_id: str, *, days: float = 0, **fields: Any) -> Image:
    """Return an active image of our own that was made so many days ago; keys that are no fields are properties."""
    fields = {"name": "n", "status": "active", "owner": "us", "created_at": NOW - timedelta(days=days), **fields}
    texts = {key: value for key, value in fields.items() if isinstance(value, str)}
    known = {key: value for key, value in fields.items() if key in Image._fields}
    return Image(image_id, **known, properties=texts)


def chosen(selector: ImageSelector, *images: Image) -> list[str]:
    """Return the IDs of the images that a selector means, in order."""
    return [found.id for found in select_images(selector, images, own_project_id="us", now=NOW)]


@pytest.mark.parametrize(
    ("selector", "query"),
    [
        (ImageSelector(), [("status", "active"), ("owner", "us")]),
        (ImageSelector(owner="any", status="queued"), [("status", "queued")]),
        (ImageSelector(owner="them"), [("status", "active"), ("owner", "them")]),
        (ImageSelector(name="a b"), [("status", "active"), ("owner", "us"), ("name", "a b")]),
        (ImageSelector(name="debian:12"), [("status", "active"), ("owner", "us"), ("name", "eq:debian:12")]),
        (ImageSelector(name="in:a,b"), [("status", "active"), ("owner", "us"), ("name", "eq:in:a,b")]),
        (ImageSelector(name="a*"), [("status", "active"), ("owner", "us")]),
        (ImageSelector(name="a[12]"), [("status", "active"), ("owner", "us")]),
        (
            ImageSelector(tags=frozenset("ba")),
            [("status", "active"), ("owner", "us"), ("tag", "a"), ("tag", "b")],
        ),
        (
            ImageSelector(properties=(("os_distro", "ubuntu"), ("disk_format", "raw"))),
            [("status", "active"), ("owner", "us"), ("os_distro", "ubuntu"), ("disk_format", "raw")],
        ),
        # To Glance these are no properties: its own parameters, columns of other kinds, ranges, what Python has.
        (
            ImageSelector(
                properties=tuple((name, "x") for name in ["limit", "visibility", "size", "ram_min", "keys", "__doc__"])
            ),
            [("status", "active"), ("owner", "us")],
        ),
        (ImageSelector(newer_than_seconds=1, latest=1, per="x"), [("status", "active"), ("owner", "us")]),
    ],
)
def test_image_query(selector: ImageSelector, query: list[tuple[str, str]]) -> None:
    """What Glance can filter by is asked for; the rest is done here."""
    assert image_query(selector, "us") == query + PAGED


def test_images_that_fit() -> None:
    """Everything is looked at again, whatever the cloud has filtered by."""
    good = image("good", name="ubuntu-24.04-x", tags=frozenset("ab"), os="linux")
    others = [
        good._replace(id="name", name="Ubuntu-24.04-x"),
        good._replace(id="nameless", name=None),
        good._replace(id="tag", tags=frozenset("b")),
        good._replace(id="property", properties={"os": "Linux"}),
        good._replace(id="no-property", properties={}),
        good._replace(id="owner", owner="them"),
        good._replace(id="status", status="queued"),
        good._replace(id="old", created_at=NOW - timedelta(days=31)),
        good._replace(id="ageless", created_at=None),
    ]
    selector = ImageSelector(
        name="ubuntu-24.04-*",
        tags=frozenset("a"),
        properties=(("os", "linux"),),
        newer_than_seconds=30 * 86_400,
    )
    assert chosen(selector, *others, good, good) == ["good"]


def test_any_visibility() -> None:
    """Images that can't be shared are selected, and reported later."""
    visibilities = ("private", "shared", "public", "community")
    images = [image(visibility, visibility=visibility) for visibility in visibilities]
    assert sorted(chosen(ImageSelector(name="n"), *images)) == sorted(visibilities)
    assert chosen(ImageSelector(properties=(("visibility", "shared"),)), *images) == ["shared"]


def test_owners() -> None:
    """Our own, another project's, or any: by default a vendor's public image with a matching name is not selected."""
    images = [image("ours"), image("theirs", owner="vendor"), image("nobodys", owner=None)]
    assert chosen(ImageSelector(name="n"), *images) == ["ours"]
    assert chosen(ImageSelector(name="n", owner="vendor"), *images) == ["theirs"]
    assert chosen(ImageSelector(name="n", owner="any"), *images) == ["theirs", "ours", "nobodys"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a", ["a"]),
        ("a*", ["a", "ab", "a[b]"]),
        ("a?", ["ab"]),
        ("a[a-c]", ["ab"]),
        ("a[[]b]", ["a[b]"]),
        ("A*", ["AB"]),
        ("*", ["a", "ab", "a[b]", "AB"]),
    ],
)
def test_patterns(pattern: str, names: list[str]) -> None:
    """Patterns are a shell's, and case-sensitive."""
    images = [image(name, name=name, days=n) for n, name in enumerate(["a", "ab", "a[b]", "AB"])]
    assert chosen(ImageSelector(name=pattern), *images) == names


def test_newest_first() -> None:
    """Images of the same time are in Glance's order; one without a time comes last."""
    images = [image("z", created_at=None), image("old", days=9), image("a"), image("b"), image("c", days=1)]
    assert chosen(ImageSelector(name="n"), *images) == ["b", "a", "c", "old", "z"]
    assert chosen(ImageSelector(name="n", latest=2), *images) == ["b", "a"]


def test_latest_per_property() -> None:
    """The newest of each version; an image without one is not selected, nor one that does not match otherwise."""
    images = [
        image("22-new", version="22.04", days=1),
        image("24-new", version="24.04", days=2),
        image("22-old", version="22.04", days=3),
        image("24-old", version="24.04", days=4),
        image("22-oldest", version="22.04", days=5),
        image("none"),
        image("24-queued", version="24.04", status="queued"),
    ]
    assert chosen(ImageSelector(latest=1, per="version"), *images) == ["22-new", "24-new"]
    assert chosen(ImageSelector(latest=2, per="version"), *images) == ["22-new", "24-new", "22-old", "24-old"]


def test_latest_per_name() -> None:
    """Nightly builds have new IDs under old names."""
    images = [image("new", name="golden"), image("old", name="golden", days=1), image("other", name="x", days=2)]
    assert chosen(ImageSelector(latest=1, per="name"), *images) == ["new", "other"]


PROJECTS = [
    Project("1", "team-a", "d1", "top", tags=frozenset({"gold"})),
    Project("2", "team-a", "d2", "top"),
    Project("3", "team-b", "d1", "other", enabled=False),
    Project("4", "Team-c", "d1", "top", tags=frozenset({"gold", "eu"})),
]


@pytest.mark.parametrize(
    ("selector", "ids"),
    [
        (ProjectSelector(name="team-*"), ["1", "2"]),
        (ProjectSelector(name="team-*", enabled=None), ["1", "2", "3"]),
        (ProjectSelector(enabled=False), ["3"]),
        (ProjectSelector(tags=frozenset({"gold"})), ["4", "1"]),
        (ProjectSelector(tags=frozenset({"gold", "eu"})), ["4"]),
        (ProjectSelector(parent="other", enabled=None), ["3"]),
        (ProjectSelector(name="Team-c"), ["4"]),
        (ProjectSelector(name="team-c"), []),
        (ProjectSelector(name="team-b", enabled=None), ["3"]),
    ],
)
def test_projects_that_match(selector: ProjectSelector, ids: list[str]) -> None:
    """By name, in the order of names, each once."""
    problems: list[Problem] = []
    assert [project.id for project in select_projects(selector, PROJECTS * 2, problems)] == ids
    assert problems == []


def test_a_name_of_several_projects() -> None:
    """A name has to be unique; the error names the domains that have it."""
    problems: list[Problem] = []
    select_projects(ProjectSelector(name="team-a", place="plan.yaml:7:9"), PROJECTS, problems)
    assert list(map(str, problems)) == [
        "plan.yaml:7:9: 2 projects have the name 'team-a': 1 of domain d1, 2 of domain d2; add `domain` or `parent`, "
        "or use an ID"
    ]
    many = [Project(f"{number:02}", "x", "d") for number in range(12)]
    select_projects(ProjectSelector(name="x"), many, problems)
    assert "09 of domain d and 2 more; add" in problems[-1].message


GOLDEN = ImageSelector(name="golden-*", place="plan.yaml:5:3")
TEAMS = ProjectSelector(name="team-*", place="plan.yaml:6:3")
GONE = ProjectSelector(tags=frozenset({"gone"}), place="plan.yaml:7:3")
PARTNERS = ProjectSelector(domain="partners", place="plan.yaml:8:3")


def plan_of(*entries: Entry) -> Plan:
    """Return a plan of these entries."""
    return Plan(name="nightly", entries=entries)


def resolve(plan: Plan, **ids: str) -> tuple[Plan, list[str]]:
    """Resolve the selectors above with IDs of one letter; return the plan and the problems."""
    problems: list[Problem] = []
    projects = {GONE: ids.get("gone", ""), TEAMS: ids.get("teams", ""), PARTNERS: ids.get("partners", "")}
    found = resolved(plan, {GOLDEN: list(ids.get("golden", ""))}, {s: list(i) for s, i in projects.items()}, problems)
    return found, list(map(str, problems))


def test_selectors_of_a_plan() -> None:
    """Each once, in order of first mention, with the entries that have it."""
    elsewhere = ImageSelector(name="golden-*", place="plan.yaml:99:1")
    first = Entry((GOLDEN, "i"), ("p", TEAMS), frozenset({PARTNERS, GONE, "x"}))
    second = Entry((elsewhere,), (PARTNERS,), keep=frozenset({TEAMS}))
    found = selectors(plan_of(first, second, Entry(("i",), ("p",))))
    assert found.images == {GOLDEN: [first, second]}
    assert found.projects == {TEAMS: [first, second], GONE: [first], PARTNERS: [first, second]}
    assert list(found.projects) == [TEAMS, GONE, PARTNERS]


def test_ids_replace_selectors() -> None:
    """In place and in order; shared lists stay shared, and the rest of the plan is unchanged."""
    projects, untouched = ("p", TEAMS, "q"), ("p", "q")
    plan = plan_of(
        Entry(("i", GOLDEN), projects, frozenset({"x", GONE}), keep=frozenset({PARTNERS}), prune=True),
        Entry((GOLDEN,), projects),
        Entry(("i",), untouched),
    )
    found, problems = resolve(plan, golden="jk", teams="ab", gone="y", partners="z")
    assert problems == []
    assert found.entries == (
        Entry(("i", "j", "k"), ("p", "a", "b", "q"), frozenset("xy"), keep=frozenset("z"), prune=True),
        Entry(("j", "k"), ("p", "a", "b", "q")),
        Entry(("i",), ("p", "q")),
    )
    assert found.entries[0].projects is found.entries[1].projects
    assert found.entries[2].projects is plan.entries[2].projects


def test_selectors_that_match_nothing() -> None:
    """Each is reported once, with its position; also one that only excludes or keeps, because it protects members."""
    group = (TEAMS, "p")
    plan = plan_of(
        Entry((GOLDEN,), group, frozenset({GONE}), keep=frozenset({PARTNERS})),
        Entry(("i",), group, frozenset(group)),
    )
    assert resolve(plan)[1] == [
        "plan.yaml:5:3: no image matches {name: golden-*, owner: self, status: active}; correct the selector, or add "
        "`allow_empty: true`",
        "plan.yaml:6:3: no project matches {name: team-*, enabled: true}; correct the selector, or add "
        "`allow_empty: true`",
        "plan.yaml:7:3: no project matches {tag: gone, enabled: true}; correct the selector, or add `allow_empty: "
        "true`",
        "plan.yaml:8:3: no project matches {domain: partners, enabled: true}; correct the selector, or add "
        "`allow_empty: true`",
    ]


def test_entries_without_projects() -> None:
    """An entry without projects is an error, unless its projects may be empty."""
    told = ": `except` leaves no project"
    assert resolve(plan_of(Entry(("i",), (TEAMS,), frozenset("a"))), teams="a")[1] == [f"plan.yaml:6:3{told}"]
    assert resolve(plan_of(Entry(("i",), ("p",), frozenset({GONE}))), gone="p")[1] == [f"plan.yaml:7:3{told}"]
    assert resolve(plan_of(Entry(("i",), ("p",), frozenset({GONE}))), gone="q")[1] == []
    problems: list[Problem] = []
    empty = ProjectSelector(name="x", allow_empty=True)
    found = resolved(plan_of(Entry(("i",), (empty,))), {}, {empty: ()}, problems)
    assert found.entries == (Entry(("i",), ()),)
    assert problems == []


def test_what_is_for_a_cloud() -> None:
    """The entries that name it or none; lists stay shared."""
    entries = (Entry(("i",), ("p",)), Entry(("j",), ("p",), cloud="a"), Entry(("k",), ("p",), cloud="b"))
    plan = Plan("n", entries, clouds=("a", "b"), region="r")
    assert for_cloud(plan, "a") == Plan("n", entries[:2], clouds=("a",), region="r")
    assert for_cloud(plan, "b").entries[0] is entries[0]


def test_ids_to_check() -> None:
    """All project IDs in a plan; unknown ones are reported with the entries that name them."""
    shared = ("p", "q", TEAMS)
    plan = plan_of(
        Entry(("i",), shared, frozenset("x")),
        Entry(("j",), shared, keep=frozenset({"y", "q"})),
        Entry(("k", GOLDEN), ("p",)),
    )
    assert project_ids(plan) == frozenset("pqxy")
    assert check_ids(plan, frozenset("pqxy")) == []
    assert list(map(str, check_ids(plan, frozenset("p")))) == [
        "plan nightly: q is not a project; it is named by 2 entries",
        "plan nightly: x is not a project; it is named by 1 entry",
        "plan nightly: y is not a project; it is named by 1 entry",
    ]


def test_many_unknown_ids() -> None:
    """Twenty are named, the rest is counted."""
    plan = plan_of(Entry(("i",), tuple(f"p{number:02}" for number in range(23))))
    problems = check_ids(plan, frozenset({"p00"}))
    assert len(problems) == 21
    assert str(problems[-1]) == "plan nightly: 2 more IDs that are not a project"


def test_described() -> None:
    """A selector is described in the plan's syntax, on one line."""
    image_selector = ImageSelector(
        name="a*", tags=frozenset("ba"), properties=(("os", "x"),), newer_than_seconds=129_600, latest=2, per="os"
    )
    assert describe(image_selector) == (
        "{name: a*, tag: a, tag: b, os: x, owner: self, status: active, newer_than: 1.5d, latest: 2, per: os}"
    )
    project_selector = ProjectSelector(domain="a\x1bb", enabled=None, parent="p")
    assert describe(project_selector) == "{domain: a b, enabled: any, parent: p}"


def test_a_selector_without_a_file() -> None:
    """A plan built by a program has no positions."""
    problems: list[Problem] = []
    selector = ProjectSelector(name="x")
    resolved(plan_of(Entry(("i",), (selector,))), {}, {selector: ()}, problems)
    assert str(problems[0]).startswith("the plan: no project matches {name: x, enabled: true}")


def test_respelled_ids() -> None:
    """In each of the lists of projects; what entries share stays shared."""
    shared = IdList(("a-b", "c", "c"))
    plan = respelled(plan_of(Entry(("a-b",), shared, frozenset({"a-b"}), keep=frozenset({"a-b", "d"}))), {"a-b": "ab"})
    assert plan.entries == (Entry(("a-b",), ("ab", "c", "c"), frozenset({"ab"}), keep=frozenset({"ab", "d"})),)
    twice = respelled(plan_of(Entry(("i",), shared), Entry(("j",), shared)), {"a-b": "ab"})
    assert twice.entries[0].projects is twice.entries[1].projects
    assert respelled(plan, {}) is plan


@pytest.mark.parametrize(
    ("excluded", "keep", "known", "unknown", "sentences"),
    [
        ("x", "", "abx", "", []),  # a project, even if the entry does not name it
        ("a", "", "", "", []),  # not looked up, but it excludes one of the entry's
        ("x", "", "ab", "x", ["`except` matches nothing with x: excludes no project; correct or remove it"]),
        ("ax", "", "", "", ["`except` matches nothing with x: excludes no project; correct or remove it"]),
        ("", "x", "ab", "x", ["`keep` matches nothing with x: keeps no member; correct or remove it"]),
        ("", "x", "ab", "", []),  # a member that could not be looked up
    ],
)
def test_exclusions_that_match_nothing(
    excluded: str, keep: str, known: str, unknown: str, sentences: list[str]
) -> None:
    """They are reported, since what they were to protect is shared with, or removed."""
    plan = plan_of(Entry(("i",), ("a", "b"), frozenset(excluded), prune=bool(keep), keep=frozenset(keep)))
    assert idle_exclusions(plan, plan, frozenset(known), frozenset(unknown)) == sentences


def test_what_was_not_checked() -> None:
    """How many, of how many, which and why."""
    ids = frozenset(f"{number:02}" for number in range(12))
    assert unchecked_note(ids, 3000, "no") == (
        "12 of 3,000 project IDs not checked (00, 01, 02, 03, 04, 05, 06, 07, 08, 09 and 2 more): no"
    )
