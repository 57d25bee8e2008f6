"""A fleet for a run: both ends of what the coordinator asks of its workers.

In the process that runs the plan, `connect` connects to a scheduler and `Fleets` gives each cloud a coordinator.
On a worker, `handshake`, `join`, `exchange` and `run_shard` are called by it, and a `WorkerSession` stays logged in
from `join` to the end of the run. Starting a run without a fleet imports neither Dask nor cryptography.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import signal
import threading
import time
import traceback
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, wraps
from typing import TYPE_CHECKING, TypeVar

import anyio

from bulkshare.cloud import deserialize, serialize
from bulkshare.errors import BulkshareError, UsageError
from bulkshare.fleet import Coordinator, JoinReply, JoinRequest, Remote, Worker, open_cluster
from bulkshare.fleet.dask import WorkerUnavailableError
from bulkshare.fleet.messages import require_version, without_causes
from bulkshare.operations.defaults import utc_now
from bulkshare.operations.endpoint import open_endpoint, open_identity

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from bulkshare.fleet import Cluster, Grant, Report, ShardResult, ShardTask
    from bulkshare.fleet.sealing import SealedBox
    from bulkshare.model import Account, Run
    from bulkshare.operations.options import Options
    from bulkshare.operations.session import CloudSession

M = TypeVar("M")
T = TypeVar("T")

DISMISS_SECONDS = 2.0  # for workers to learn that the run is over
EXPIRY_CHECK_SECONDS = 1.0  # how often a worker looks whether its lease has long ended

# --- in the process that runs the plan -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fleets:
    """Makes the coordinators of a run's clouds, which share a scheduler."""

    cluster: Cluster
    options: Options

    @asynccontextmanager
    async def coordinate(self, run: Run, session: CloudSession) -> AsyncIterator[Coordinator]:
        """Yield the coordinator for the work on one cloud; dismiss its workers at the end."""
        cluster, identity = self.cluster, session.identity
        passes = self.options.passes_credentials or (session.settings.sandbox and cluster.is_local)
        request = JoinRequest(
            session_id=f"{run.key}-{secrets.token_hex(4)}",
            run=_identify(run),
            settings=session.settings,
            give_up_after_seconds=self.options.give_up_after_seconds,
            on_this_machine=cluster.is_local,
            every_answer=session.listener.is_detailed,
        )
        coordinator = Coordinator(
            cluster,
            Remote(handshake, join, exchange, run_shard),
            request,
            identity.account,
            credentials=serialize(identity.entry) if passes else None,
            clock=time.monotonic,
            note=session.listener.note,
        )
        try:
            yield coordinator
        finally:
            with anyio.move_on_after(DISMISS_SECONDS, shield=True):
                await coordinator.end()


@asynccontextmanager
async def connect(address: str, options: Options) -> AsyncIterator[Fleets]:
    """Connect to the scheduler at an address. Raises `UsageError`."""
    async with open_cluster(address) as cluster:
        if options.passes_credentials and not (cluster.is_encrypted or cluster.is_local):
            raise UsageError(
                f"--fleet-credentials pass: the connection to {address} is not encrypted; use a scheduler with "
                "TLS (tls://), or give each worker its own clouds.yaml"
            )
        yield Fleets(cluster, options)


def _identify(run: Run) -> str:
    """Return a name that is unique among the runs on the same workers: runs of two ledgers may have the same key."""
    return f"{run.key} {run.started_at.isoformat()} {run.account.endpoint} {run.account.project_id}"


# --- on a worker -----------------------------------------------------------------------------------------------------


@cache
def _sealed_box() -> SealedBox:
    """Return this process's key pair."""
    from bulkshare.fleet.sealing import SealedBox  # noqa: PLC0415  needs a package that comes with the extra

    return SealedBox()


class WorkerSession:
    """A worker that takes part in a run, and the task that keeps it logged in. In `SESSIONS` while it takes orders."""

    def __init__(self, request: JoinRequest) -> None:
        SESSIONS[request.session_id] = self
        self.run = request.run
        self._request = request
        self._ready: asyncio.Future[tuple[Worker, Account]] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()
        self._task = asyncio.create_task(self._keep())

    async def ready(self) -> tuple[Worker, Account]:
        """Return the worker once it is logged in, and its account. Raises what kept it from logging in."""
        return await asyncio.shield(self._ready)

    def end(self) -> None:
        """Let it close. Requests in flight get an engine's grace period."""
        self._forget()
        if self._ready.done() and self._ready.exception() is None:
            self._ready.result()[0].stop()
        self._ended.set()

    def _forget(self) -> None:
        if SESSIONS.get(self._request.session_id) is self:
            del SESSIONS[self._request.session_id]

    async def _keep(self) -> None:
        try:
            await self._work()
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
                self._ready.exception()  # retrieved: the caller may be gone
            if not isinstance(error, Exception):
                raise
        finally:
            self._forget()

    async def _work(self) -> None:
        request, settings = self._request, self._request.settings
        sent = None if request.sealed is None else deserialize(_sealed_box().open(request.sealed))
        patience = request.give_up_after_seconds
        async with (
            open_identity(settings, credentials=sent, give_up_after_seconds=patience) as identity,
            open_endpoint(identity, settings.limits, give_up_after_seconds=patience) as endpoint,
        ):
            worker = Worker(
                endpoint,
                settings,
                clock=time.monotonic,
                wall=utc_now,
                jitter=random.random,
                every_answer=request.every_answer,
            )
            self._ready.set_result((worker, identity.account))
            while not self._ended.is_set() and not worker.expired:
                try:
                    await asyncio.wait_for(self._ended.wait(), EXPIRY_CHECK_SECONDS)
                except TimeoutError:
                    continue
            self._forget()  # a coordinator that was suspended asks anew, rather than get empty shards back forever
            worker.stop()
            await worker.idle()


SESSIONS: dict[str, WorkerSession] = {}  # of this process, by session ID


class RemoteBugError(Exception):
    """A bug showed on a worker; the text is its traceback there."""


def reporting_bugs(function: Callable[[M], Awaitable[T]]) -> Callable[[M], Awaitable[T]]:
    """Let the caller tell a bug on the worker from a lost connection."""

    @wraps(function)
    async def reporting(message: M) -> T:
        try:
            return await function(message)
        except (BulkshareError, WorkerUnavailableError) as error:
            raise without_causes(error) from None
        except Exception:  # noqa: BLE001  whatever it is, it is reported
            bug = RemoteBugError(traceback.format_exc())
        raise bug

    return reporting


@reporting_bugs
async def handshake(version: str) -> bytes:
    """Return the public key to seal credentials for this worker with. Raises `UsageError` for another version."""
    require_version(version)
    return _sealed_box().public_key


@reporting_bugs
async def join(request: JoinRequest) -> JoinReply:
    """Take part in a run, from the beginning; what this worker still does for the same run is stopped.

    The coordinator has given that up: it was killed and started again, or had lost this worker. Raises what kept the
    worker from logging in.
    """
    if request.on_this_machine and threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGHUP):  # Ctrl-C, a closed terminal
            signal.signal(number, signal.SIG_IGN)  # it is for the coordinator, which stops its workers
    for other in list(SESSIONS.values()):
        if other.run == request.run:
            other.end()
    _, account = await WorkerSession(request).ready()
    return JoinReply(account, time.monotonic())


@reporting_bugs
async def exchange(grant: Grant) -> Report:
    """Take a share of the limits, and report what happened."""
    worker, _ = await _session(grant.session_id).ready()
    report = worker.take(grant)
    if grant.end:
        _session(grant.session_id).end()
    return report


@reporting_bugs
async def run_shard(order: ShardTask) -> ShardResult:
    """Send the pairs of a shard."""
    worker, _ = await _session(order.session_id).ready()
    return await worker.run_shard(order)


def _session(session_id: str) -> WorkerSession:
    if session_id not in SESSIONS:
        raise WorkerUnavailableError(f"this worker takes no part in {session_id}")
    return SESSIONS[session_id]
