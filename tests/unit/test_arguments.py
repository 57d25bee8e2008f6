"""Images and projects as they are named on a command line."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.errors import PlanError
from bulkshare.model import ImageSelector, ProjectSelector
from bulkshare.plan.arguments import argument_for, image_arguments, project_arguments

IMAGE = "3b2c1f9e-5a64-4f0e-9a75-2f1f8f0d6c11"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (IMAGE, IMAGE),
        (IMAGE.upper().replace("-", ""), IMAGE),
        ("id=not-a-uuid", "not-a-uuid"),
        (f"id={IMAGE.upper()}", IMAGE),
        ("ubuntu-24.04", ImageSelector(name="ubuntu-24.04")),
        (" ubuntu-* ", ImageSelector(name="ubuntu-*")),
        ("Ubuntu 24.04, amd64", ImageSelector(name="Ubuntu 24.04, amd64")),
        ("name=Ubuntu, amd64,latest=1", ImageSelector(name="Ubuntu, amd64", latest=1)),
        ("name=a=b", ImageSelector(name="a=b")),
        ("tag=golden, tag=x,owner=any", ImageSelector(tags=frozenset({"golden", "x"}), owner="any")),
        (
            "property.os_distro=ubuntu,newer_than=2d",
            ImageSelector(properties=(("os_distro", "ubuntu"),), newer_than_seconds=172_800),
        ),
    ],
)
def test_images(text: str, meant: str | ImageSelector) -> None:
    """IDs, names, patterns, and selectors in the keys of a plan."""
    assert image_arguments([text]) == (meant,)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("f" * 32, "f" * 32),
        ("F" * 32, "f" * 32),
        ("team-*", ProjectSelector(name="team-*")),
        ("domain=customers,enabled=any", ProjectSelector(domain="customers", enabled=None)),
    ],
)
def test_projects(text: str, meant: str | ProjectSelector) -> None:
    """A project's ID keeps its dashes: whether it has any depends on the cloud."""
    assert project_arguments([text, text]) == (meant,)


def test_disabled_projects_too() -> None:
    """If they are asked for, unless the selector says otherwise."""
    assert project_arguments(["a", "name=b,enabled=true"], disabled_too=True) == (
        ProjectSelector(name="a", enabled=None),
        ProjectSelector(name="b"),
    )


def test_several_in_one_argument() -> None:
    """Commas separate; a selector has commas of its own, and a name may have one."""
    other = "f" * 32
    assert project_arguments([f"{other},team-a,team-b", "team-a"]) == (
        other,
        ProjectSelector(name="team-a"),
        ProjectSelector(name="team-b"),
    )
    assert image_arguments([f"{IMAGE},tag=a,name=x,y"]) == (
        IMAGE,
        ImageSelector(name="x,y", tags=frozenset({"a"})),
    )


@pytest.mark.parametrize("text", ["team-a,domain=customers", "team-a,team-b,tag=x", "a, b,enabled=any"])
def test_a_name_with_keys_is_not_two_arguments(text: str) -> None:
    """Meant as one selector, it would take in every project of the domain."""
    with pytest.raises(PlanError) as raised:
        project_arguments([text])
    (problem,) = raised.value.problems
    assert str(problem) == (
        f"project {text!r}: a name and keys are one selector: write {f'name={text}'!r}, or two arguments"
    )


@pytest.mark.parametrize("name", ["team-a", "a,b", "k=v", "name=x", "Ubuntu 24.04, amd64"])
def test_what_a_hint_suggests_is_read_as_that_name(name: str) -> None:
    """Also if the name looks like several, or like a selector."""
    assert project_arguments([argument_for(name)]) == (ProjectSelector(name=name),)


def test_all_problems_at_once() -> None:
    """Each with the argument that has it, and what to write."""
    with pytest.raises(PlanError) as raised:
        image_arguments(
            ["nam=x", "latest=0,name=x", "latest=2", "id=a b", "id=a,name=b", "property=x", "", "name=a,name=b"]
        )
    assert [str(problem) for problem in raised.value.problems] == [
        "image 'nam=x': unknown key 'nam'; did you mean 'name'?",
        "image 'latest=0,name=x': `latest`: must be 1 or more, found '0'",
        "image 'latest=2': selects nothing; add `group`, `file`, or what to select by: name, tag, property, "
        "owner, status, newer_than, older_than",
        "image 'id=a b': 'a b' contains white space, which no ID may contain: give each ID its own item or line",
        "image 'id=a,name=b': `id` is enough; leave out the other keys",
        "image 'property=x': write a property as property.NAME=VALUE, such as property.os_distro=ubuntu",
        "image '': `name`: expected text, found nothing",
        "image 'name=a,name=b': `name` is given twice; give it once",
    ]


@given(st.text(max_size=30))
def test_any_text_is_something_or_has_a_problem(text: str) -> None:
    """Nothing else is raised, whatever is typed."""
    for parse in (image_arguments, project_arguments):
        with suppress(PlanError):
            assert parse([text])
