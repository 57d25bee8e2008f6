"""The sandbox's images: created, changed and listed, as seen on a real Glance 33."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from bulkshare.sandbox.images import MEDIA_TYPE
from tests.sandbox_glance import IMAGE, START, SandboxGlance, message, names


@pytest.fixture
def sandbox() -> SandboxGlance:
    """Return a new sandbox."""
    return SandboxGlance()


async def test_an_image_is_created_and_deleted(sandbox: SandboxGlance) -> None:
    """A new image is queued, shared by default, and owned by its user's project."""
    body = {"name": "new", "tags": ["a", "b", "a"], "os_distro": "debian", "disk_format": "qcow2", "min_ram": 5}
    answer = await sandbox.ask("alice", "POST", "/v2/images", body)
    image = json.loads(answer.body)
    assert (answer.status, answer.headers["Location"]) == (201, f"http://image/v2/images/{image['id']}")
    wanted = {"status": "queued", "visibility": "shared", "owner": sandbox.ours, "container_format": None, **body}
    assert {**wanted, "tags": ["a", "b"]}.items() <= image.items()
    shown = await sandbox.ask("alice", "GET", f"/v2/images/{image['id']}")
    assert json.loads(shown.body) == image
    statuses = [
        (await sandbox.ask(who, "DELETE", f"/v2/images/{image['id']}")).status
        for who in ("bob", "rita", "alice", "alice")
    ]
    assert statuses == [404, 403, 204, 404]


@pytest.mark.parametrize(
    ("who", "body", "status", "sentence"),
    [
        ("rita", {"name": "x"}, 403, "You are not authorized to complete add_image action."),
        ("alice", {"visibility": "public"}, 403, "You are not authorized to complete publicize_image action."),
        ("alice", {"owner": "somebody"}, 403, "Access was denied to this resource."),
        ("alice", {"status": "active"}, 403, "Attribute 'status' is read-only."),
        ("alice", {"deleted": "x"}, 403, "Access was denied to this resource."),
        ("alice", {"id": IMAGE}, 409, f"Image ID {IMAGE} already exists!"),
        ("alice", {"id": "x"}, 400, "Provided object does not match schema 'image': 'x' does not match"),
        ("alice", {"visibility": "x"}, 400, "Provided object does not match schema 'image': 'x' is not one of"),
        ("alice", {"disk_format": "x"}, 400, "Provided object does not match schema 'image': 'x' is not one of"),
        ("alice", {"name": "x" * 256}, 400, "Provided object does not match schema 'image': 'xxx"),
        ("alice", {"tags": "x"}, 400, "Provided object does not match schema 'image': 'x' is not"),
        ("alice", {"foo": 1}, 400, "Provided object does not match schema 'image': 1 is not"),
        ("alice", {"min_ram": True}, 400, "Provided object does not match schema 'image': True is not"),
        ("alice", {"name": "\U0001f642"}, 400, "Name can't contain 4 byte unicode characters."),
        ("alice", [], 500, "The server has either erred"),
    ],
)
async def test_refused_images(sandbox: SandboxGlance, who: str, body: Any, status: int, sentence: str) -> None:
    """Each refusal has its reason."""
    answer = await sandbox.ask(who, "POST", "/v2/images", body)
    assert answer.status == status
    assert message(answer).startswith(sentence)


async def test_a_protected_image_can_not_be_deleted(sandbox: SandboxGlance) -> None:
    """Not even by its owner."""
    sandbox.image.protected = True
    answer = await sandbox.ask("alice", "DELETE", f"/v2/images/{IMAGE}")
    assert (answer.status, message(answer)) == (403, f"Image {IMAGE} is protected and cannot be deleted.")


async def test_a_change_updates_the_time(sandbox: SandboxGlance) -> None:
    """A change sets the time even if the value is the same; an empty or a refused one does not."""
    patches = [[], [{"op": "replace", "path": "/visibility", "value": "shared"}], [{"op": "replace", "path": "/x"}]]
    times = []
    for patch in patches:
        sandbox.tick()
        await sandbox.ask("alice", "PATCH", f"/v2/images/{IMAGE}", patch, kind=MEDIA_TYPE)
        times.append(sandbox.image.updated_at - START)
    assert times == [timedelta(0), timedelta(seconds=2), timedelta(seconds=2)]


async def test_a_refused_change_changes_nothing(sandbox: SandboxGlance) -> None:
    """Nor do the changes before it."""
    patch = [
        {"op": "replace", "path": "/name", "value": "new"},
        {"op": "add", "path": "/os", "value": "debian"},
        {"op": "remove", "path": "/nope"},
    ]
    answer = await sandbox.ask("alice", "PATCH", f"/v2/images/{IMAGE}", patch, kind=MEDIA_TYPE)
    assert (answer.status, sandbox.image.name, sandbox.image.properties) == (409, "golden", {})


@pytest.fixture
def shop(sandbox: SandboxGlance) -> SandboxGlance:
    """Return a sandbox with images of every visibility, a second apart, newest last."""
    cloud = sandbox.cloud
    for name, owner, visibility, tags, properties in (
        ("beta", sandbox.ours, "private", ["new"], {"os": "debian"}),
        ("gamma", sandbox.ours, "community", [], {"os": "debian", "arch": "x86"}),
        ("theirs", sandbox.theirs, "shared", ["golden"], {}),
        ("their, community", sandbox.theirs, "community", [], {}),
        ("everybody's", cloud.admin_project.id, "public", ["golden"], {}),
    ):
        sandbox.tick()
        cloud.add_image(name, owner=owner, visibility=visibility, tags=tags, properties=properties)
    sandbox.tick()
    cloud.add_image("hidden", owner=sandbox.ours).os_hidden = True
    return sandbox


@pytest.mark.parametrize(
    ("who", "query", "wanted"),
    [
        ("alice", "", ["everybody's", "gamma", "beta", "golden"]),
        ("alice", "visibility=shared", ["golden"]),
        ("alice", "visibility=community", ["their, community", "gamma"]),
        ("alice", "visibility=all", ["everybody's", "their, community", "gamma", "beta", "golden"]),
        ("alice", "visibility=", []),
        ("bob", "", ["everybody's", "their, community", "theirs"]),
        ("rita", "", ["everybody's", "gamma", "beta", "golden"]),
        ("admin", "", ["everybody's", "theirs", "beta", "golden"]),
        ("admin", "visibility=all", ["everybody's", "their, community", "theirs", "gamma", "beta", "golden"]),
        ("alice", "os_hidden=TRUE", ["hidden"]),
        ("alice", "protected=true", []),
        ("alice", "name=beta", ["beta"]),
        ("alice", "name=eq:beta", ["beta"]),
        ("alice", "name=in:beta,golden,nope", ["beta", "golden"]),
        ("bob", 'name=in:"their, community",theirs', ["their, community", "theirs"]),
        ("alice", "name=golden&name=beta", ["beta"]),
        ("alice", f"id=in:{IMAGE},x", ["golden"]),
        ("alice", "tag=golden", ["everybody's", "golden"]),
        ("alice", "tag=golden&tag=%20new%20", ["golden"]),
        ("alice", "tag=", []),
        ("alice", "os=debian", ["gamma", "beta"]),
        ("alice", "os=debian&arch=x86", ["gamma"]),
        ("alice", "nonsense=1", []),
        ("alice", "status=in:active,queued", ["everybody's", "gamma", "beta", "golden"]),
        ("alice", "status=queued", []),
        ("alice", "owner=nobody", []),
        ("alice", "deleted=true", ["everybody's", "gamma", "beta", "golden"]),
        ("alice", "created_at=gt:2026-01-02T03:04:06Z", ["everybody's", "gamma"]),
        ("alice", "created_at=lte:2026-01-02T05:04:06%2B02:00", ["beta", "golden"]),
        ("alice", "created_at=2026-01-02T03:04:05Z", ["golden"]),
        ("alice", "updated_at=gt:2026-01-03", []),
        ("alice", "limit=2", ["everybody's", "gamma"]),
        ("alice", "limit=0", []),
        ("alice", f"marker={IMAGE}", []),
        ("alice", "sort=name", ["golden", "gamma", "everybody's", "beta"]),
        ("alice", "sort=name:asc,created_at:desc", ["beta", "everybody's", "gamma", "golden"]),
        ("alice", "sort_dir=asc", ["golden", "beta", "gamma", "everybody's"]),
        ("alice", f"sort_key=name&sort_dir=asc&name=in:beta,golden&marker={IMAGE}", []),
        ("alice", f"sort_key=name&sort_dir=desc&tag=new&marker={IMAGE}", ["beta"]),
        ("alice", "sort_key=size", ["everybody's", "gamma", "beta", "golden"]),
    ],
)
async def test_a_list_is_filtered_and_sorted(shop: SandboxGlance, who: str, query: str, wanted: list[str]) -> None:
    """Newest first by default, and every filter works as Glance's does."""
    assert names(await shop.ask(who, "GET", f"/v2/images?{query}")) == wanted


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("limit=x", "limit param must be an integer"),
        ("limit=-1", "limit param must be positive"),
        ("marker=nonsense", "No image found with ID nonsense"),
        ("visibility=x", "Invalid visibility value: x"),
        ("member_status=x", "Invalid status: x"),
        ("name=like:x", "Unable to filter by unknown operator 'like'."),
        ('name=in:"x', 'Invalid filter value "x. The quote is not closed.'),
        ("created_at=gt:x", 'Bad "created_at" query filter format. Use ISO 8601 DateTime notation.'),
        ("created_at=foo:2026-01-01T00:00:00Z", "Unable to filter on a unknown operator."),
        ("protected=x", "Invalid value 'x' for 'protected' filter. Valid values are 'true' or 'false'."),
        ("sort=name:up", "Invalid sort direction: up"),
        ("sort=name&sort_dir=asc", "Old and new sorting syntax cannot be combined"),
        ("sort_key=name&sort_dir=asc&sort_dir=asc", "Number of sort dirs does not match the number of sort keys"),
        (
            "sort_key=x",
            "Invalid sort key: x. It must be one of the following: "
            "name, status, container_format, disk_format, size, id, created_at, updated_at.",
        ),
    ],
)
async def test_invalid_list_queries(shop: SandboxGlance, query: str, sentence: str) -> None:
    """A 400 has the reason."""
    answer = await shop.ask("alice", "GET", f"/v2/images?{query}")
    assert (answer.status, message(answer)) == (400, sentence)


async def test_an_invisible_marker(shop: SandboxGlance) -> None:
    """A page can't start after an image that the user can't see."""
    theirs = next(image.id for image in shop.cloud.images.values() if image.name == "theirs")
    answer = await shop.ask("alice", "GET", f"/v2/images?marker={theirs}")
    assert (answer.status, message(answer)) == (403, f"Forbidding request, image {theirs} not visible")


async def test_following_next_finds_every_image_once(shop: SandboxGlance) -> None:
    """`next` is a path to follow unchanged, and is on every full page: the last page may be empty."""
    path, pages = "/v2/images?limit=2&sort=name:asc", []
    while path:
        body = json.loads((await shop.ask("alice", "GET", path)).body)
        pages.append([image["name"] for image in body["images"]])
        assert body["first"] == "/v2/images?limit=2&sort=name%3Aasc"
        path = body.get("next", "")
    assert pages == [["beta", "everybody's"], ["gamma", "golden"], []]


async def test_next_keeps_only_the_last_tag(shop: SandboxGlance) -> None:
    """As with the real one, the next page is of a wider list."""
    answer = await shop.ask("alice", "GET", "/v2/images?limit=1&tag=golden&tag=new")
    assert json.loads(answer.body)["next"] == f"/v2/images?limit=1&tag=new&marker={IMAGE}"


async def test_a_page_has_25_images_by_default(sandbox: SandboxGlance) -> None:
    """As with Glance, which also has a limit of a thousand."""
    for number in range(1100):
        sandbox.cloud.add_image(f"image-{number}", owner=sandbox.ours)
    assert len(names(await sandbox.ask("alice", "GET", "/v2/images"))) == 25
    assert len(names(await sandbox.ask("alice", "GET", "/v2/images?limit=5000"))) == 1000


async def test_a_pending_image_is_not_listed(sandbox: SandboxGlance) -> None:
    """The member sees the image by its ID, and in lists only if it asks for that status."""
    await sandbox.add(sandbox.theirs)
    assert (await sandbox.ask("bob", "GET", f"/v2/images/{IMAGE}")).status == 200
    for query, wanted in (
        ("", []),
        ("visibility=shared", []),
        ("visibility=shared&member_status=pending", ["golden"]),
        ("member_status=all", ["golden"]),
        ("member_status=rejected", []),
    ):
        assert names(await sandbox.ask("bob", "GET", f"/v2/images?{query}")) == wanted
    await sandbox.ask("bob", "PUT", f"/v2/images/{IMAGE}/members/{sandbox.theirs}", {"status": "accepted"})
    assert names(await sandbox.ask("bob", "GET", "/v2/images")) == ["golden"]
