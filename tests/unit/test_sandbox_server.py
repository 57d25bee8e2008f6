"""The sandbox's server on its loopback port: both services together, and injected faults."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import yaml

from bulkshare.sandbox import Cloud, FaultRule, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Client:
    """A client that is logged in as the admin."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self._session = session
        self._headers: dict[str, str] = {}
        image_id = next(iter(sandbox.cloud.images))
        self.members = f"{sandbox.endpoint}/v2/images/{image_id}/members"

    async def log_in(self) -> int:
        """Log in as in the clouds.yaml; return the status."""
        auth = yaml.safe_load(self.sandbox.clouds_yaml())["clouds"]["sandbox"]["auth"]
        user = {"name": auth["username"], "password": auth["password"], "domain": {"name": auth["user_domain_name"]}}
        scope = {"project": {"name": auth["project_name"], "domain": {"name": auth["project_domain_name"]}}}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = {"auth": {"identity": identity, "scope": scope}}
        async with self._session.post(f"{auth['auth_url']}/auth/tokens", json=body) as response:
            self._headers = {"X-Auth-Token": response.headers.get("X-Subject-Token", "")}
            return response.status

    async def ask(self, method: str, address: str, body: Any = None) -> tuple[int, bytes, Any]:
        """Return status, body and headers of an answer."""
        sent = self._session.request(method, address, json=body, headers=self._headers, allow_redirects=False)
        async with sent as response:
            return response.status, await response.read(), response.headers

    async def add(self, member: str) -> int:
        """Add a member; return the status."""
        return (await self.ask("POST", self.members, {"member": member}))[0]

    @property
    def rows(self) -> set[str]:
        """The image's members."""
        image = next(iter(self.sandbox.cloud.images.values()))
        return {row.member_id for row in image.rows.values() if row.copies}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Yield an HTTP session."""
    async with aiohttp.ClientSession() as session:
        yield session


async def test_both_services_work_together(session: aiohttp.ClientSession) -> None:
    """A log-in, a member, the list; requests are counted by kind."""
    async with Sandbox(Cloud.sample(images=1, projects=1)) as sandbox:
        client = Client(sandbox, session)
        assert await client.log_in() == 201
        assert [await client.add("m1"), await client.add("m1")] == [200, 409]
        assert (await client.ask("GET", f"{client.members}/m1"))[0] == 200
        assert (await client.ask("GET", f"{sandbox.endpoint}/v2/images"))[0] == 200
        assert (await client.ask("GET", sandbox.auth_url.removesuffix("/identity/v3")))[0] == 404
    assert sandbox.requests == {"POST tokens": 1, "POST members": 2, "GET member": 1, "GET images": 1, "GET other": 1}


async def test_the_path_is_split_as_by_wsgi(session: aiohttp.ClientSession) -> None:
    """A quoted slash separates, a quoted space does not, and non-ASCII is mangled by Latin-1."""
    async with Sandbox(Cloud.sample(images=1, projects=0)) as sandbox:
        client = Client(sandbox, session)
        await client.log_in()
        assert [await client.add(member) for member in ("a b+c", "a/b", "grüße")] == [200, 200, 200]
        statuses = [
            (await client.ask("GET", f"{client.members}/{quoted}"))[0]
            for quoted in ("a%20b+c", "a%2Fb", "gr%C3%BC%C3%9Fe")
        ]
        assert statuses == [200, 404, 404]


async def test_catalog_and_address_agree(session: aiohttp.ClientSession) -> None:
    """The image service in the token's catalog is at `endpoint`."""
    async with Sandbox(Cloud.sample(images=1, projects=0)) as sandbox:
        client = Client(sandbox, session)
        await client.log_in()
        body = (await client.ask("GET", f"{sandbox.auth_url}/auth/catalog"))[1]
        assert f'"{sandbox.endpoint}"'.encode() in body


async def test_it_listens_on_loopback_only() -> None:
    """Other machines can't reach it; the port is the requested one, and free again afterwards."""
    async with Sandbox(Cloud.sample(0, 0)) as first:
        port = int(first.endpoint.split(":")[2].split("/")[0])
        assert first.endpoint.startswith("http://127.0.0.1:")
        with socket.socket() as elsewhere:
            assert elsewhere.connect_ex(("127.0.0.2", port)) != 0
        with pytest.raises(OSError, match="in use"):
            await Sandbox(Cloud.sample(0, 0), port=port).__aenter__()
    async with Sandbox(Cloud.sample(0, 0), port=port) as second:
        assert second.endpoint == first.endpoint
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


FAULTS = [
    # rule, status (None: the connection breaks), whether the member is there afterwards
    ("POST members 503 100% times=1", 503, False),
    ("POST members 500-after 100% times=1", 500, True),
    ("POST members 200 100% times=1", 200, False),
    ("POST members 302 100% times=1", 302, False),
    ("POST members 401 100% times=1", 401, False),
    ("POST members truncate 100% times=1", 200, True),
    ("POST members reset 100% times=1", None, False),
    ("POST members reset-after 100% times=1", None, True),
]


@pytest.mark.parametrize(("rule", "status", "done"), FAULTS)
async def test_faults(session: aiohttp.ClientSession, rule: str, status: int | None, done: bool) -> None:  # noqa: FBT001  # a column of the table
    """Each fault has its effect on the answer and the row; the next request is answered properly."""
    async with Sandbox(Cloud.sample(images=1, projects=0), faults=[FaultRule.parse(rule)]) as sandbox:
        client = Client(sandbox, session)
        await client.log_in()
        if status is None:
            with pytest.raises(aiohttp.ClientConnectionError):
                await client.add("m1")
        else:
            assert await client.add("m1") == status
        assert client.rows == ({"m1"} if done else set())
        assert await client.add("m1") == (409 if done else 200)


async def test_a_status_has_its_headers(session: aiohttp.ClientSession) -> None:
    """Retry-After, Location, WWW-Authenticate, each with its status."""
    rules = ["POST members 503 100% times=1 retry-after=2", "POST members 307 100% times=1", "POST tokens 503 100%"]
    async with Sandbox(Cloud.sample(images=1, projects=0), faults=[FaultRule.parse(rule) for rule in rules]) as sandbox:
        client = Client(sandbox, session)
        assert await client.log_in() == 503
        assert (await client.ask("POST", client.members))[2]["Retry-After"] == "2"
        assert (await client.ask("POST", client.members))[2]["Location"] == "/elsewhere"
        assert "WWW-Authenticate" in (await client.ask("POST", client.members))[2]


async def test_a_truncated_answer_is_half_of_it(session: aiohttp.ClientSession) -> None:
    """It is a valid HTTP answer, but not valid JSON."""
    rules = [FaultRule.parse("POST members truncate 100%")]
    async with Sandbox(Cloud.sample(images=1, projects=0), faults=rules) as sandbox:
        client = Client(sandbox, session)
        await client.log_in()
        status, body, _ = await client.ask("POST", client.members, {"member": "m1"})
        assert (status, body[:14], body[-1:] == b"}") == (200, b'{"member_id": ', False)


async def test_a_hanging_request_ends_with_the_sandbox(session: aiohttp.ClientSession) -> None:
    """It is never answered, and closing the sandbox does not wait for it."""
    async with Sandbox(
        Cloud.sample(images=1, projects=0), faults=[FaultRule.parse("GET members hang 100%")]
    ) as sandbox:
        client = Client(sandbox, session)
        await client.log_in()
        hanging = asyncio.ensure_future(client.ask("GET", client.members))
        while not sandbox.requests["GET members"]:
            assert await client.add(f"m{sandbox.requests['POST members']}") == 200
        assert not hanging.done()
    with pytest.raises(aiohttp.ClientError):
        await hanging


async def test_latency_lies_between_looking_and_inserting(session: aiohttp.ClientSession) -> None:
    """Every request has it; two concurrent POSTs of a pair race in it, as in a real Glance."""
    slept, both = list[float](), asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:  # the log-in is the first
            await both.wait()
        both.set()

    async with Sandbox(Cloud.sample(images=1, projects=0), latency_seconds=0.02, sleep=sleep) as sandbox:
        client = Client(sandbox, session)
        await client.log_in()
        both.clear()
        first, second = await asyncio.gather(client.add("m1"), client.add("m1"))
        assert (first, second) == (200, 200)
        assert await client.add("m1") == 409
    assert slept == [0.02] * 3


async def test_a_seeded_cloud_has_what_the_plan_names(session: aiohttp.ClientSession) -> None:
    """Shared images of the admin's and projects with these IDs, without duplicates."""
    cloud = Cloud.seeded(["i1", "i2", "i1"], (f"p{number % 3}" for number in range(9)), member_quota=-1)
    assert [(image.id, image.visibility, image.status) for image in cloud.images.values()] == [
        ("i1", "shared", "active"),
        ("i2", "shared", "active"),
    ]
    assert set(cloud.projects) == {cloud.admin_project.id, "p0", "p1", "p2"}
    async with Sandbox(cloud) as sandbox:
        client = Client(sandbox, session)
        await client.log_in()
        assert {await client.add(f"m{number}") for number in range(200)} == {200}


async def test_answers_are_reported(session: aiohttp.ClientSession) -> None:
    """Each with method, path, query and status before it leaves; one that is never sent is not."""
    told = list[tuple[str, str, int]]()
    rules = [FaultRule.parse("POST members hang 100%"), FaultRule.parse("GET projects 503 100% times=1")]
    async with Sandbox(
        Cloud.sample(images=1, projects=0), faults=rules, on_response=lambda *answer: told.append(answer)
    ) as sandbox:
        client = Client(sandbox, session)
        await client.log_in()
        await client.ask("GET", f"{sandbox.auth_url}/projects?name=a%20b")
        hanging = asyncio.ensure_future(client.add("m1"))
        await client.ask("GET", client.members)
    with pytest.raises(aiohttp.ClientError):
        await hanging
    assert told == [
        ("POST", "/identity/v3/auth/tokens", 201),
        ("GET", "/identity/v3/projects?name=a%20b", 503),
        ("GET", client.members.replace(sandbox.endpoint, "/image"), 200),
    ]
