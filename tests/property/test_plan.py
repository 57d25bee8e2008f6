"""Any bytes as a plan or its lists give a plan, or problems that can be printed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from bulkshare.errors import PlanError
from bulkshare.model import Plan, Problem
from bulkshare.plan.expand import count, expand, fingerprint
from bulkshare.plan.load import load_plan
from bulkshare.plan.yaml import read_document

if TYPE_CHECKING:
    from yaml.nodes import Node

GOOD = """\
version: 1
name: nightly
cloud: prod
region: eu-de
check_projects: auto
limits: {concurrency: 16, rate: 50, per_image: 4, members_per_image: 128}
prune_limit: 10%, at least 1
retry: {attempts: 6, base: 0.5s, cap: 30s}
groups:
  images: {golden: [i1, i2]}
  projects:
    tenants: &tenants [p1, {file: list.txt}, {file: list.csv}]
    some: [{group: tenants}, p9]
share:
  - images: [{group: golden}, i3]
    projects: [{group: some}]
    except: [p2]
    accept: true
    accept_as: project
    prune: true
    keep: [p7, {group: some}]
  - {images: [i4], projects: *tenants, on_quota: fill, make_shared: true, cloud: prod}
"""
SELECTING = """\
version: 1
name: nightly
clouds: [eu-de, eu-nl]
share:
  - images: [{name: 'ubuntu-*', tag: [golden], property: {os_distro: ubuntu}, owner: self, status: active}]
    projects: [{name: team-*, domain: customers, tag: gold, enabled: any, parent: p0}, p1]
    except: [{name: team-x, allow_empty: true}]
    accept: force
  - {images: [i1, {newer_than: 30d, latest: 2, per: os_version}], projects: [{tag: [gold]}], cloud: eu-nl}
"""
LIST = "p2\n\np3  # the third\n"
TABLE = "name,project_id\nfour,p4\n"
# Tokens with a meaning in YAML or in a plan, which pasted at random make plans that are almost valid.
PIECES = ["version", "share", "groups", "images", "group", "file", "except", "golden", "tenants", "limits", "rate", "0"]
PIECES += ["name", "tag", "property", "owner", "latest", "per", "newer_than", "30d", "enabled", "any", "allow_empty"]
PIECES += ["cloud", "clouds", "accept", "accept_as", "force", "true", "prune", "keep", "on_quota", "check_projects"]
SIGNS = ["\n", "\n  ", "- ", ": ", "{", "}", "[", "]", "&a ", "*a", "!!int ", "<<: ", "? ", "~", "'", '"', "#", "---\n"]
ODD = ["\t", "\0", "\ufeff", "\u2028", "\u202e", "é", "\x7f", "9" * 400, "x" * 300, "list.txt", "list.csv", ".", ""]


def read(plan: bytes, *, listed: bytes = LIST.encode(), table: bytes = TABLE.encode()) -> Plan | PlanError:
    """Read a plan that names a list.txt and a list.csv."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "plan.yaml").write_bytes(plan)
        (folder / "list.txt").write_bytes(listed)
        (folder / "list.csv").write_bytes(table)
        try:
            return load_plan(folder / "plan.yaml")
        except PlanError as error:
            return error


def check(read: Plan | PlanError) -> None:
    """Check that a plan is usable, or that the problems are printable lines, in order and without duplicates."""
    if isinstance(read, Plan):
        counts = count(read)
        assert counts.pairs + counts.selectors > 0
        if not counts.selectors:
            assert counts.pairs == sum(len(block.member_ids) for block in expand(read))
            assert len(fingerprint(read)) == 64
        return
    assert read.problems
    assert len(set(read.problems)) == len(read.problems)
    for problem in read.problems:
        assert str(problem).isprintable()
        assert problem.message.strip() == problem.message != ""
        assert problem.line is None or problem.line >= 1
        assert problem.column is None or problem.column >= 1
    own = [(p.line or 0, p.column or 0) for p in read.problems if p.file.endswith("plan.yaml")]
    assert own == sorted(own)


@pytest.mark.parametrize("text", [GOOD, SELECTING])
def test_the_mutated_plans_are_valid(text: str) -> None:
    """The mutations below start from valid plans."""
    assert isinstance(read(text.encode()), Plan)


@given(st.binary(max_size=300))
@example(b"")
@example(b"\xef\xbb\xbf")
@example(b"\xff\xfev\x00")
@example(b"[" * 100_000)
def test_any_bytes(plan: bytes) -> None:
    """A plan of any bytes."""
    check(read(plan))


@given(st.text(max_size=200))
def test_any_text(plan: str) -> None:
    """A plan of any text that UTF-8 can hold."""
    check(read(plan.encode("utf-8", "surrogatepass")))


@given(st.lists(st.sampled_from(PIECES + SIGNS + ODD), max_size=40))
def test_any_tokens(pieces: list[str]) -> None:
    """A plan of any tokens with a meaning."""
    check(read("".join(pieces).encode()))


@given(
    st.sampled_from([GOOD, SELECTING]),
    st.lists(
        st.tuples(
            st.integers(0, len(GOOD)), st.integers(0, 12), st.sampled_from(PIECES + SIGNS + ODD) | st.text(max_size=5)
        ),
        max_size=4,
    ),
)
def test_almost_valid_plans(text: str, changes: list[tuple[int, int, str]]) -> None:
    """A valid plan with a few deletions and insertions."""
    for start, length, put_in in changes:
        text = text[:start] + put_in + text[start + length :]
    check(read(text.encode("utf-8", "surrogatepass")))


def data_of(node: Node | None) -> Any:
    """Return what a node of PyYAML's tree stands for."""
    if isinstance(node, yaml.MappingNode):
        return {key.value: data_of(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [data_of(item) for item in node.value]
    assert isinstance(node, yaml.ScalarNode)
    return None if not node.style and node.value in {"", "~", "null", "Null", "NULL"} else node.value


@given(st.lists(st.sampled_from([*SIGNS, "&b ", "*b", "a", "b", "c", "null", "''", ", ", "\n- "]), max_size=30))
@example(["&a ", "a", ": ", "*a", "\n", "b", ": ", "&b ", "[", "b", ", ", "null", "]", "\n", "c", ": ", "*b"])
def test_data_is_what_the_tree_of_nodes_says(pieces: list[str]) -> None:
    """The events give the data that PyYAML's own tree has, and no data if it has none."""
    text = "".join(pieces)
    problems: list[Problem] = []
    document = read_document(text.encode(), "a plan", problems)
    try:
        root = yaml.compose(text, Loader=yaml.CBaseLoader)
    except yaml.YAMLError:
        assert document is None
        assert problems
        return
    if not problems:
        assert document is not None
        assert document.data == data_of(root)


# Any YAML values in the place of a plan's.
VALUES = st.recursive(
    st.sampled_from(["", "~", "7", "-1", "nan", "1s", "x y", "'é'", "golden", "tenants"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(st.sampled_from(PIECES), inner, max_size=3).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs.items()) + "}"
        )
    ),
    max_leaves=6,
)


SECTIONS = ["limits", "retry", "groups", "share", "cloud", "clouds", "check_projects", "name", "version"]


@given(st.dictionaries(st.sampled_from(SECTIONS), VALUES))
def test_any_values(sections: dict[str, str]) -> None:
    """A plan in valid YAML, with any value in any section."""
    whole = {"version": "1", "name": "n", "share": "[{images: [i], projects: [p]}]"} | sections
    check(read("".join(f"{key}: {value}\n" for key, value in whole.items()).encode()))


ENTRY = ["except", "accept", "accept_as", "make_shared", "prune", "keep", "on_quota", "cloud"]
IMAGE = ["name", "tag", "property", "owner", "status", "newer_than", "latest", "per", "allow_empty"]
PROJECT = ["name", "domain", "tag", "enabled", "parent", "allow_empty"]


@given(
    st.dictionaries(st.sampled_from(ENTRY), VALUES, max_size=3),
    st.dictionaries(st.sampled_from(IMAGE), VALUES, min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(PROJECT), VALUES, min_size=1, max_size=3),
)
def test_any_selectors(entry: dict[str, str], image: dict[str, str], project: dict[str, str]) -> None:
    """A plan with any value in any key of an entry and of its selectors."""

    def mapping(values: dict[str, str]) -> str:
        return "{" + ", ".join(f"{key}: {value}" for key, value in values.items()) + "}"

    share = mapping({"images": f"[{mapping(image)}]", "projects": f"[{mapping(project)}]"} | entry)
    check(read(f"version: 1\nname: n\nshare: [{share}]\n".encode()))


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_any_lists(listed: bytes, table: bytes) -> None:
    """Lists of any bytes."""
    check(read(GOOD.encode(), listed=listed, table=table))


@example(listed='a\t"\r";', table="a,b\n")
@given(
    st.text("ab,;\"'\n\r\t #/\u2028\0", max_size=60),
    st.text("ab,;\"'\n\r\t #/\u2028\0", max_size=60).map("a,b\n".__add__),
)
def test_almost_valid_lists(listed: str, table: str) -> None:
    """Lists of any tokens with a meaning in lists."""
    check(read(GOOD.encode(), listed=listed.encode(), table=table.encode()))
