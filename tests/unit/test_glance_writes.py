"""What answers to acceptance, removal and visibility mean, and how images are parsed."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.image_api.glance import (
    ListedApart,
    details_path,
    find_request,
    images_path,
    interpret,
    parse_image,
    request_for,
)
from bulkshare.model import Fault, FaultKind, Image, Reply, Scope, Step, VerdictKind
from tests.unit.test_glance import DOCUMENT, IMAGE, MEMBER, NOW, answer, meaning

ACCEPTED = {**DOCUMENT, "status": "accepted"}
NOT_A_MEMBER = {"message": f"{MEMBER} not found in the member list of the image {IMAGE}.<br /><br />"}
NOT_AN_IMAGE = {"message": f"Image {IMAGE} not found."}
PAGE = "/v2/images?marker=x&limit=2"


@pytest.mark.parametrize(
    ("step", "reply", "kind", "scope"),
    [
        (Step.ACCEPT, answer(200, ACCEPTED), VerdictKind.ACCEPTED, Scope.PAIR),
        (Step.ACCEPT, answer(200, DOCUMENT), VerdictKind.UNCLEAR, Scope.PAIR),
        (Step.ACCEPT, answer(200, {**ACCEPTED, "member_id": "other"}), VerdictKind.UNCLEAR, Scope.PAIR),
        (Step.ACCEPT, answer(204), VerdictKind.UNCLEAR, Scope.PAIR),
        (Step.ACCEPT, answer(400), VerdictKind.REJECTED, Scope.PAIR),
        (Step.ACCEPT, answer(403, {"message": "not authorized"}), VerdictKind.REJECTED, Scope.PAIR),
        (Step.ACCEPT, answer(404, NOT_AN_IMAGE), VerdictKind.ABSENT, Scope.PAIR),
        (Step.ACCEPT, answer(409), VerdictKind.REJECTED, Scope.PAIR),
        (Step.ACCEPT, answer(413), VerdictKind.REJECTED, Scope.PAIR),
        (Step.ACCEPT, answer(500), VerdictKind.TRANSIENT, Scope.PAIR),
        (Step.ACCEPT, Fault(FaultKind.TIMEOUT, "60 s"), VerdictKind.LOST, Scope.PAIR),
        (Step.REMOVE, answer(204), VerdictKind.REMOVED, Scope.PAIR),
        (Step.REMOVE, answer(200, b"<html>welcome"), VerdictKind.UNCLEAR, Scope.PAIR),
        (Step.REMOVE, answer(404, NOT_A_MEMBER), VerdictKind.ABSENT, Scope.PAIR),
        (Step.REMOVE, answer(404, NOT_AN_IMAGE), VerdictKind.ABSENT, Scope.IMAGE),
        (Step.REMOVE, answer(404), VerdictKind.ABSENT, Scope.PAIR),
        (Step.REMOVE, answer(403, {"message": "not authorized"}), VerdictKind.REJECTED, Scope.IMAGE),
        (Step.REMOVE, answer(403, {"message": f"{MEMBER} is needed"}), VerdictKind.REJECTED, Scope.PAIR),
        (Step.REMOVE, answer(429), VerdictKind.THROTTLED, Scope.PAIR),
        (Step.REMOVE, Fault(FaultKind.LOST, "reset"), VerdictKind.LOST, Scope.PAIR),
        (Step.GET_MEMBER, answer(404, NOT_AN_IMAGE), VerdictKind.ABSENT, Scope.IMAGE),
        (Step.SET_SHARED, answer(200, {"id": IMAGE, "visibility": "shared"}), VerdictKind.SET_SHARED, Scope.PAIR),
        (Step.SET_SHARED, answer(200, {"id": IMAGE, "visibility": "private"}), VerdictKind.UNCLEAR, Scope.PAIR),
        (Step.SET_SHARED, answer(200, {"id": "other", "visibility": "shared"}), VerdictKind.UNCLEAR, Scope.PAIR),
        (Step.SET_SHARED, answer(400), VerdictKind.REJECTED, Scope.IMAGE),
        (Step.SET_SHARED, answer(403), VerdictKind.REJECTED, Scope.IMAGE),
        (Step.SET_SHARED, answer(404), VerdictKind.REJECTED, Scope.IMAGE),
        (Step.SET_SHARED, answer(409), VerdictKind.REJECTED, Scope.IMAGE),
        (Step.SET_SHARED, answer(503), VerdictKind.TRANSIENT, Scope.PAIR),
        (Step.FIND, answer(200, {"images": []}), VerdictKind.FOUND, Scope.PAIR),
        (Step.FIND, answer(200, {"images": [{"id": IMAGE}, {"name": "no ID"}]}), VerdictKind.UNCLEAR, Scope.PAIR),
        (Step.FIND, answer(200, {"members": []}), VerdictKind.UNCLEAR, Scope.PAIR),
        (Step.FIND, answer(200, {"images": [], "next": 7}), VerdictKind.UNCLEAR, Scope.PAIR),
        (Step.FIND, answer(200, {"images": [], "next": "https://evil.example"}), VerdictKind.UNCLEAR, Scope.PAIR),
        (Step.FIND, answer(300), VerdictKind.REJECTED, Scope.IMAGE),
    ],
)
def test_answers(step: Step, reply: Reply, kind: VerdictKind, scope: Scope) -> None:
    """The table of answers to writes and to image queries."""
    verdict = meaning(reply, step)
    assert (verdict.kind, verdict.scope) == (kind, scope)


def test_a_page_of_images() -> None:
    """The images, and the next page's path at our own endpoint, whatever a proxy prefixed."""
    body = {"images": [{"id": "a", "name": "one"}, {"id": "b"}], "next": f"/image{PAGE}", "first": "/v2/images"}
    verdict = interpret(Step.FIND, "", "", answer(200, body), NOW)
    assert [found.id for found in verdict.images] == ["a", "b"]
    assert verdict.next_path == PAGE
    assert find_request(PAGE).path == PAGE


def test_a_page_that_is_too_long_is_not_believed() -> None:
    """A truncated list is not a list, even if the part that came can be parsed."""
    verdict = meaning(answer(200, {"images": []})._replace(cut=True), Step.FIND)
    assert (verdict.kind, verdict.reason) == (VerdictKind.UNCLEAR, "200, but the body is too long to read")


@pytest.mark.parametrize(
    ("following", "path"),
    [
        (PAGE, PAGE),
        (f"/image{PAGE}", PAGE),
        (f"https://inner.example:9292{PAGE}", PAGE),
        (f"//evil.example{PAGE}", PAGE),
        ("?marker=x", "/v2/images?marker=x"),
        ("/v2/images/../projects?x", "/v2/images?x"),
        (f"{PAGE}#here", PAGE),
        ("", None),
        (None, None),
    ],
)
def test_the_next_page_is_at_our_endpoint(following: Any, path: str | None) -> None:
    """Of the link only the query is used: no server can lead us elsewhere, and a proxy's wrong host does no harm."""
    verdict = interpret(Step.FIND, "", "", answer(200, {"images": [], "next": following}), NOW)
    assert (verdict.kind, verdict.next_path) == (VerdictKind.FOUND, path)


@pytest.mark.parametrize("following", ["/v2/images", "/v2/images?", f"{PAGE} HTTP/1.1\r\nX: y", "#", 7, ["?x"]])
def test_a_link_that_cannot_be_followed_is_not_believed(following: Any) -> None:
    """The list would not be whole."""
    assert meaning(answer(200, {"images": [], "next": following}), Step.FIND).kind is VerdictKind.UNCLEAR


@pytest.mark.parametrize(
    ("extra", "path"),
    [
        ({"page_info": {"next_marker": "a+/=b", "current_count": 1}}, f"/v2/images/{IMAGE}/members?marker=a%2B%2F%3Db"),
        ({"page_info": {"next_marker": None}}, None),
        ({"page_info": "?"}, None),
        ({"next": f"http://inner/v2/images/{IMAGE}/members?marker=x"}, f"/v2/images/{IMAGE}/members?marker=x"),
        ({}, None),
    ],
)
def test_members_may_come_in_pages(extra: dict[str, Any], path: str | None) -> None:
    """By a marker as Huawei Cloud has it, or by a link as Glance has it for images."""
    verdict = meaning(answer(200, {"members": [], **extra}), Step.LIST)
    assert (verdict.kind, verdict.next_path) == (VerdictKind.LISTED, path)
    if path is not None:
        assert request_for(Step.LIST, IMAGE, page=path).path == path


def test_an_image() -> None:
    """Texts are cleaned only if they can't be shown as they are: a plan compares them."""
    document = {
        "id": IMAGE,
        "name": "ubuntu  24.04",
        "status": "active",
        "visibility": "private",
        "owner": "me",
        "created_at": "2026-01-02T03:04:05Z",
        "tags": ["golden", 7, "new\x1b[2J"],
        "os_distro": "ubuntu",
        "min_disk": 10,
    }
    found = parse_image(document)
    assert found is not None
    assert found[:6] == (IMAGE, "ubuntu  24.04", "active", "private", "me", NOW)
    assert found.tags == {"golden", "new [2J"}
    assert found.properties["os_distro"] == "ubuntu"
    assert "min_disk" not in found.properties


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["id", "name", "tags", "created_at", "owner"]) | st.text(), inner)
        ),
    )
)
def test_parsing_images_is_total(document: Any) -> None:
    """Any JSON value is an image or none, and its texts are printable."""
    found = parse_image(document)
    assert found is None or isinstance(found, Image)
    if found is not None:
        shown = [*found.tags, *found.properties, *found.properties.values(), found.name or ""]
        assert all(text.isprintable() for text in shown)


def test_paths() -> None:
    """Filters are quoted, and may be repeated."""
    assert images_path([]) == "/v2/images"
    path = images_path([("tag", "a&b"), ("tag", "c d"), ("name", "x")])
    assert parse_qsl(path.partition("?")[2]) == [("tag", "a&b"), ("tag", "c d"), ("name", "x")]
    query = dict(parse_qsl(details_path(["a", "b"], only=ListedApart.HIDDEN).partition("?")[2]))
    assert query == {"id": "in:a,b", "limit": "3", "os_hidden": "true"}
    query = dict(parse_qsl(details_path(["a"], only=ListedApart.COMMUNITY).partition("?")[2]))
    assert query == {"id": "in:a", "limit": "2", "visibility": "community"}
    assert dict(parse_qsl(details_path(["a"]).partition("?")[2])) == {"id": "in:a", "limit": "2"}
