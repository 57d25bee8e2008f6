"""Plans that select, accept and prune, and plans for several clouds: what they come to, and what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bulkshare.errors import PlanError
from bulkshare.model import CheckProjects, Entry, ImageSelector, Limits, Orders, Plan, ProjectSelector, PruneLimit, Want
from bulkshare.plan.expand import expand, orders
from bulkshare.plan.load import load_plan

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "version: 1\nname: n\n"
PAIR = "share:\n- images: [i]\n  projects: [p]\n"


def load(folder: Path, text: str) -> Plan:
    """Read a plan of this text, in this folder."""
    path = folder / "plan.yaml"
    path.write_bytes(text.encode())
    return load_plan(path)


def entry_of(folder: Path, text: str) -> Entry:
    """Return the one entry of a plan with these keys in it, beside its image and project."""
    return load(folder, HEAD + PAIR + "".join(f"  {line}\n" for line in text.splitlines())).entries[0]


def problems_of(folder: Path, text: str) -> list[str]:
    """Return what is wrong with a plan of this text, without the file's name."""
    with pytest.raises(PlanError) as caught:
        load(folder, text)
    return [str(problem).removeprefix(f"{folder / 'plan.yaml'}:") for problem in caught.value.problems]


IMAGES = [
    ("{name: 'ubuntu-24.04-*'}", ImageSelector(name="ubuntu-24.04-*")),
    ("{name: 0123, allow_empty: true}", ImageSelector(name="0123", allow_empty=True)),
    ("{tag: golden}", ImageSelector(tags=frozenset({"golden"}))),
    ("{tag: [golden, 7, golden]}", ImageSelector(tags=frozenset({"golden", "7"}))),
    (
        "{property: {os_version: 24.04, os_distro: ubuntu}}",
        ImageSelector(properties=(("os_distro", "ubuntu"), ("os_version", "24.04"))),
    ),
    ("{owner: any, status: queued}", ImageSelector(owner="any", status="queued")),
    ("{owner: edc89b490d7d4392898e19b2deb34797}", ImageSelector(owner="edc89b490d7d4392898e19b2deb34797")),
    ("{newer_than: 30d}", ImageSelector(newer_than_seconds=2_592_000.0)),
    ("{newer_than: 1d12h}", ImageSelector(newer_than_seconds=129_600.0)),
    ("{name: a, latest: 2, per: os_version}", ImageSelector(name="a", latest=2, per="os_version")),
    ("{older_than: 90d}", ImageSelector(older_than_seconds=7_776_000.0)),
    (
        "{newer_than: 2d, older_than: 1d, skip_latest: 2, latest: 1, per: name}",
        ImageSelector(newer_than_seconds=172_800.0, older_than_seconds=86_400.0, skip_latest=2, latest=1, per="name"),
    ),
]
PROJECTS = [
    ("{name: team-*, domain: customers}", ProjectSelector(name="team-*", domain="customers")),
    ("{tag: gold}", ProjectSelector(tags=frozenset({"gold"}))),
    ("{tag: [gold, eu]}", ProjectSelector(tags=frozenset({"gold", "eu"}))),
    ("{enabled: true}", ProjectSelector()),
    ("{enabled: False}", ProjectSelector(enabled=False)),
    ("{enabled: any, allow_empty: TRUE}", ProjectSelector(enabled=None, allow_empty=True)),
    ("{parent: p0, allow_empty: false}", ProjectSelector(parent="p0")),
]


@pytest.mark.parametrize(("written", "selector"), IMAGES)
def test_image_selectors(tmp_path: Path, written: str, selector: ImageSelector) -> None:
    """Each key arrives, and what is left out has its default."""
    plan = load(tmp_path, f"{HEAD}share:\n- images: [i, {written}]\n  projects: [p]\n")
    assert plan.entries == (Entry(("i", selector), ("p",)),)


@pytest.mark.parametrize(("written", "selector"), PROJECTS)
def test_project_selectors(tmp_path: Path, written: str, selector: ProjectSelector) -> None:
    """Wherever projects stand: shared with, left out, and kept."""
    lists = f"projects: [p, {written}]\n  except: [{written}]\n  keep: [q, {written}]\n"
    plan = load(tmp_path, f"{HEAD}share:\n- images: [i]\n  {lists}")
    assert plan.entries == (Entry(("i",), ("p", selector), frozenset({selector}), keep=frozenset({"q", selector})),)


def test_selectors_in_groups(tmp_path: Path) -> None:
    """A group may hold selectors; entries with one group still share its list, and each selector knows its place."""
    text = f"""\
{HEAD}groups:
  images: {{golden: [i, {{tag: golden}}]}}
  projects:
    tenants:
      - name: team-*
      - p
share:
  - {{images: [{{group: golden}}], projects: [{{group: tenants}}], except: [{{name: x}}]}}
  - {{images: [{{group: golden}}], projects: [{{group: tenants}}], keep: [{{group: tenants}}]}}
  - {{images: [{{group: golden}}], projects: [{{group: tenants}}], keep: [{{group: tenants}}]}}
"""
    first, second, third = load(tmp_path, text).entries
    assert first.projects is second.projects
    assert first.images is second.images
    assert second.keep is third.keep
    _, images = first.images
    projects, _ = first.projects
    assert isinstance(images, ImageSelector)
    assert isinstance(projects, ProjectSelector)
    assert images.place == f"{tmp_path / 'plan.yaml'}:4:24"
    assert projects.place == f"{tmp_path / 'plan.yaml'}:7:9"


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("accept: true", Entry(("i",), ("p",), want=Want.ACCEPTED)),
        ("accept: force", Entry(("i",), ("p",), want=Want.ACCEPTED | Want.FORCED)),
        ("accept: false", Entry(("i",), ("p",))),
        ("accept: true\naccept_as: project", Entry(("i",), ("p",), want=Want.ACCEPTED, accept_as_project=True)),
        ("accept: true\naccept_as: self", Entry(("i",), ("p",), want=Want.ACCEPTED, accept_as_project=False)),
        ("accept: true\naccept_as: auto", Entry(("i",), ("p",), want=Want.ACCEPTED)),
        ("make_shared: true", Entry(("i",), ("p",), make_shared=True)),
        (
            "make_shared: true\naccept: force",
            Entry(("i",), ("p",), want=Want.ACCEPTED | Want.FORCED, make_shared=True),
        ),
        ("prune: true\nkeep: [x, y]", Entry(("i",), ("p",), prune=True, keep=frozenset({"x", "y"}))),
        ("keep: [x]", Entry(("i",), ("p",), keep=frozenset({"x"}))),
        ("prune: true\nprune_limit: 20%", Entry(("i",), ("p",), prune=True, prune_limit=PruneLimit(0.2))),
        ("prune_limit: 0.25", Entry(("i",), ("p",), prune_limit=PruneLimit(0.25))),
        ("on_quota: fill", Entry(("i",), ("p",), fill=True)),
        ("on_quota: fail", Entry(("i",), ("p",))),
    ],
)
def test_what_an_entry_wants(tmp_path: Path, text: str, entry: Entry) -> None:
    """What is to become of the pairs and of the images."""
    assert entry_of(tmp_path, text) == entry


def test_of_the_whole_plan(tmp_path: Path) -> None:
    """The quota of images, the prune limit, and whether projects are looked up."""
    text = HEAD + PAIR + "check_projects: never\nlimits: {members_per_image: 0}\nprune_limit: 10%, at least 1\n"
    plan = load(tmp_path, text)
    assert plan.check_projects is CheckProjects.NEVER
    assert plan.limits == Limits(members_per_image=0)
    assert plan.prune_limit == PruneLimit(0.1, 1)


@pytest.mark.parametrize(
    ("head", "entries", "clouds"),
    [
        ("", ["", ""], ()),
        ("cloud: a\n", ["", "cloud: a"], ("a",)),
        ("clouds: [b, a]\n", ["", "cloud: a"], ("b", "a")),
        ("clouds: [a, b]\n", ["cloud: a", "cloud: b"], ("a", "b")),
        ("", ["cloud: b", "cloud: a"], ("b", "a")),
    ],
)
def test_clouds(tmp_path: Path, head: str, entries: list[str], clouds: tuple[str, ...]) -> None:
    """The plan names them, or its entries do."""
    share = "".join(f"- {{images: [i], projects: [p], {entry}}}\n" for entry in entries)
    plan = load(tmp_path, f"{HEAD}{head}share:\n{share}")
    assert plan.clouds == clouds
    assert [entry.cloud for entry in plan.entries] == [entry.removeprefix("cloud: ") or None for entry in entries]


BAD_CLOUDS = [
    (
        "cloud: a\nclouds: [a]\n",
        ["cloud: b"],
        ["4:1: `cloud` and `clouds` are both present; keep one"],
    ),
    (
        "clouds: [eu-de, eu-nl, eu-de]\n",
        ["cloud: eu-dee", "cloud: prod", ""],
        [
            "3:24: 'eu-de' is repeated; keep one",
            "5:39: 'eu-dee' is not one of the plan's clouds; did you mean 'eu-de'?",
            "6:39: 'prod' is not one of the plan's clouds; they are: eu-de, eu-nl",
        ],
    ),
    ("cloud: a\n", ["cloud: b", ""], ["5:39: 'b' is not one of the plan's clouds; they are: a"]),
    ("clouds: [a, b]\n", ["cloud: a"], ["3:13: no entry is for 'b'; remove it, or add an entry"]),
    (
        "",
        ["cloud: a", "", "cloud: b"],
        ["5:3: has no `cloud`, but other entries do; add it, or list all clouds in `clouds` at the top"],
    ),
    ("clouds: []\n", ["cloud: a"], ["3:9: the list is empty; add at least one item, or remove it"]),
    ("clouds: a\n", ["cloud: a"], ["3:9: expected a list, found 'a'"]),
    (
        "clouds: [a, ' b', [c]]\n",
        ["cloud: "],
        [
            "3:13: 'b' has surrounding white space or invisible characters; remove them",
            "3:19: expected text, found a list",
            "5:39: expected text, found nothing",
        ],
    ),
    ("", ["cloud: [a]", ""], ["4:39: expected text, found a list"]),
]


@pytest.mark.parametrize(("head", "entries", "problems"), BAD_CLOUDS)
def test_bad_clouds(tmp_path: Path, head: str, entries: list[str], problems: list[str]) -> None:
    """Clouds named twice, nowhere or by mistake."""
    share = "".join(f"- {{images: [i], projects: [p], {entry}}}\n" for entry in entries)
    assert problems_of(tmp_path, f"{HEAD}{head}share:\n{share}") == problems


SELECTS_NOTHING = "selects nothing; add `group`, `file`, or what to select by"
BAD_IMAGES = [
    ("{nme: a}", 4, "unknown key 'nme'; did you mean 'name'?"),
    ("{name: a, group: g}", 4, "an item is either a group, a file or a selector; make it two items"),
    ("{allow_empty: true}", 3, f"{SELECTS_NOTHING}: name, tag, property, owner, status, newer_than, older_than"),
    ("{latest: 2}", 3, f"{SELECTS_NOTHING}: name, tag, property, owner, status, newer_than, older_than"),
    ("{per: x, latest: 2}", 3, f"{SELECTS_NOTHING}: name, tag, property, owner, status, newer_than, older_than"),
    ("{name: a, per: x}", 18, "`per` needs `latest` or `skip_latest`; add one, or remove this"),
    ("{name: }", 10, "expected text, found nothing"),
    ("{name: [a]}", 10, "expected text, found a list"),
    ("{name: ' a'}", 10, "'a' has surrounding white space or invisible characters; remove them"),
    ("{tag: []}", 9, "the list is empty; add at least one item, or remove it"),
    ("{tag: }", 9, "expected a list, found nothing"),
    ("{tag: [a, {}]}", 13, "expected text, found a mapping"),
    ("{tag: ''}", 9, "expected text, found nothing"),
    ("{property: {}}", 14, "the mapping is empty; add at least one item, or remove it"),
    ("{property: a}", 14, "expected a mapping, found 'a'"),
    ("{property: {a: }}", 18, "expected text, found nothing"),
    ("{property: {a: [b]}}", 18, "expected text, found a list"),
    ("{property: {'': b}}", 19, "expected text, found nothing"),
    ("{owner: 'a/b'}", 11, "'a/b' contains '/', which no ID may contain"),
    (
        "{status: activ}",
        12,
        "expected 'queued', 'saving', 'uploading', 'importing', 'active' or 'deactivated', found 'activ'",
    ),
    ("{newer_than: 30}", 16, "'30' is not a duration; write for example 30d, 12h or 1d12h"),
    ("{newer_than: 999999d}", 16, "'999999d' is more than a hundred years; write for example 30d, 12h or 1d12h"),
    ("{newer_than: 0d}", 16, "'0d' is not longer than zero; write for example 30d, 12h or 1d12h"),
    ("{newer_than: [1d]}", 16, "expected a duration such as 30d, found a list"),
    ("{older_than: 30}", 16, "'30' is not a duration; write for example 30d, 12h or 1d12h"),
    (
        "{newer_than: 30d, older_than: 30d}",
        33,
        "no image is both newer than `newer_than` and older than `older_than`",
    ),
    ("{skip_latest: 2}", 3, f"{SELECTS_NOTHING}: name, tag, property, owner, status, newer_than, older_than"),
    ("{name: a, skip_latest: 0}", 26, "must be 1 or more, found '0'"),
    ("{name: a, latest: 0}", 21, "must be 1 or more, found '0'"),
    ("{name: a, latest: two}", 21, "expected a whole number, found 'two'"),
    ("{name: a, latest: }", 21, "expected a whole number, found nothing"),
    ("{name: a, allow_empty: yes}", 26, "expected true or false, found 'yes'"),
]
BAD_PROJECTS = [
    ("{latest: 2}", 4, "unknown key 'latest'; did you mean 'parent'?"),
    ("{tag: 'a,b'}", 9, "'a,b' has ',', which project tags can't contain"),
    ("{tag: [a/b]}", 10, "'a/b' has '/', which project tags can't contain"),
    ("{enabled: all}", 13, "expected true, false or any, found 'all'"),
    ("{enabled: }", 13, "expected true, false or any, found nothing"),
    (
        "{parent: 'a*'}",
        12,
        "'a*' contains '*', which no ID may contain: to select by name, write {name: ...} in the plan",
    ),
    ("{allow_empty: true}", 3, f"{SELECTS_NOTHING}: name, domain, tag, enabled, parent"),
]


@pytest.mark.parametrize(("kind", "cases"), [("images", BAD_IMAGES), ("projects", BAD_PROJECTS)])
def test_bad_selectors(tmp_path: Path, kind: str, cases: list[tuple[str, int, str]]) -> None:
    """All that is wrong with selectors, at once; here in a group, each on a line of its own."""
    head = f"{HEAD}share:\n- images: [i]\n  projects: [p]\ngroups:\n {kind}:\n  g:\n"
    items = "".join(f"  - {item}\n" for item, _, _ in cases)
    expected = [f"{number}:{column + 2}: {message}" for number, (_, column, message) in enumerate(cases, 9)]
    assert problems_of(tmp_path, head + items) == expected


def test_bad_entries(tmp_path: Path) -> None:
    """All that is wrong with what entries want, at once."""
    text = f"""\
{HEAD}check_projects: sometimes
limits: {{members_per_image: -1}}
share:
- images: [i]
  projects: [p]
  accept: maybe
  accept_as: me
  make_shared: 1
  prune: force
  keep: []
  on_quota: explode
  acept: true
- images: [i]
  projects: [p]
  accept_as: self
- images: [i]
  projects: [p]
  accept: false
  accept_as: project
- images: [i]
  projects: [p]
  prune_limit: 110%
- images: [i]
  projects: [p]
  prune_limit: [5]
"""
    advice = "write a percentage (10%), one with a minimum (10%, at least 1), or a number of members"
    assert problems_of(tmp_path, text) == [
        "3:17: expected 'auto', 'always' or 'never', found 'sometimes'",
        "4:29: must be 0 or more, found '-1'",
        "8:11: expected true, false or force, found 'maybe'",
        "9:14: expected 'auto', 'self' or 'project', found 'me'",
        "10:16: expected true or false, found '1'",
        "11:10: expected true or false, found 'force'",
        "12:9: the list is empty; add at least one item, or remove it",
        "13:13: expected 'fail' or 'fill', found 'explode'",
        "14:3: unknown key 'acept'; did you mean 'accept'?",
        "17:14: `accept_as` needs `accept: true`; add it, or remove this",
        "21:14: `accept_as` needs `accept: true`; add it, or remove this",
        f"24:16: '110%' is not a prune limit; {advice}",
        "27:16: expected a prune limit such as 10%, found a list",
    ]


def test_no_one(tmp_path: Path) -> None:
    """An entry without projects says that its images are for no one, if it prunes; nothing else makes sense in it."""
    no_one = f"{HEAD}share:\n- images: [i]\n  projects: []\n"
    plan = load(tmp_path, no_one + "  prune: true\n  keep: [k]\n  prune_limit: 100%\n")
    assert plan.entries == (Entry(("i",), (), prune=True, keep=frozenset({"k"}), prune_limit=PruneLimit(1.0)),)
    assert list(expand(plan)) == []
    assert orders(plan)["i"].prune
    beside = load(tmp_path, no_one + "  prune: true\n- images: [i]\n  projects: [p]\n")
    assert [(block.image_id, block.member_ids) for block in expand(beside)] == [("i", ("p",))]
    empty = "5:13: the list is empty; add at least one item, or `prune: true` if no project is to have the images"
    assert problems_of(tmp_path, no_one) == [empty]
    assert problems_of(tmp_path, no_one + "  prune: false\n  acept: true\n") == [
        empty,
        "7:3: unknown key 'acept'; did you mean 'accept'?",
    ]
    senseless = {"except": "[p]", "accept": "true", "accept_as": "self", "make_shared": "true", "on_quota": "fill"}
    keys = "".join(f"  {key}: {value}\n" for key, value in senseless.items())
    assert problems_of(tmp_path, f"{no_one}  prune: true\n{keys}") == [
        f"{line}:3: `{key}` needs projects; add some, or remove this" for line, key in enumerate(senseless, 7)
    ]


def test_except_may_leave_nobody_only_as_far_as_is_known(tmp_path: Path) -> None:
    """Where a selector stands among the projects, or its like is left out, only the cloud can tell."""
    head = f"{HEAD}share:\n- images: [i]\n"
    assert load(tmp_path, head + "  projects: [p, {tag: a}]\n  except: [p]\n").entries
    assert load(tmp_path, head + "  projects: [p]\n  except: [{tag: a}]\n").entries
    leaves = "6:11: leaves no project; remove the entry"
    assert problems_of(tmp_path, head + "  projects: [p, {tag: a}]\n  except: [p, {tag: a}]\n") == [leaves]


@pytest.mark.parametrize(("text", "strict"), [("", False), ("strict: false\n", False), ("strict: true\n", True)])
def test_strict(tmp_path: Path, text: str, *, strict: bool) -> None:
    """Only a strict plan says of each image that it is."""
    plan = load(tmp_path, text + HEAD + PAIR)
    assert (plan.strict, orders(plan)) == (strict, {"i": Orders(strict=True)} if strict else {})
