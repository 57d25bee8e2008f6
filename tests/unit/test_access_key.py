"""Log-in with an access key, against the gateway of the sandbox, over real sockets."""

from __future__ import annotations

import pickle
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from bulkshare.cloud import KeyIdentity, Signed, deserialize, identity_from, read_entry, serialize
from bulkshare.cloud.http import HttpTransport
from bulkshare.errors import CredentialsRefusedError, UsageError
from bulkshare.fleet.messages import JoinRequest
from bulkshare.fleet.sealing import SealedBox, seal
from bulkshare.model import ProjectSelector, Request, Response, Settings
from bulkshare.sandbox import Cloud, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.usefixtures("own_configuration")

ACCESS, SECRET, TOKEN = "AKEXAMPLE00000000001", "sk-hush-hush/+{}", "temporary-hush"
KEYS = {"ak": ACCESS, "sk": SECRET}
IMAGES = Request("GET", "/v2/images")
IAM = "https://iam.eu-de.example.com/v3"


@asynccontextmanager
async def gateway(*, security_token: str | None = None) -> AsyncIterator[Sandbox]:
    """Serve a cloud whose admin has an access key."""
    cloud = Cloud()
    cloud.add_key_pair(ACCESS, SECRET, cloud.admin, cloud.admin_project, security_token=security_token)
    async with Sandbox(cloud) as sandbox:
        yield sandbox


def entry(sandbox: Sandbox, keys: dict[str, str] = KEYS, **more: object) -> dict[str, Any]:
    """Return a clouds.yaml with the cloud `x`, which is that sandbox."""
    auth = {"auth_url": sandbox.auth_url, "project_id": sandbox.cloud.admin_project.id, **keys, **more}
    return {"x": {"auth": auth, "image_endpoint_override": sandbox.endpoint, "region_name": "RegionOne"}}


def identity(name: str | None = "x") -> KeyIdentity:
    """Return the identity of a cloud in clouds.yaml that has an access key."""
    found = identity_from(read_entry(name, None), give_up_after_seconds=0.0)
    assert isinstance(found, KeyIdentity)
    return found


@asynccontextmanager
async def signed(who: KeyIdentity, *, ahead: timedelta = timedelta(0)) -> AsyncIterator[Signed]:
    """Open a transport that signs, with a clock that may be ahead."""
    await who.token()
    async with HttpTransport(who.connection) as http:
        yield Signed(http, who, wall=lambda: datetime.now(UTC) + ahead)


SPELLINGS = [
    *({f"{ak}": ACCESS, f"{sk}": SECRET} for ak, sk in (("ak", "sk"), ("access_key", "secret_key"))),
    {"access_key_id": ACCESS, "access_key_secret": SECRET},
]


@pytest.mark.parametrize("keys", SPELLINGS, ids=str)
@pytest.mark.parametrize("beside", [True, False])
async def test_every_spelling_of_the_keys_signs(write: Any, keys: dict[str, str], beside: bool) -> None:  # noqa: FBT001
    """Clients of these clouds have four spellings, beside `auth` or under it."""
    async with gateway() as sandbox:
        clouds = entry(sandbox, {} if beside else keys)
        clouds["x"] |= keys if beside else {}
        write(clouds)
        who = identity()
        async with signed(who) as transport:
            reply = await transport.send(IMAGES)
    assert isinstance(reply, Response)
    assert reply.status == 200
    assert (who.account.project_id, who.account.admin) == (sandbox.cloud.admin_project.id, False)
    assert SECRET not in f"{who.entry!r}{who.account!r}"


VARIABLES = [
    ("OS_ACCESS_KEY", "OS_SECRET_KEY", "OS_SECURITY_TOKEN"),
    ("OS_ACCESS_KEY_ID", "OS_ACCESS_KEY_SECRET", "OS_AKSK_SECURITY_TOKEN"),
    ("OS_AK", "OS_SK", "OS_ST"),
    ("HW_ACCESS_KEY", "HW_SECRET_KEY", "HW_SECURITY_TOKEN"),
    ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK", "HUAWEICLOUD_SDK_SECURITY_TOKEN"),
    ("AWS_ACCESS_KEY_ID", "AWS_ACCESS_SECRET_KEY", "OS_SECURITY_TOKEN"),
    ("S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "OS_SECURITY_TOKEN"),
]


@pytest.mark.parametrize("names", VARIABLES, ids=lambda names: names[0])
async def test_every_spelling_of_the_variables(monkeypatch: pytest.MonkeyPatch, names: tuple[str, str, str]) -> None:
    """Temporary keys have a token as well, which is signed, too."""
    async with gateway(security_token=TOKEN) as sandbox:
        values = dict(zip(names, (ACCESS, SECRET, TOKEN), strict=True))
        values["OS_PROJECT_ID"] = sandbox.cloud.admin_project.id
        values["OS_IMAGE_ENDPOINT_OVERRIDE"] = sandbox.endpoint
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        async with signed(identity(None)) as transport:
            reply = await transport.send(IMAGES)
    assert isinstance(reply, Response)
    assert reply.status == 200


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({"ak": ACCESS}, "cloud x: it has no `secret_key` (or `sk`)"),
        ({"secret_key": SECRET}, "cloud x: it has no `access_key` (or `ak`)"),
    ],
)
def test_half_a_pair_of_keys(write: Any, keys: dict[str, str], wanted: str) -> None:
    """Whose half is missing is said, and which; the other isn't shown."""
    write({"x": {"auth": {"auth_url": IAM, **keys}}})
    with pytest.raises(UsageError) as error:
        read_entry("x", None)
    assert wanted in str(error.value)
    assert SECRET not in str(error.value)


def test_a_password_beside_the_keys_logs_in(write: Any) -> None:
    """Then the keys are for the object store, as otcextensions uses them."""
    auth = {"auth_url": IAM, "username": "ann", "password": "hush", "project_name": "eu-de", "user_domain_name": "D"}
    write({"x": {"auth": auth, **KEYS}})
    assert read_entry("x", None).auth_type == "password"


async def test_the_project_is_found_by_the_regions_name(write: Any) -> None:
    """It is looked up once, with a signature; the image endpoint follows from that of the identity service."""
    async with gateway() as sandbox:
        project = sandbox.cloud.add_project("RegionOne")
        sandbox.cloud.admin.roles[project.id] = ("member",)
        clouds = entry(sandbox)
        del clouds["x"]["auth"]["project_id"]
        write(clouds)
        who = identity()
        assert await who.token() == await who.token() == ""
        assert who.account.project_id == project.id
        assert sandbox.requests["GET projects"] == 2, "two pages, of which the second has nothing new"


@pytest.mark.parametrize("found", [0, 2])
async def test_a_project_that_is_not_found_by_name(write: Any, found: int) -> None:
    """The message says where the ID belongs."""
    async with gateway() as sandbox:
        for number in range(found):
            sandbox.cloud.add_project("RegionOne", domain=sandbox.cloud.add_domain(f"d{number}"))
        clouds = entry(sandbox)
        del clouds["x"]["auth"]["project_id"]
        write(clouds)
        with pytest.raises(UsageError, match=r"called RegionOne: set `project_id` under `auth`"):
            await identity().token()


def test_the_endpoint_follows_from_the_identity_services(write: Any) -> None:
    """There is no catalog; each region names its services alike."""
    write({"x": {"auth": {"auth_url": IAM, "project_id": "p" * 32, **KEYS}}})
    who = identity()
    anyio.run(who.token)
    assert who.account.endpoint == "https://ims.eu-de.example.com"


async def test_no_endpoint_follows_from_another_url(write: Any) -> None:
    """The cure is named."""
    write({"x": {"auth": {"auth_url": "https://keystone.example.com/v3", "project_id": "p" * 32, **KEYS}}})
    with pytest.raises(UsageError, match="image_endpoint_override"):
        await identity().token()


async def test_one_refused_signature_ends_the_run(write: Any) -> None:
    """Of twenty requests at once one leaves: a key is locked after more than five refusals."""
    async with gateway() as sandbox:
        write(entry(sandbox, {"ak": ACCESS, "sk": "another"}))
        async with signed(identity()) as transport:
            with pytest.raises(BaseExceptionGroup) as error:  # noqa: PT012
                async with anyio.create_task_group() as tasks:
                    for _ in range(20):
                        tasks.start_soon(transport.send, IMAGES)
        (message,) = {str(each) for each in error.value.exceptions}
        assert "refuses the signature" in message
        assert "the keys are wrong" in message
        assert "another" not in message
        assert sandbox.requests["GET images"] == 1


@pytest.mark.parametrize(("minutes", "said"), [(47, "47 min fast"), (-31, "31 min slow")])
async def test_a_clock_that_is_off_is_named_as_the_cause(write: Any, minutes: int, said: str) -> None:
    """The gateway's answer has its own time."""
    async with gateway() as sandbox:
        write(entry(sandbox))
        async with signed(identity(), ahead=timedelta(minutes=minutes)) as transport:
            with pytest.raises(CredentialsRefusedError, match=rf"this machine's clock is {said}; set it"):
                await transport.send(IMAGES)


async def test_the_older_form(write: Any) -> None:
    """`signature: derived` in the cloud's entry chooses it."""
    async with gateway() as sandbox:
        write(entry(sandbox, signature="derived"))
        async with signed(identity()) as transport:
            reply = await transport.send(IMAGES)
    assert isinstance(reply, Response)
    assert reply.status == 200


async def test_no_request_for_another_project(write: Any) -> None:
    """A key is valid for its own project: a membership can't be accepted for others."""
    async with gateway() as sandbox:
        write(entry(sandbox))
        async with signed(identity()) as transport:
            reply = await transport.send(IMAGES._replace(project="f" * 32))
        assert isinstance(reply, Response)
        assert reply.status == 403
        assert not sandbox.requests


async def test_projects_are_looked_up_with_a_signature(write: Any) -> None:
    """Selectors and the check of IDs work as with a token."""
    async with gateway() as sandbox:
        project = sandbox.cloud.add_project("tenant")
        write(entry(sandbox))
        directory = identity().directory()
        found = await directory.projects(ProjectSelector(name="tenant"))
        assert [each.id for each in found] == [project.id]
        known = await directory.known({project.id, "f" * 32})
        assert [known.known, known.unchecked] == [{project.id}, {"f" * 32}]


async def test_a_refused_look_up_ends_the_run_at_once(write: Any) -> None:
    """A hundred IDs cost one refusal, not one each."""
    async with gateway() as sandbox:
        write(entry(sandbox, {"ak": ACCESS, "sk": "another"}))
        with pytest.raises(
            CredentialsRefusedError, match=r"cloud x refuses the signature: the keys are wrong .* clock"
        ):
            await identity().directory().known({f"{number:032x}" for number in range(20)})
        assert sandbox.requests["GET projects"] == 1


def test_an_entry_with_a_key_survives_the_way_to_a_worker(write: Any) -> None:
    """Sealed: no part of the key is in the message, nor in what a log may have of it."""
    write({"x": {"auth": {"auth_url": IAM, "project_id": "p" * 32, **KEYS, "security_token": TOKEN}}})
    one, box = read_entry("x", None), SealedBox()
    sealed = seal(serialize(one), box.public_key)
    message = JoinRequest(session_id="s", run="r", settings=Settings("x"), give_up_after_seconds=1.0, sealed=sealed)
    assert set(one.secrets) == {ACCESS, SECRET, TOKEN}
    for part in one.secrets:
        assert part.encode() not in pickle.dumps(message)
        assert part not in f"{message} {one}"
    assert deserialize(box.open(sealed)) == one
