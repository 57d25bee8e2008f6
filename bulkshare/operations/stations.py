"""What a fleet's workers do when they are asked: the functions that a coordinator calls on them."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
import traceback
from functools import wraps
from typing import TYPE_CHECKING, TypeVar

from bulkshare._version import __version__
from bulkshare.cloud import CloudIdentity, deserialize
from bulkshare.errors import BulkshareError, UsageError
from bulkshare.fleet import Joined, Worker
from bulkshare.fleet.dask import AwayError
from bulkshare.fleet.messages import bare
from bulkshare.fleet.sealing import SealedBox
from bulkshare.operations.defaults import utc_now
from bulkshare.operations.session import open_endpoint, sign_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bulkshare.fleet import Grant, JoinRequest, Order, Report, Returned
    from bulkshare.model import Account


M = TypeVar("M")
T = TypeVar("T")

SEALED_BOX = SealedBox()  # of this process
WATCH_SECONDS = 1.0  # between two looks whether somebody still wants a station


class FailedThereError(Exception):
    """A bug showed on a worker; the text is its traceback there."""


class WorkerSession:
    """A station, and the task that keeps its way to the endpoint open. It is in `SESSIONS` while it takes orders."""

    def __init__(self, muster: JoinRequest) -> None:
        SESSIONS[muster.session_id] = self
        self.run = muster.run
        self._muster = muster
        self._ready: asyncio.Future[tuple[Worker, Account]] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()
        self._task = asyncio.create_task(self._keep())

    async def ready(self) -> tuple[Worker, Account]:
        """Return the station once it is logged in, and as whom. Raises what kept it from that."""
        return await asyncio.shield(self._ready)

    def end(self) -> None:
        """Let it close; what its engines have in flight gets the time that an engine gives it."""
        self._forget()
        if self._ready.done() and self._ready.exception() is None:
            self._ready.result()[0].stop()
        self._ended.set()

    def _forget(self) -> None:
        if SESSIONS.get(self._muster.session_id) is self:
            del SESSIONS[self._muster.session_id]

    async def _keep(self) -> None:
        try:
            await self._stand()
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
                self._ready.exception()  # whoever asked may have gone
            if not isinstance(error, Exception):
                raise
        finally:
            self._forget()

    async def _stand(self) -> None:
        muster, settings = self._muster, self._muster.settings
        own = None if muster.sealed is None else CloudIdentity(deserialize(SEALED_BOX.open(muster.sealed)))
        async with (
            sign_in(settings, identity=own) as identity,
            open_endpoint(identity, settings.limits, give_up_after_seconds=muster.give_up_after_seconds) as endpoint,
        ):
            station = Worker(endpoint, settings, clock=time.monotonic, wall=utc_now, jitter=random.random)
            self._ready.set_result((station, identity.account))
            while not self._ended.is_set() and not station.expired:
                try:
                    await asyncio.wait_for(self._ended.wait(), WATCH_SECONDS)
                except TimeoutError:
                    continue
            self._forget()  # a coordinator that was asleep asks anew; a station that has stopped does nothing
            station.stop()
            await station.idle()


SESSIONS: dict[str, WorkerSession] = {}  # of this process, by engagement


def telling_bugs(function: Callable[[M], Awaitable[T]]) -> Callable[[M], Awaitable[T]]:
    """Let a bug be told from trouble with the connection by who called."""

    @wraps(function)
    async def told(message: M) -> T:
        try:
            return await function(message)
        except (BulkshareError, AwayError) as error:
            raise bare(error) from None
        except Exception:  # noqa: BLE001  told as what it is
            bug = FailedThereError(traceback.format_exc())
        raise bug

    return told


@telling_bugs
async def handshake(version: str) -> bytes:
    """Return what credentials for this worker are to be sealed with. Raises `UsageError` for another version."""
    if version != __version__:
        raise UsageError(f"it has bulkshare {__version__}, and the run is of {version}; give all the same")
    return SEALED_BOX.public_key


@telling_bugs
async def muster(message: JoinRequest) -> Joined:
    """Take part in a run, from the beginning: what this worker still does for the same run is stopped.

    Whoever asks has given that up: it was killed and came again, or had lost this worker. Raises what keeps it from it.
    """
    if message.on_this_machine and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the coordinator, which will tell
    for other in list(SESSIONS.values()):
        if other.run == message.run:
            other.end()
    _, account = await WorkerSession(message).ready()
    return Joined(account, time.monotonic())


@telling_bugs
async def exchange(grant: Grant) -> Report:
    """Take a share of the limits, and tell what happened."""
    station, _ = await _post(grant.session_id).ready()
    report = station.take(grant)
    if grant.end:
        _post(grant.session_id).end()
    return report


@telling_bugs
async def run_shard(order: Order) -> Returned:
    """Work on a shard."""
    station, _ = await _post(order.session_id).ready()
    return await station.run_shard(order)


def _post(session_id: str) -> WorkerSession:
    if session_id not in SESSIONS:
        raise AwayError(f"this worker takes no part in {session_id}")
    return SESSIONS[session_id]
