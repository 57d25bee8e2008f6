"""The sandbox's image members; every expectation here was seen on a real Glance 33."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from bulkshare.sandbox.glance import Glance
from bulkshare.sandbox.wire import Request
from tests.sandbox_glance import IMAGE, SandboxGlance, message

UNKNOWN = "00000000-0000-4000-8000-000000000000"
LIMIT_SENTENCE = "The limit has been exceeded on the number of allowed image members for this image."


@pytest.fixture
def sandbox() -> SandboxGlance:
    """Return a new sandbox."""
    return SandboxGlance()


async def test_a_new_member(sandbox: SandboxGlance) -> None:
    """A member is added pending, with times in whole seconds."""
    answer = await sandbox.add("m1")
    assert answer.status == 200
    assert json.loads(answer.body) == {
        "member_id": "m1",
        "image_id": IMAGE,
        "status": "pending",
        "created_at": "2026-01-02T03:04:05Z",
        "updated_at": "2026-01-02T03:04:05Z",
        "schema": "/v2/schemas/member",
    }
    assert answer.headers["x-openstack-request-id"].startswith("req-")


@pytest.mark.parametrize(
    ("who", "image", "status", "sentence"),
    [
        ("alice", UNKNOWN, 404, f"Image {UNKNOWN} not found."),
        ("alice", "nonsense", 404, "Image nonsense not found."),
        ("alice", IMAGE.upper(), 404, f"Image {IMAGE.upper()} not found."),
        ("bob", IMAGE, 404, f"Image {IMAGE} not found."),
        ("rita", IMAGE, 403, "You are not authorized to complete add_member action."),
    ],
)
async def test_refused_additions(sandbox: SandboxGlance, who: str, image: str, status: int, sentence: str) -> None:
    """An invisible image is not found; a reader may not add."""
    answer = await sandbox.add("m1", who, image)
    assert (answer.status, message(answer)) == (status, sentence)


async def test_a_member_may_not_add_others(sandbox: SandboxGlance) -> None:
    """A member, even a pending one, sees the image but may not share it further."""
    await sandbox.add(sandbox.theirs)
    answer = await sandbox.add("m1", "bob")
    assert (answer.status, message(answer)) == (403, "You are not authorized to complete add_member action.")


@pytest.mark.parametrize("visibility", ["private", "public", "community"])
async def test_only_shared_images_have_members(sandbox: SandboxGlance, visibility: str) -> None:
    """Each request about members has its own refusal, for an admin as well."""
    sandbox.image.visibility = visibility
    members = f"/v2/images/{IMAGE}/members"
    assert [
        (answer.status, message(answer))
        for answer in (
            await sandbox.add("m1", "admin"),
            await sandbox.ask("admin", "GET", members),
            await sandbox.ask("admin", "GET", f"{members}/m1"),
            await sandbox.ask("admin", "PUT", f"{members}/m1", {"status": "accepted"}),
            await sandbox.ask("admin", "DELETE", f"{members}/m1"),
        )
    ] == [
        (403, f"Not allowed to create members for image {IMAGE}."),
        (403, f"Not allowed to list members for image {IMAGE}: Only shared images have members."),
        (404, "Only shared images have members."),
        (403, f"Not allowed to update members for image {IMAGE}."),
        (403, f"Not allowed to delete members for image {IMAGE}."),
    ]


async def test_a_duplicate_keeps_its_status(sandbox: SandboxGlance) -> None:
    """A member of any status gets a 409 and is not changed."""
    await sandbox.add(sandbox.theirs)
    await sandbox.ask("bob", "PUT", f"/v2/images/{IMAGE}/members/{sandbox.theirs}", {"status": "accepted"})
    answer = await sandbox.add(sandbox.theirs)
    assert (answer.status, message(answer)) == (409, f"Member {sandbox.theirs} is duplicated for image {IMAGE}")
    assert sandbox.image.rows[sandbox.theirs].status == "accepted"


async def test_the_quota_is_checked_before_the_duplicate() -> None:
    """At the quota, an existing member gets a 413 like any other; a removed one makes room."""
    sandbox = SandboxGlance(member_quota=2)
    for member in ("m1", "m2"):
        assert (await sandbox.add(member)).status == 200
    wanted = f"Image member limit exceeded for image {IMAGE}: {LIMIT_SENTENCE} Attempted: 3, Maximum: 2:"
    for member in ("m3", "m1"):
        answer = await sandbox.add(member)
        assert (answer.status, message(answer)) == (413, wanted)
    assert (await sandbox.ask("alice", "DELETE", f"/v2/images/{IMAGE}/members/m1")).status == 204
    assert (await sandbox.add("m3")).status == 200


async def test_a_negative_quota_is_unlimited() -> None:
    """An image then takes any number of members."""
    sandbox = SandboxGlance(member_quota=-1)
    assert {(await sandbox.add(f"m{number}")).status for number in range(200)} == {200}


async def test_a_removed_member_comes_back_with_its_old_time(sandbox: SandboxGlance) -> None:
    """Glance uses the deleted row again: created_at is the old one, the status pending."""
    await sandbox.add(sandbox.theirs)
    await sandbox.ask("bob", "PUT", f"/v2/images/{IMAGE}/members/{sandbox.theirs}", {"status": "accepted"})
    sandbox.tick()
    await sandbox.ask("alice", "DELETE", f"/v2/images/{IMAGE}/members/{sandbox.theirs}")
    answer = json.loads((await sandbox.add(sandbox.theirs)).body)
    assert answer["status"] == "pending"
    assert (answer["created_at"], answer["updated_at"]) == ("2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z")


async def test_two_posts_at_once_leave_two_rows(sandbox: SandboxGlance) -> None:
    """Glance looks before it inserts: both succeed, the list has two, and each DELETE takes one."""
    both_looked, waiting = asyncio.Event(), 0

    async def pause() -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 2:
            both_looked.set()
        await both_looked.wait()

    glance = Glance(sandbox.cloud, endpoint="", auth_url="", pause=pause)
    path, headers = f"/v2/images/{IMAGE}/members", {"X-Auth-Token": sandbox.tokens["alice"]}
    post = Request("POST", path, headers=headers, body=b'{"member": "m1"}')
    answers = await asyncio.gather(glance.respond(post), glance.respond(post))
    assert [answer.status for answer in answers] == [200, 200]
    listed = await sandbox.ask("alice", "GET", path)
    assert [member["member_id"] for member in json.loads(listed.body)["members"]] == ["m1", "m1"]
    deletes = [(await sandbox.ask("alice", "DELETE", f"{path}/m1")).status for _ in range(3)]
    assert deletes == [204, 204, 404]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "Body expected in request."),
        (b"{", "Malformed JSON in request body."),
        (b'{"member": "\xff"}', "Malformed JSON in request body."),
        (b"[" * 100_000, "Malformed JSON in request body."),
        (b'"x"', "Unexpected body type. Expected list/dict."),
        ({"members": "x"}, "Member to be added not specified"),
        (["member"], 'Expected a member in the form: {"member": "image_id"}'),
        ({"member": ""}, "Member can't be empty"),
        ({"member": None}, "Member can't be empty"),
        ({"member": []}, "Member can't be empty"),
        ({"member": "\U0001f642"}, "Member can't contain 4 byte unicode characters."),
    ],
)
async def test_bodies_that_name_no_member(sandbox: SandboxGlance, body: Any, sentence: str) -> None:
    """Each gets its own reason."""
    answer = await sandbox.ask("alice", "POST", f"/v2/images/{IMAGE}/members", body)
    assert (answer.status, message(answer)) == (400, sentence)


@pytest.mark.parametrize("member", [1, True, ["m1"], {"m": 1}, "m" * 256, "m\0"])
async def test_members_the_database_refuses(sandbox: SandboxGlance, member: Any) -> None:
    """What PostgreSQL can't hold is a server error."""
    assert (await sandbox.add(member)).status == 500


@pytest.mark.parametrize("member", ["no such project", "m" * 255, " ", "grüße", "<b>"])
async def test_any_text_is_a_member(sandbox: SandboxGlance, member: str) -> None:
    """Glance never asks Keystone whether the project exists."""
    answer = await sandbox.add(member)
    assert (answer.status, json.loads(answer.body)["member_id"]) == (200, member)


async def test_visible_members(sandbox: SandboxGlance) -> None:
    """The owner, its readers and an admin see all, a member itself only, a stranger not even the image."""
    for member in ("m1", sandbox.theirs):
        await sandbox.add(member)
    members = f"/v2/images/{IMAGE}/members"
    for who, wanted in (
        ("alice", ["m1", sandbox.theirs]),
        ("rita", ["m1", sandbox.theirs]),
        ("admin", ["m1", sandbox.theirs]),
        ("bob", [sandbox.theirs]),
    ):
        body = json.loads((await sandbox.ask(who, "GET", f"{members}?limit=1&marker=m1")).body)
        assert [member["member_id"] for member in body["members"]] == wanted
        assert body["schema"] == "/v2/schemas/members"
    assert (await sandbox.ask("bob", "GET", f"{members}/{sandbox.theirs}")).status == 200
    answer = await sandbox.ask("bob", "GET", f"{members}/m1")
    assert (answer.status, message(answer)) == (404, f"m1 not found in the member list of the image {IMAGE}.")


async def test_a_member_that_is_not_ascii_is_listed_but_not_found(sandbox: SandboxGlance) -> None:
    """WSGI passes the path as Latin-1, so Glance looks for another text."""
    await sandbox.add("grüße")
    mangled = "grüße".encode().decode("latin-1")
    assert (await sandbox.ask("alice", "GET", f"/v2/images/{IMAGE}/members/{mangled}")).status == 404


async def test_only_the_member_accepts(sandbox: SandboxGlance) -> None:
    """The member and an admin can set the status, the owner can't; the same status again changes no time."""
    await sandbox.add(sandbox.theirs)
    member = f"/v2/images/{IMAGE}/members/{sandbox.theirs}"
    for who in ("alice", "rita"):
        answer = await sandbox.ask(who, "PUT", member, {"status": "accepted"})
        assert (answer.status, message(answer)) == (403, "You are not authorized to complete modify_member action.")
    sandbox.tick()
    updates = [
        json.loads((await sandbox.ask(who, "PUT", member, {"status": status})).body)["updated_at"][-3:]
        for who, status in (("bob", "pending"), ("bob", "accepted"), ("admin", "rejected"))
    ]
    assert updates == ["05Z", "06Z", "06Z"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"status": "nonsense"}, 'Incorrect request: Status must be "pending", "accepted" or "rejected".'),
        ({"status": ["accepted"]}, 'Incorrect request: Status must be "pending", "accepted" or "rejected".'),
        ({"state": "accepted"}, "Status not specified"),
        (["accepted"], 'Expected a status in the form: {"status": "status"}'),
    ],
)
async def test_invalid_statuses(sandbox: SandboxGlance, body: Any, sentence: str) -> None:
    """A PUT without a status of a member is a bad request."""
    await sandbox.add(sandbox.theirs)
    answer = await sandbox.ask("bob", "PUT", f"/v2/images/{IMAGE}/members/{sandbox.theirs}", body)
    assert (answer.status, message(answer)) == (400, sentence)


async def test_delete_permissions(sandbox: SandboxGlance) -> None:
    """The owner can remove a member, once; neither its reader nor the member itself can."""
    await sandbox.add(sandbox.theirs)
    member = f"/v2/images/{IMAGE}/members/{sandbox.theirs}"
    statuses = [(await sandbox.ask(who, "DELETE", member)).status for who in ("rita", "bob", "alice", "alice")]
    assert statuses == [403, 403, 204, 404]
