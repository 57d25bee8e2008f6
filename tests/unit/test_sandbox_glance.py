"""The sandbox's image service, asked without a socket; every expectation here was seen on a real Glance 33."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from bulkshare.sandbox import Cloud
from bulkshare.sandbox.changes import MEDIA_TYPE, OLD_MEDIA_TYPE
from bulkshare.sandbox.glance import Glance
from bulkshare.sandbox.wire import Answer, Ask

IMAGE = "d164b5df-1bc3-4c3f-893e-3e471fd16e64"
UNKNOWN = "00000000-0000-4000-8000-000000000000"
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LIMIT_SENTENCE = "The limit has been exceeded on the number of allowed image members for this image."


class World:
    """A cloud of three people: alice owns the image, bob is of another project, rita may only read in alice's."""

    def __init__(self, *, member_quota: int = 128) -> None:
        self.now = START
        self.cloud = cloud = Cloud(member_quota=member_quota, clock=lambda: self.now)
        self.ours, self.theirs = cloud.add_project("ours").id, cloud.add_project("theirs").id
        users = {
            "alice": (cloud.add_user("alice", {self.ours: "member"}), self.ours),
            "bob": (cloud.add_user("bob", {self.theirs: "member"}), self.theirs),
            "rita": (cloud.add_user("rita", {self.ours: "reader"}), self.ours),
            "admin": (cloud.admin, cloud.admin_project.id),
        }
        self.tokens = {
            name: cloud.issue_token(user, cloud.projects[project_id], "password").id
            for name, (user, project_id) in users.items()
        }
        self.image = cloud.add_image("golden", image_id=IMAGE, owner=self.ours, tags=["golden", "new"])
        self.glance = Glance(cloud, endpoint="http://image", auth_url="http://identity/v3", pause=self.pause)

    async def pause(self) -> None:
        """Take no time."""

    def tick(self) -> None:
        """Let a second pass."""
        self.now += timedelta(seconds=1)

    async def ask(
        self,
        who: str | None,
        method: str,
        path: str,
        body: Any = None,
        *,
        accept: str = "application/json",
        kind: str = "application/json",
    ) -> Answer:
        """Ask as one of the people (None: without a token); a body of bytes is sent as it is."""
        parts = urlsplit(path)
        token = {"X-Auth-Token": self.tokens.get(who, who)} if who else {}
        return await self.glance.answer(
            Ask(
                method,
                parts.path,
                tuple(parse_qsl(parts.query, keep_blank_values=True)),
                {**token, "Accept": accept, "Content-Type": kind},
                body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode(),
            )
        )

    async def add(self, member: Any, who: str = "alice", image: str = IMAGE) -> Answer:
        """Add a member."""
        return await self.ask(who, "POST", f"/v2/images/{image}/members", {"member": member})


@pytest.fixture
def world() -> World:
    """Return a fresh world."""
    return World()


def message(answer: Answer) -> str:
    """Return the sentence of a refusal in JSON."""
    sentence: str = json.loads(answer.body)["message"]
    return sentence.partition("<br />")[0]


def names(answer: Answer) -> list[str]:
    """Return the names of the images of a list."""
    assert answer.status == 200, answer
    return [image["name"] for image in json.loads(answer.body)["images"]]


async def test_a_new_member(world: World) -> None:
    """A member is added pending, with times in whole seconds."""
    answer = await world.add("m1")
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
async def test_who_may_not_add(world: World, who: str, image: str, status: int, sentence: str) -> None:
    """An image that one can't see does not exist; a reader may not add."""
    answer = await world.add("m1", who, image)
    assert (answer.status, message(answer)) == (status, sentence)


async def test_a_member_may_not_add_others(world: World) -> None:
    """A member sees the image, pending too, and still may not share it on."""
    await world.add(world.theirs)
    answer = await world.add("m1", "bob")
    assert (answer.status, message(answer)) == (403, "You are not authorized to complete add_member action.")


@pytest.mark.parametrize("visibility", ["private", "public", "community"])
async def test_only_shared_images_have_members(world: World, visibility: str) -> None:
    """Every request about members says so in its own way, to an admin too."""
    world.image.visibility = visibility
    members = f"/v2/images/{IMAGE}/members"
    assert [
        (answer.status, message(answer))
        for answer in (
            await world.add("m1", "admin"),
            await world.ask("admin", "GET", members),
            await world.ask("admin", "GET", f"{members}/m1"),
            await world.ask("admin", "PUT", f"{members}/m1", {"status": "accepted"}),
            await world.ask("admin", "DELETE", f"{members}/m1"),
        )
    ] == [
        (403, f"Not allowed to create members for image {IMAGE}."),
        (403, f"Not allowed to list members for image {IMAGE}: Only shared images have members."),
        (404, "Only shared images have members."),
        (403, f"Not allowed to update members for image {IMAGE}."),
        (403, f"Not allowed to delete members for image {IMAGE}."),
    ]


async def test_a_duplicate_keeps_its_status(world: World) -> None:
    """409 answers to a member of any status, and changes nothing."""
    await world.add(world.theirs)
    await world.ask("bob", "PUT", f"/v2/images/{IMAGE}/members/{world.theirs}", {"status": "accepted"})
    answer = await world.add(world.theirs)
    assert (answer.status, message(answer)) == (409, f"Member {world.theirs} is duplicated for image {IMAGE}")
    assert world.image.rows[world.theirs].status == "accepted"


async def test_the_quota_is_checked_before_the_duplicate() -> None:
    """At the quota, a member that is there gets 413 like any other; a removed one makes room."""
    world = World(member_quota=2)
    for member in ("m1", "m2"):
        assert (await world.add(member)).status == 200
    wanted = f"Image member limit exceeded for image {IMAGE}: {LIMIT_SENTENCE} Attempted: 3, Maximum: 2:"
    for member in ("m3", "m1"):
        answer = await world.add(member)
        assert (answer.status, message(answer)) == (413, wanted)
    assert (await world.ask("alice", "DELETE", f"/v2/images/{IMAGE}/members/m1")).status == 204
    assert (await world.add("m3")).status == 200


async def test_a_quota_below_zero_is_none() -> None:
    """Without a quota an image takes members without end."""
    world = World(member_quota=-1)
    assert {(await world.add(f"m{number}")).status for number in range(200)} == {200}


async def test_a_removed_member_comes_back_with_its_old_time(world: World) -> None:
    """Glance uses the deleted row again: created_at is the old one, the status pending."""
    await world.add(world.theirs)
    await world.ask("bob", "PUT", f"/v2/images/{IMAGE}/members/{world.theirs}", {"status": "accepted"})
    world.tick()
    await world.ask("alice", "DELETE", f"/v2/images/{IMAGE}/members/{world.theirs}")
    answer = json.loads((await world.add(world.theirs)).body)
    assert answer["status"] == "pending"
    assert (answer["created_at"], answer["updated_at"]) == ("2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z")


async def test_two_posts_at_once_leave_two_rows(world: World) -> None:
    """Glance looks before it inserts: both succeed, the list has two, and each DELETE takes one."""
    both_looked, waiting = asyncio.Event(), 0

    async def pause() -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 2:
            both_looked.set()
        await both_looked.wait()

    glance = Glance(world.cloud, endpoint="", auth_url="", pause=pause)
    path, headers = f"/v2/images/{IMAGE}/members", {"X-Auth-Token": world.tokens["alice"]}
    post = Ask("POST", path, headers=headers, body=b'{"member": "m1"}')
    answers = await asyncio.gather(glance.answer(post), glance.answer(post))
    assert [answer.status for answer in answers] == [200, 200]
    listed = await world.ask("alice", "GET", path)
    assert [member["member_id"] for member in json.loads(listed.body)["members"]] == ["m1", "m1"]
    deletes = [(await world.ask("alice", "DELETE", f"{path}/m1")).status for _ in range(3)]
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
async def test_bodies_that_name_no_member(world: World, body: Any, sentence: str) -> None:
    """Each says what is wrong with it."""
    answer = await world.ask("alice", "POST", f"/v2/images/{IMAGE}/members", body)
    assert (answer.status, message(answer)) == (400, sentence)


@pytest.mark.parametrize("member", [1, True, ["m1"], {"m": 1}, "m" * 256, "m\0"])
async def test_members_the_database_refuses(world: World, member: Any) -> None:
    """What PostgreSQL can't hold is a server error."""
    assert (await world.add(member)).status == 500


@pytest.mark.parametrize("member", ["no such project", "m" * 255, " ", "grüße", "<b>"])
async def test_any_text_is_a_member(world: World, member: str) -> None:
    """Glance never asks Keystone whether the project exists."""
    answer = await world.add(member)
    assert (answer.status, json.loads(answer.body)["member_id"]) == (200, member)


async def test_who_sees_which_members(world: World) -> None:
    """The owner, its readers and an admin see all; a member itself; a stranger not even the image."""
    for member in ("m1", world.theirs):
        await world.add(member)
    members = f"/v2/images/{IMAGE}/members"
    for who, wanted in (
        ("alice", ["m1", world.theirs]),
        ("rita", ["m1", world.theirs]),
        ("admin", ["m1", world.theirs]),
        ("bob", [world.theirs]),
    ):
        body = json.loads((await world.ask(who, "GET", f"{members}?limit=1&marker=m1")).body)
        assert [member["member_id"] for member in body["members"]] == wanted
        assert body["schema"] == "/v2/schemas/members"
    assert (await world.ask("bob", "GET", f"{members}/{world.theirs}")).status == 200
    answer = await world.ask("bob", "GET", f"{members}/m1")
    assert (answer.status, message(answer)) == (404, f"m1 not found in the member list of the image {IMAGE}.")


async def test_a_member_that_is_not_ascii_is_listed_but_not_found(world: World) -> None:
    """WSGI hands the path on as Latin-1, so that Glance looks for another text."""
    await world.add("grüße")
    mangled = "grüße".encode().decode("latin-1")
    assert (await world.ask("alice", "GET", f"/v2/images/{IMAGE}/members/{mangled}")).status == 404


async def test_only_the_member_accepts(world: World) -> None:
    """The member and an admin set the status, the owner may not; the same status again changes no time."""
    await world.add(world.theirs)
    member = f"/v2/images/{IMAGE}/members/{world.theirs}"
    for who in ("alice", "rita"):
        answer = await world.ask(who, "PUT", member, {"status": "accepted"})
        assert (answer.status, message(answer)) == (403, "You are not authorized to complete modify_member action.")
    world.tick()
    updates = [
        json.loads((await world.ask(who, "PUT", member, {"status": status})).body)["updated_at"][-3:]
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
async def test_statuses_that_are_none(world: World, body: Any, sentence: str) -> None:
    """A PUT without a status of a member is a bad request."""
    await world.add(world.theirs)
    answer = await world.ask("bob", "PUT", f"/v2/images/{IMAGE}/members/{world.theirs}", body)
    assert (answer.status, message(answer)) == (400, sentence)


async def test_who_removes_a_member(world: World) -> None:
    """The owner does, once; neither its reader nor the member itself."""
    await world.add(world.theirs)
    member = f"/v2/images/{IMAGE}/members/{world.theirs}"
    statuses = [(await world.ask(who, "DELETE", member)).status for who in ("rita", "bob", "alice", "alice")]
    assert statuses == [403, 403, 204, 404]


async def test_no_token_is_401_before_anything_else(world: World) -> None:
    """No, wrong and expired tokens: where to log in, and no request ID."""
    world.now = START + timedelta(hours=1)
    for who in (None, "nonsense", "alice"):
        for path in (f"/v2/images/{IMAGE}/members", "/v2/nonsense"):
            answer = await world.ask(who, "POST", path)
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == 'Keystone uri="http://identity/v3"'
            assert "x-openstack-request-id" not in answer.headers


@pytest.mark.parametrize(
    ("accept", "kind", "body"),
    [
        ("application/json", "application/json", '{"message": "Image x not found.<br /><br />\\n\\n\\n", '),
        ("application/*", "application/json", '{"message": "Image x not found.<br /><br />\\n\\n\\n", '),
        (
            "*/*",
            "text/html; charset=UTF-8",
            "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>",
        ),
        ("text/html, application/json;q=0.9", "text/html; charset=UTF-8", "<html>"),
        ("text/html;q=0.1, application/json", "application/json", '{"message"'),
        ("application/json;q=0", "text/plain; charset=UTF-8", "404 Not Found"),
        ("", "text/plain; charset=UTF-8", "404 Not Found\n\nImage x not found.\n\n   "),
        ("application/xml", "text/plain; charset=UTF-8", "404 Not Found\n\nImage x not found.\n\n   "),
    ],
)
async def test_a_refusal_is_worded_as_accept_wants(world: World, accept: str, kind: str, body: str) -> None:
    """HTML for a browser and curl, JSON for who asks for it, text for who asks for nothing."""
    answer = await world.ask("alice", "GET", "/v2/images/x/members", accept=accept)
    assert (answer.status, answer.headers["Content-Type"]) == (404, kind)
    assert answer.body.decode().startswith(body)


async def test_html_of_a_refusal_is_escaped(world: World) -> None:
    """What the client sent comes back as text."""
    answer = await world.ask("alice", "GET", "/v2/images/<b>'/members", accept="text/html")
    assert b"  Image &lt;b&gt;&#x27; not found.<br /><br />\n\n\n\n </body>\n</html>" in answer.body


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PATCH", "members", "GET, POST"),
        ("DELETE", "members", "GET, POST"),
        ("HEAD", "members", "GET, POST"),
        ("POST", "members/m1", "GET, PUT, DELETE"),
        ("PUT", "", "GET, PATCH, DELETE"),
    ],
)
async def test_methods_that_are_not_allowed(world: World, method: str, path: str, allow: str) -> None:
    """405 says what is."""
    answer = await world.ask("alice", method, f"/v2/images/{IMAGE}/{path}".rstrip("/"))
    assert (answer.status, answer.headers["Allow"]) == (405, allow)
    assert (answer.body == b"") == (method == "HEAD")


@pytest.mark.parametrize(
    "path",
    ["/v2/", "/v2/nonsense", "/v2/images/", f"/v2/images/{IMAGE}/members/", f"/v2/images/{IMAGE}/members/a/b"],
)
async def test_paths_that_lead_nowhere(world: World, path: str) -> None:
    """A slash at the end is another path, and so is one inside an ID."""
    answer = await world.ask("alice", "GET", path)
    assert (answer.status, message(answer)) == (404, "The resource could not be found.")


async def test_reads_take_no_body(world: World) -> None:
    """All but the list of images refuse one."""
    for method, path in (("GET", f"/v2/images/{IMAGE}/members"), ("DELETE", f"/v2/images/{IMAGE}")):
        answer = await world.ask("alice", method, path, {"a": 1})
        assert (answer.status, message(answer)) == (400, "A body is not expected with this request.")
    assert (await world.ask("alice", "GET", "/v2/images", {"a": 1})).status == 200


async def test_versions(world: World) -> None:
    """The root offers the versions with 300, /versions with 200; a minor version is an alias of /v2."""
    for path, status in (("", 300), ("/", 300), ("/v1/images", 300), ("/versions", 200)):
        answer = await world.ask(None, "GET", path)
        assert answer.status == status
        versions = json.loads(answer.body)["versions"]
        assert {version["links"][0]["href"] for version in versions} == {"http://image/v2/"}
        assert [version["id"] for version in versions if version["status"] == "CURRENT"] == ["v2.17"]
    assert (await world.ask("alice", "GET", "/v2.5/images")).status == 200
    redirect = await world.ask("alice", "GET", "/v2")
    assert (redirect.status, redirect.headers["Location"]) == (302, "http://image/v2/")
    assert (await world.ask(None, "GET", "/healthcheck")).body == b"OK"


async def test_the_clients_request_id_comes_back(world: World) -> None:
    """A client may name its request."""
    headers = {"X-Auth-Token": world.tokens["alice"], "X-Openstack-Request-Id": "mine"}
    answer = await world.glance.answer(Ask("GET", "/v2/images", headers=headers))
    assert answer.headers["x-openstack-request-id"] == "req-mine"


async def test_an_image_is_created_and_deleted(world: World) -> None:
    """A new image is queued, shared unless it says otherwise, and its owner's project's."""
    body = {"name": "new", "tags": ["a", "b", "a"], "os_distro": "debian", "disk_format": "qcow2", "min_ram": 5}
    answer = await world.ask("alice", "POST", "/v2/images", body)
    image = json.loads(answer.body)
    assert (answer.status, answer.headers["Location"]) == (201, f"http://image/v2/images/{image['id']}")
    wanted = {"status": "queued", "visibility": "shared", "owner": world.ours, "container_format": None, **body}
    assert {**wanted, "tags": ["a", "b"]}.items() <= image.items()
    shown = await world.ask("alice", "GET", f"/v2/images/{image['id']}")
    assert json.loads(shown.body) == image
    statuses = [
        (await world.ask(who, "DELETE", f"/v2/images/{image['id']}")).status
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
async def test_images_that_cant_be_made(world: World, who: str, body: Any, status: int, sentence: str) -> None:
    """Each says why."""
    answer = await world.ask(who, "POST", "/v2/images", body)
    assert answer.status == status
    assert message(answer).startswith(sentence)


async def test_a_protected_image_stays(world: World) -> None:
    """Not even its owner deletes it."""
    world.image.protected = True
    answer = await world.ask("alice", "DELETE", f"/v2/images/{IMAGE}")
    assert (answer.status, message(answer)) == (403, f"Image {IMAGE} is protected and cannot be deleted.")


async def test_it_is_honest(world: World) -> None:
    """What the sandbox can't do, it says."""
    locations = [{"op": "replace", "path": "/locations", "value": [{"url": "x", "metadata": {}}]}]
    for method, path, body, kind in (
        ("GET", f"/v2/images/{IMAGE}/file", None, ""),
        ("GET", "/v2/images?os_hash_algo=sha512", None, ""),
        ("PATCH", f"/v2/images/{IMAGE}", [{"add": "/x", "value": "1"}], OLD_MEDIA_TYPE),
        ("PATCH", f"/v2/images/{IMAGE}", locations, MEDIA_TYPE),
    ):
        answer = await world.ask("alice", method, path, body, kind=kind)
        assert (answer.status, message(answer)) == (501, "The sandbox can't do this.")


@pytest.fixture
def shop(world: World) -> World:
    """Return a world with images of every visibility, a second apart, newest last."""
    cloud = world.cloud
    for name, owner, visibility, tags, properties in (
        ("beta", world.ours, "private", ["new"], {"os": "debian"}),
        ("gamma", world.ours, "community", [], {"os": "debian", "arch": "x86"}),
        ("theirs", world.theirs, "shared", ["golden"], {}),
        ("their, community", world.theirs, "community", [], {}),
        ("everybody's", cloud.admin_project.id, "public", ["golden"], {}),
    ):
        world.tick()
        cloud.add_image(name, owner=owner, visibility=visibility, tags=tags, properties=properties)
    world.tick()
    cloud.add_image("hidden", owner=world.ours).os_hidden = True
    return world


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
        ("alice", "min_disk=0&deleted=true", ["everybody's", "gamma", "beta", "golden"]),
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
async def test_a_list_has_what_is_asked_for(shop: World, who: str, query: str, wanted: list[str]) -> None:
    """Newest first, and every filter as Glance means it."""
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
        ("changes-since=x", 'The "changes-since" filter is no longer available on v2.'),
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
async def test_list_queries_that_make_no_sense(shop: World, query: str, sentence: str) -> None:
    """400 says what is wrong."""
    answer = await shop.ask("alice", "GET", f"/v2/images?{query}")
    assert (answer.status, message(answer)) == (400, sentence)


async def test_a_marker_that_one_cant_see(shop: World) -> None:
    """Pages can't be counted from another's image."""
    theirs = next(image.id for image in shop.cloud.images.values() if image.name == "theirs")
    answer = await shop.ask("alice", "GET", f"/v2/images?marker={theirs}")
    assert (answer.status, message(answer)) == (403, f"Forbidding request, image {theirs} not visible")


async def test_following_next_finds_every_image_once(shop: World) -> None:
    """`next` is a path to follow as it is, and stands on every full page: the last can be empty."""
    path, pages = "/v2/images?limit=2&sort=name:asc", []
    while path:
        body = json.loads((await shop.ask("alice", "GET", path)).body)
        pages.append([image["name"] for image in body["images"]])
        assert body["first"] == "/v2/images?limit=2&sort=name%3Aasc"
        path = body.get("next", "")
    assert pages == [["beta", "everybody's"], ["gamma", "golden"], []]


async def test_next_keeps_only_the_last_tag(shop: World) -> None:
    """The trap of the real one: the following page is of a wider list."""
    answer = await shop.ask("alice", "GET", "/v2/images?limit=1&tag=golden&tag=new")
    assert json.loads(answer.body)["next"] == f"/v2/images?limit=1&tag=new&marker={IMAGE}"


async def test_a_page_has_25_images_unless_asked_for_more(world: World) -> None:
    """Glance's own default, and its limit of a thousand."""
    for number in range(1100):
        world.cloud.add_image(f"image-{number}", owner=world.ours)
    assert len(names(await world.ask("alice", "GET", "/v2/images"))) == 25
    assert len(names(await world.ask("alice", "GET", "/v2/images?limit=5000"))) == 1000


async def test_a_pending_member_is_not_offered_the_image(world: World) -> None:
    """It sees the image by its ID, and in lists only when it asks for that status."""
    await world.add(world.theirs)
    assert (await world.ask("bob", "GET", f"/v2/images/{IMAGE}")).status == 200
    for query, wanted in (
        ("", []),
        ("visibility=shared", []),
        ("visibility=shared&member_status=pending", ["golden"]),
        ("member_status=all", ["golden"]),
        ("member_status=rejected", []),
    ):
        assert names(await world.ask("bob", "GET", f"/v2/images?{query}")) == wanted
    await world.ask("bob", "PUT", f"/v2/images/{IMAGE}/members/{world.theirs}", {"status": "accepted"})
    assert names(await world.ask("bob", "GET", "/v2/images")) == ["golden"]


async def test_an_unscoped_token_sees_nothing(world: World) -> None:
    """Without a project there are no roles."""
    world.tokens["nobody"] = world.cloud.issue_token(world.cloud.users[world.cloud.admin.id], None, "password").id
    answer = await world.ask("nobody", "GET", "/v2/images")
    assert (answer.status, message(answer)) == (403, "You are not authorized to complete get_images action.")
    assert (await world.add("m1", "nobody")).status == 404
