"""An identity service that is down is waited for, whatever the fault and whenever it comes; a refusal is not."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from aiohttp import web
from keystoneauth1.identity.v3 import Password

from bulkshare.cloud import CloudEntry, CloudIdentity, Identified
from bulkshare.cloud.keystone import OutageError, RetryTime, UnansweredError
from bulkshare.errors import CredentialsRefusedError, DirectoryError, StoppedEarlyError
from bulkshare.model import Fault, FaultKind, ProjectSelector, Request, Response
from tests.fake_keystone import FakeKeystone, message_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bulkshare.model import Reply

pytestmark = pytest.mark.usefixtures("own_configuration")

GIVE_UP_SECONDS = 900.0
FAULTS: dict[str, OSError | int] = {
    "refused": ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
    "reset": ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    "unreachable": OSError(errno.EHOSTUNREACH, "No route to host"),
    "no network": OSError(errno.ENETUNREACH, "Network is unreachable"),
    "time-out": TimeoutError("timed out"),
    "name server": socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    **{str(status): status for status in (429, 500, 502, 503, 504)},
}
REFUSALS: dict[str, OSError | int] = {
    "unknown host": socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    "proxy": OSError("Tunnel connection failed: 407 Proxy Authentication Required"),
    **{str(status): status for status in (400, 401, 403, 404, 501)},
}


class PassingTime:
    """A clock on which a minute passes at each look, so that nothing has to be waited for."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        self.now += 60.0
        return self.now


class Line:
    """The way to the identity service, which can be broken. `left` more requests fail, all of those with `path`."""

    def __init__(self, keystone: FakeKeystone, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fault: OSError | int = 0
        self.left = 0.0
        self.path = ""
        self._keystone = keystone
        self._look_up, self._handle = socket.getaddrinfo, keystone.handle
        monkeypatch.setattr(socket, "getaddrinfo", self.look_up)
        keystone.intercept = self.intercept

    def breaks(self, fault: OSError | int, times: float = float("inf"), path: str = "") -> None:
        """Let requests fail from now on."""
        self.fault, self.left, self.path = fault, times, path

    def look_up(self, *arguments: Any, **options: Any) -> Any:
        """Fail as the system does where a connection can't be made."""
        if isinstance(self.fault, OSError) and self.left > 0:
            self.left -= 1
            raise type(self.fault)(*self.fault.args)  # a raised one accumulates contexts
        return self._look_up(*arguments, **options)

    def intercept(self, request: web.BaseRequest) -> web.Response | None:
        """Answer in the place of the identity service."""
        if isinstance(self.fault, int) and self.left > 0 and self.path in request.path:
            self.left -= 1
            return web.json_response({"error": {"message": "no"}}, status=self.fault)
        return None


@pytest.fixture
def line(keystone: FakeKeystone, monkeypatch: pytest.MonkeyPatch) -> Line:
    """The way to the identity service."""

    def read(request: web.BaseRequest) -> web.Response:
        project = {"id": "p9", "name": "nine"}
        return web.json_response(
            {"projects": [project]} if request.path.endswith("/projects") else {"project": project}
        )

    keystone.reads = read
    return Line(keystone, monkeypatch)


def identity_at(keystone: FakeKeystone) -> CloudIdentity:
    """Return an identity for which time flies."""
    plugin = Password(keystone.url, username="ann", password="hush-hush", project_id="p1")
    entry = CloudEntry("fake", "password", keystone.url, plugin=plugin, secrets=("hush-hush",))
    return CloudIdentity(
        entry, retry_time=RetryTime(GIVE_UP_SECONDS, 30.0, 1e-6, PassingTime()), note=keystone.notes.append
    )


Moment = tuple[bool, "Callable[[CloudIdentity], Awaitable[object]]"]
MOMENTS: dict[str, Moment] = {  # whether it comes after the log-in, and what is asked for
    "log-in": (False, lambda identity: identity.token()),
    "renewal": (True, lambda identity: identity.renew("token-1")),
    "project token": (True, lambda identity: identity.token("q")),
    "project look-up": (True, lambda identity: identity.directory().known({"p9"})),
    "project list": (True, lambda identity: identity.directory().projects(ProjectSelector("n*"))),
}
every_moment = pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)


@every_moment
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_it_is_waited_for(keystone: FakeKeystone, line: Line, fault: OSError | int, moment: Moment) -> None:
    """Until it is back. Both are said, once."""
    logged_in, ask = moment
    identity = identity_at(keystone)
    if logged_in:
        await identity.token()
    line.breaks(fault, times=3)
    assert await ask(identity)
    await anyio.lowlevel.checkpoint()  # what a thread has to say
    assert [note.partition(" of cloud fake")[0] for note in keystone.notes] == [
        "waiting for the identity service",
        "the identity service",
    ]
    assert keystone.notes[1].endswith("answers again")


@every_moment
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_waiting_ends(keystone: FakeKeystone, line: Line, fault: OSError | int, moment: Moment) -> None:
    """After the time given, with the exit code that a unit restarts on, and the reason."""
    logged_in, ask = moment
    identity = identity_at(keystone)
    if logged_in:
        await identity.token()
    line.breaks(fault)
    with pytest.raises(OutageError, match=r"from the identity service .* \(tried \d+ times in \d+ s\): .+") as error:
        await ask(identity)
    assert error.value.exit_code == StoppedEarlyError.exit_code == 5
    assert message_of(error)
    assert len(keystone.notes) == 1


@pytest.mark.parametrize("fault", REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_is_not_waited_for(keystone: FakeKeystone, line: Line, fault: OSError | int) -> None:
    """A name that doesn't exist gets half a minute; a log-in that is refused gets a single try."""
    line.breaks(fault)
    retry_time = RetryTime(float("inf"), 30.0, 1e-6, PassingTime())
    plugin = Password(keystone.url, username="ann", password="hush-hush", project_id="p1")
    identity = CloudIdentity(CloudEntry("fake", "password", keystone.url, plugin=plugin), retry_time=retry_time)
    with pytest.raises(CredentialsRefusedError) as error:
        await identity.token()
    assert error.value.exit_code == 3
    assert isinstance(error.value, UnansweredError) == isinstance(fault, OSError)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS.values() if isinstance(fault, int)])
async def test_a_request_that_always_fails_is_no_outage(keystone: FakeKeystone, line: Line, fault: int) -> None:
    """As long as the service answers others, such as for a list that takes too long."""
    identity = identity_at(keystone)
    await identity.token()
    line.breaks(fault, path="/projects")
    with pytest.raises(DirectoryError, match="no answer"):
        await identity.directory().known({"p9"})
    line.breaks(fault, path="/auth/tokens")
    keystone.reads, line.path = None, "POST"
    keystone.answers = [web.json_response({}, status=fault) for _ in range(20)]
    with pytest.raises(UnansweredError, match="no token for project q"):
        await identity.token("q")


async def test_a_good_token_is_used_meanwhile(keystone: FakeKeystone, line: Line) -> None:
    """Renewing it ahead of its end is tried once in a while, and no request waits for that."""
    times = iter([0.0, 0.0, *[3500.0] * 9])
    entry = CloudEntry("fake", "password", keystone.url, plugin=Password(keystone.url, username="a", password="b"))
    identity = CloudIdentity(
        entry, retry_time=RetryTime(GIVE_UP_SECONDS, 30.0, 1.0, lambda: next(times)), note=keystone.notes.append
    )
    assert await identity.token() == "token-1"
    line.breaks(FAULTS["refused"])
    assert await identity.token() == "token-1"
    assert keystone.notes == []


class Refusing:
    """A Transport whose answers are all 401."""

    async def send(self, request: Request) -> Reply:
        """See `ports.Transport`."""
        del request
        return Response(401, {}, json.dumps({"message": "no"}).encode())


@pytest.mark.parametrize("hangs", [False, True], ids=["refuses connections", "hangs"])
async def test_a_stop_ends_the_waiting(keystone: FakeKeystone, line: Line, hangs: bool) -> None:  # noqa: FBT001  a parameter
    """All requests that wait for a token come back unsent, at once, and none asks for one any more."""
    stopping = anyio.Event()
    plugin = Password(keystone.url, username="ann", password="hush-hush", project_id="p1")
    waits: list[str] = []
    told = anyio.Event()

    def note(message: str) -> None:
        waits.append(message)
        told.set()

    identity = CloudIdentity(CloudEntry("fake", "password", keystone.url, plugin=plugin), note=note)
    identity.stopping = lambda: stopping
    await identity.token()
    if hangs:
        keystone.hold = asyncio.Event()
        keystone.arrived.clear()
    else:
        line.breaks(FAULTS["refused"])
    identified = Identified(Refusing(), identity)
    sending = [asyncio.create_task(identified.send(Request("GET", "/v2/images"))) for _ in range(20)]
    await (keystone.arrived if hangs else told).wait()
    asked = len(keystone.bodies)
    stopping.set()
    with anyio.fail_after(5):
        replies = await asyncio.gather(*sending)
    assert [isinstance(reply, Fault) and reply.kind for reply in replies] == [FaultKind.STOPPED] * 20
    assert len(keystone.bodies) == asked
    if keystone.hold is not None:
        keystone.hold.set()
